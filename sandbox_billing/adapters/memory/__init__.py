"""Verified fakes: the same suites pass on them."""
