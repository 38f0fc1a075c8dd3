"""Our own OpenAPI document, asked by a machine whether the daemon keeps to it."""
