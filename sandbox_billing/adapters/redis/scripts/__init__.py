"""Lua, loaded once and called by hash."""
