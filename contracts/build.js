// Compiles the contracts with the pinned npm solc and writes one JSON per contract.
//
//   node build.js <output directory> [<output directory of what only tests use>]
//
// Reproducible in any directory: solc sees relative source unit names only ("src/…",
// "@openzeppelin/…"), imports are served by callback, and nothing of the machine is written.
"use strict";

const fs = require("fs");
const path = require("path");
const solc = require("solc");

const HERE = __dirname;
const SHIPPED = [
  { unit: "src/SandboxServing.sol", name: "SandboxServing", storage: true },
  { unit: "src/proxy/UpgradeableBeacon.sol", name: "UpgradeableBeacon" },
  { unit: "@openzeppelin/contracts/proxy/beacon/BeaconProxy.sol", name: "BeaconProxy" },
];
const VERSIONS = require("./test/upgrades/versions.js");
const WALLETS = ["OwnedWallet", "WalletFactory", "OddWallet"];
const SETTINGS = {
  evmVersion: "cancun",
  viaIR: true,
  optimizer: { enabled: true, runs: 1000000 },
};
const VERSION = solc.version();

function readUnit(unit) {
  const place = path.join(HERE, unit.startsWith("@") ? "node_modules" : "", unit);
  return fs.readFileSync(place, "utf8");
}

// The unit as it is after a later version's edits.
function editedUnit(unit, edits) {
  return edits
    .filter(({ file }) => file === unit)
    .reduce((text, { find, replace }) => {
      const [before, after, ...more] = text.split(find);
      if (after === undefined || more.length) throw new Error(`${unit}: not there once: ${find}`);
      return before + replace + after;
    }, readUnit(unit));
}

function importing(edits) {
  return (unit) => {
    try {
      return { contents: editedUnit(unit, edits) };
    } catch (problem) {
      return { error: `${unit}: ${problem.code || problem.message}` };
    }
  };
}

// Sources by unit name, as the compiler's input wants them.
function sourcesOf(units, edits = []) {
  const source = (unit) => [unit, { content: editedUnit(unit, edits) }];
  return Object.fromEntries([...units].sort().map(source));
}

// The compiler's answer; a warning about our own code is an error, for nobody reads the second one.
function run(input, imports) {
  const output = JSON.parse(solc.compile(JSON.stringify(input), imports && { import: imports }));
  const complaints = (output.errors || []).filter(
    (each) => each.severity === "error" || !(each.sourceLocation?.file || "").startsWith("@"),
  );
  if (complaints.some((each) => each.severity !== "info")) {
    complaints.forEach((each) => process.stderr.write(each.formattedMessage + "\n"));
    process.exit(1);
  }
  return output;
}

// Standard JSON input that alone makes one contract's code: what an explorer is given. Its sources
// are those that the compiler's own metadata names, so nothing is missing and nothing is too much.
function standardInput(unit, name, edits = []) {
  const asked = (sources, outputs) => ({
    language: "Solidity",
    sources,
    settings: { ...SETTINGS, outputSelection: { "*": { "*": outputs } } },
  });
  const first = run(asked(sourcesOf([unit], edits), ["metadata"]), importing(edits));
  const closure = Object.keys(JSON.parse(first.contracts[unit][name].metadata).sources);
  return asked(sourcesOf(closure, edits), ["abi", "evm.bytecode", "evm.deployedBytecode", "metadata"]);
}

// The same input with other outputs: they do not change the code.
function compile(input, outputs, unit = "*", extra = {}) {
  const selection = { "*": { "": ["ast"] }, [unit]: { "": ["ast"], "*": outputs } };
  return run({
    ...input,
    sources: { ...input.sources, ...extra },
    settings: { ...input.settings, outputSelection: selection },
  });
}

// Structs that live under ERC-7201 names, which the compiler's layout does not tell of: a contract
// that has them as its variables makes it do so.
function namespaces(input, sources) {
  const found = [];
  for (const [unit, { ast }] of Object.entries(sources)) {
    for (const contract of ast.nodes.filter((node) => node.nodeType === "ContractDefinition")) {
      for (const node of contract.nodes.filter((each) => each.nodeType === "StructDefinition")) {
        const name = /@custom:storage-location erc7201:(\S+)/.exec(node.documentation?.text || "");
        if (name) found.push({ name: name[1], unit, struct: `${contract.name}.${node.name}` });
      }
    }
  }
  const imports = [...new Set(found.map(({ unit }) => `import "${unit}";`))];
  const variables = found.map(({ struct }, index) => `${struct} private namespace${index};`);
  const content = [
    "// SPDX-License-Identifier: MIT\npragma solidity ^0.8.24;",
    ...imports,
    `contract Namespaces { ${variables.join("\n")} }`,
  ].join("\n");
  const unit = "@namespaces.sol"; // not ours: its unused variables are no mistake
  const output = compile(input, ["storageLayout"], unit, { [unit]: { content } });
  const { storage, types } = output.contracts[unit].Namespaces.storageLayout;
  const entries = storage.map(({ type }, index) => [found[index].name, type]);
  return { entries: entries.sort(), types: types || {} };
}

