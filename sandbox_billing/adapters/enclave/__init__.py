"""The key service inside the TEE, over gRPC."""
