"""The sandbox runtime, over HTTP."""
