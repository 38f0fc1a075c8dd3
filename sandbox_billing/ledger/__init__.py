"""The stone: pure values and rules of the money; no I/O, no clock."""
