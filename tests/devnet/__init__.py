"""Tests of devnet."""
