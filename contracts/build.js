// Compiles the contracts with the pinned npm solc and writes one JSON per contract.
//
//   node build.js <output directory>
//
// Reproducible in any directory: solc sees relative source unit names only ("src/…",
// "@openzeppelin/…"), imports are served by callback, and nothing of the machine is written.
"use strict";

const fs = require("fs");
const path = require("path");
const solc = require("solc");

const HERE = __dirname;
const WANTED = [
  { unit: "src/SandboxServing.sol", name: "SandboxServing", storage: true },
  { unit: "src/proxy/UpgradeableBeacon.sol", name: "UpgradeableBeacon" },
  { unit: "@openzeppelin/contracts/proxy/beacon/BeaconProxy.sol", name: "BeaconProxy" },
];
const SETTINGS = {
  evmVersion: "cancun",
  viaIR: true,
  optimizer: { enabled: true, runs: 1000000 },
};
const OUTPUTS = ["abi", "evm.bytecode.object", "evm.deployedBytecode.object", "storageLayout"];

function locate(unit) {
  return path.join(HERE, unit.startsWith("@") ? "node_modules" : "", unit);
}

function readImport(unit) {
  try {
    return { contents: fs.readFileSync(locate(unit), "utf8") };
  } catch (problem) {
    return { error: `${unit}: ${problem.code}` };
  }
}

function compile() {
  const input = {
    language: "Solidity",
    sources: Object.fromEntries(
      WANTED.map(({ unit }) => [unit, { content: fs.readFileSync(locate(unit), "utf8") }]),
    ),
    settings: { ...SETTINGS, outputSelection: { "*": { "*": OUTPUTS } } },
  };
  const output = JSON.parse(solc.compile(JSON.stringify(input), { import: readImport }));
  const complaints = (output.errors || []).filter(
    (each) => each.severity !== "info" && !(each.sourceLocation?.file || "").startsWith("@"),
  );
  if (complaints.length > 0) {
    // A warning about our own code is an error: nobody reads the second one.
    complaints.forEach((each) => process.stderr.write(each.formattedMessage + "\n"));
    process.exit(1);
  }
  return output.contracts;
}

function layout(found) {
  // Type names carry AST ids, which change with every edit anywhere; names and slots do not.
  const plain = (text) => text.replace(/(t_struct|t_userDefinedValueType)(\(\w+\))\d+/g, "$1$2");
  const member = ({ label, slot, offset, type }) => ({ label, slot, offset, type: plain(type) });
  const type = ([key, { label, numberOfBytes, members }]) => {
    const inside = members ? { members: members.map(member) } : {};
    return [plain(key), { label, numberOfBytes, ...inside }];
  };
  const types = Object.entries(found.types || {}).map(type);
  types.sort(([one], [other]) => (one < other ? -1 : 1));
  return { storage: found.storage.map(member), types: Object.fromEntries(types) };
}

function main(target) {
  const contracts = compile();
  fs.mkdirSync(target, { recursive: true });
  for (const { unit, name, storage } of WANTED) {
    const found = contracts[unit][name];
    const artifact = {
      contractName: name,
      sourceName: unit,
      compiler: { version: solc.version(), settings: SETTINGS },
      abi: found.abi,
      bytecode: "0x" + found.evm.bytecode.object,
      deployedBytecode: "0x" + found.evm.deployedBytecode.object,
      ...(storage ? { storageLayout: layout(found.storageLayout) } : {}),
    };
    fs.writeFileSync(path.join(target, `${name}.json`), JSON.stringify(artifact, null, 1) + "\n");
    const size = found.evm.deployedBytecode.object.length / 2;
    process.stdout.write(`${name}: ${size} bytes on chain\n`);
  }
}

if (process.argv.length !== 3) {
  process.stderr.write("usage: node build.js <output directory>\n");
  process.exit(2);
}
main(process.argv[2]);