function layout(input, unit, name) {
  const output = compile(input, ["storageLayout"]);
  const own = output.contracts[unit][name].storageLayout;
  const named = namespaces(input, output.sources);
  // Type names carry AST ids, which change with every edit anywhere; names and slots do not.
  const plain = (text) =>
    text.replace(/(t_(?:struct|enum|contract|userDefinedValueType)\([\w$.]+\))\d+/g, "$1");
  const member = ({ label, slot, offset, type }) => ({ label, slot, offset, type: plain(type) });
  const types = {};
  for (const [key, found] of [...Object.entries(own.types), ...Object.entries(named.types)]) {
    const type = { label: found.label, numberOfBytes: found.numberOfBytes };
    type.encoding = found.encoding;
    for (const inside of ["key", "value", "base"]) {
      if (found[inside]) type[inside] = plain(found[inside]);
    }
    if (found.members) type.members = found.members.map(member);
    const known = types[plain(key)];
    if (known && JSON.stringify(known) !== JSON.stringify(type)) {
      throw new Error(`two different types are called ${plain(key)}`);
    }
    types[plain(key)] = type;
  }
  return {
    storage: own.storage.map(member),
    namespaces: Object.fromEntries(named.entries.map(([id, type]) => [id, plain(type)])),
    types: Object.fromEntries(Object.entries(types).sort(([one], [other]) => (one < other ? -1 : 1))),
  };
}

function artifact({ unit, name, storage }) {
  const input = standardInput(unit, name);
  // No import callback: this is proof that the input alone makes this code.
  const { abi, evm, metadata } = run(input).contracts[unit][name];
  const immutables = Object.values(evm.deployedBytecode.immutableReferences || {}).flat();
  return {
    contractName: name,
    sourceName: unit,
    compiler: {
      version: VERSION,
      longVersion: "v" + VERSION.replace(".Emscripten.clang", ""),
      settings: SETTINGS,
    },
    abi,
    userdoc: JSON.parse(metadata).output.userdoc,
    bytecode: "0x" + evm.bytecode.object,
    deployedBytecode: "0x" + evm.deployedBytecode.object,
    ...(immutables.length ? { immutableReferences: immutables } : {}),
    ...(storage ? { storageLayout: layout(input, unit, name) } : {}),
    standardInput: input,
  };
}

// What the contracts compile to in company, from the working tree: an artifact must be the same.
function together(wanted) {
  const settings = { ...SETTINGS, outputSelection: { "*": { "*": ["evm.bytecode.object"] } } };
  const sources = sourcesOf(wanted.map(({ unit }) => unit));
  return run({ language: "Solidity", sources, settings }, importing([])).contracts;
}

// What only a test of upgrades needs.
function versionArtifact({ unit, name, as = name, edits }) {
  const input = standardInput(unit, name, edits);
  const { abi, evm } = run(input).contracts[unit][name];
  const bytecode = "0x" + evm.bytecode.object;
  return { contractName: as, abi, bytecode, storageLayout: layout(input, unit, name) };
}

// A wallet that a test asks or pays.
function walletArtifact(name) {
  const unit = `test/wallets/${name}.sol`;
  const { abi, evm } = run(standardInput(unit, name)).contracts[unit][name];
  return { contractName: name, abi, bytecode: "0x" + evm.bytecode.object };
}

function write(target, name, made) {
  fs.mkdirSync(target, { recursive: true });
  fs.writeFileSync(path.join(target, `${name}.json`), JSON.stringify(made, null, 1) + "\n");
}

function main(shipped, forTests) {
  const contracts = together(SHIPPED);
  for (const each of SHIPPED) {
    const made = artifact(each);
    if (made.bytecode !== "0x" + contracts[each.unit][each.name].evm.bytecode.object) {
      throw new Error(`${each.name} compiles to another code alone than among the others`);
    }
    write(shipped, each.name, made);
    const size = (made.deployedBytecode.length - 2) / 2;
    process.stdout.write(`${each.name}: ${size} bytes on chain\n`);
  }
  if (!forTests) return;
  for (const each of VERSIONS) write(forTests, each.as || each.name, versionArtifact(each));
  for (const name of WALLETS) write(forTests, name, walletArtifact(name));
}

if (process.argv.length < 3 || process.argv.length > 4) {
  process.stderr.write("usage: node build.js <output directory> [<output directory for tests>]\n");
  process.exit(2);
}
main(...process.argv.slice(2));
