// Compiles the flawed variants of test/flaws and the double of test/deployed, for tests only.
//
//   node flaws.js <output directory>
//
// One JSON of one line each: what is wrong, whom it costs, and the code. Settings are build.js's.
// A double entry, an edit that changes nothing or whose text is not found, fails the whole build.
"use strict";

const fs = require("fs");
const os = require("os");
const path = require("path");
const { Worker, isMainThread, parentPort, workerData } = require("worker_threads");
const solc = require("solc");
const FLAWS = require("./test/flaws/flaws.js");

const HERE = __dirname;
const SETTINGS = {
  evmVersion: "cancun",
  viaIR: true,
  optimizer: { enabled: true, runs: 1000000 },
};
const UNITS = {
  SandboxServing: "src/SandboxServing.sol",
  UpgradeableBeacon: "src/proxy/UpgradeableBeacon.sol",
  DeployedServing: "test/deployed/DeployedServing.sol",
};

function read(unit) {
  return fs.readFileSync(path.join(HERE, unit.startsWith("@") ? "node_modules" : "", unit), "utf8");
}

function occurrences(text, find) {
  return text.split(find).length - 1;
}

// The files that an entry changes, by unit name.
function edited({ id, edits }) {
  const files = {};
  for (const { file, find, replace, times } of edits) {
    const before = files[file] ?? read(file);
    const found = occurrences(before, find);
    if (times === "all" ? found === 0 : found !== times) {
      throw new Error(`flaw ${id}: found ${found} times, not ${times}, in ${file}:\n${find}`);
    }
    const after = before.split(find).join(replace);
    if (after === before) throw new Error(`flaw ${id}: an edit of ${file} changes nothing`);
    files[file] = after;
  }
  return files;
}

function compile(entry) {
  const { id, contract } = entry;
  const unit = UNITS[contract];
  const files = edited(entry);
  const content = (name) => files[name] ?? read(name);
  const input = {
    language: "Solidity",
    sources: { [unit]: { content: content(unit) } },
    settings: {
      ...SETTINGS,
      // Without it every artifact would change with every comment.
      metadata: { bytecodeHash: "none", appendCBOR: false },
      outputSelection: { [unit]: { [contract]: ["abi", "evm.bytecode.object"] } },
    },
  };
  const output = JSON.parse(
    solc.compile(JSON.stringify(input), { import: (name) => ({ contents: content(name) }) }),
  );
  const wrong = (output.errors || []).filter((each) => each.severity === "error");
  if (wrong.length > 0) {
    throw new Error(`flaw ${id}: ${wrong.map((each) => each.formattedMessage).join("\n")}`);
  }
  return output.contracts[unit][contract];
}

function artifact(entry) {
  const found = compile(entry);
  const { id, contract, row, flaw, loses } = entry;
  const bytecode = "0x" + found.evm.bytecode.object;
  const told = flaw ? { row, flaw, loses } : { abi: found.abi };
  return JSON.stringify({ id, contract, ...told, bytecode }) + "\n";
}

function entries() {
  const flaws = FLAWS.map((each) => ({ contract: "SandboxServing", ...each }));
  const ids = flaws.map((each) => each.id);
  const twice = ids.filter((id, index) => ids.indexOf(id) !== index);
  if (twice.length > 0) throw new Error(`flaw ${twice[0]}: there are two`);
  flaws.forEach(edited); // before anything is compiled
  return [{ id: "DeployedServing", contract: "DeployedServing", edits: [] }, ...flaws];
}

function main(target) {
  const waiting = entries();
  fs.mkdirSync(target, { recursive: true });
  for (const name of fs.readdirSync(target)) {
    if (name.endsWith(".json")) fs.unlinkSync(path.join(target, name));
  }
  const texts = new Set();
  const total = waiting.length;
  for (let index = 0; index < Math.min(2, os.cpus().length); index += 1) {
    const worker = new Worker(__filename, { workerData: true });
    const next = () => (waiting.length > 0 ? worker.postMessage(waiting.shift()) : worker.terminate());
    worker.on("message", ({ id, text }) => {
      fs.writeFileSync(path.join(target, `${id}.json`), text);
      const code = JSON.parse(text).bytecode;
      if (texts.has(code)) throw new Error(`flaw ${id}: compiles to the same as another`);
      texts.add(code);
      if (texts.size === total) process.stdout.write(`${total} test contracts compiled\n`);
      next();
    });
    worker.on("error", (problem) => {
      process.stderr.write(problem.message + "\n");
      process.exit(1);
    });
    next();
  }
}

if (isMainThread) {
  if (process.argv.length !== 3) {
    process.stderr.write("usage: node flaws.js <output directory>\n");
    process.exit(2);
  }
  main(process.argv[2]);
} else if (workerData) {
  parentPort.on("message", (entry) => {
    parentPort.postMessage({ id: entry.id, text: artifact(entry) });
  });
}
