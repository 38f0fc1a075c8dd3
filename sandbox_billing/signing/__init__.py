"""Bytes in, bytes out: EIP-191, EIP-712 and the key that signs."""
