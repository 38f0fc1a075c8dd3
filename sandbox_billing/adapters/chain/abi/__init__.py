"""ABI and bytecode, one JSON per contract, written by bin/build-contracts."""
