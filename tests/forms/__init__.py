"""
The stored forms of this version and of the one before: N reads N-1, and what N writes beside N-1
is read by it.  C{docs/upgrading.rst} says what follows from that.
"""
