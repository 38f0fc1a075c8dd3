"""The settlement contract, over JSON-RPC."""
