"""Tests of beliefs."""
