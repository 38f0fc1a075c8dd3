// Later versions of the contract, for tests: its own sources with a few words changed, as an
// upgrade would change them. An edit whose text is not found once fails the build.
"use strict";

const STORAGE = "src/SandboxServingStorage.sol";
const STRUCTS = "src/libraries/Accounts.sol";
const GAP = "    uint256[43] private __gap;";

// Out of the gap, and at the end of a struct that only a mapping leads to.
const V2 = [
  {
    file: STORAGE,
    find: GAP,
    replace: `    uint256 internal _cap;
    mapping(address user => string) internal _labels;
    uint256[41] private __gap;`,
  },
  {
    file: STRUCTS,
    find: "    uint256 pricePerMemGBPerMin;\n",
    replace: "    uint256 pricePerMemGBPerMin;\n    uint256 pricePerGPUPerMin;\n",
  },
];
const V3 = [
  ...V2,
  {
    file: STORAGE,
    find: "    uint256[41] private __gap;",
    replace: `    uint64 internal _pausedAt;
    address internal _pausedBy;
    uint256[40] private __gap;`,
  },
  {
    file: STRUCTS,
    find: "    uint64 unlockAt;\n",
    replace: "    uint64 unlockAt;\n    uint32 note;\n",
  },
];

module.exports = [
  { unit: "test/upgrades/SandboxServingV2.sol", name: "SandboxServingV2", edits: V2 },
  {
    unit: "test/upgrades/SandboxServingV3.sol",
    name: "SandboxServingV3",
    edits: [
      ...V3,
      {
        file: "src/SandboxServing.sol",
        find: "unlockAt: SafeCast.toUint64(unlockAt)\n",
        replace: "unlockAt: SafeCast.toUint64(unlockAt), note: 0\n",
      },
    ],
  },
  // K15: what must never be done.
  {
    unit: "src/SandboxServing.sol",
    name: "SandboxServing",
    as: "Shifted",
    edits: [
      {
        file: STORAGE,
        find: "    uint256 internal _providerStake;\n",
        replace: "    uint256 internal _cap;\n    uint256 internal _providerStake;\n",
      },
      { file: STORAGE, find: GAP, replace: "    uint256[42] private __gap;" },
    ],
  },
];
