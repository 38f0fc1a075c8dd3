"""The embedded world: Redis, an EVM with JSON-RPC, a Daytona simulator, the demo story."""
