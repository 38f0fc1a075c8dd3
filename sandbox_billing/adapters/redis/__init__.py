"""The journal of money facts, kept in Redis."""
