#!/usr/bin/env node
// What forge takes for a solc binary: the pinned npm solc behind the two calls that forge makes,
// `--version` and `--standard-json` on stdin. Forge hands every source over, so there is no
// import callback.
"use strict";

const fs = require("fs");
const solc = require("solc");

const args = process.argv.slice(2);
if (args.includes("--version")) {
  // Forge knows the native build's names for platforms only.
  const version = solc.version().replace(/\.Emscripten\.clang$/, ".Linux.g++");
  process.stdout.write(`solc, the solidity compiler commandline interface\nVersion: ${version}\n`);
} else if (args.includes("--standard-json")) {
  process.stdout.write(solc.compile(fs.readFileSync(0, "utf8")));
} else {
  process.stderr.write(`solc.js: only --version and --standard-json, not ${args.join(" ")}\n`);
  process.exitCode = 2;
}
