"""The EVM of the devnet, behind JSON-RPC."""
