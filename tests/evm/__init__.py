"""Tests of evm."""
