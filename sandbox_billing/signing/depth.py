"""
How deep JSON is nested, told before a parser descends into it.

The parsers of Python descend on the machine's own stack, and what keeps them from its end
is the interpreter's recursion limit, which any library may raise for the whole process:
then a few hundred brackets end the process itself, and no C{except} catches that.

Tests: C{tests.signing.test_depth}.
"""

from __future__ import annotations

import re
from itertools import accumulate


MOST_DEEP = 100
"""More than anybody's documents have, and little for any stack."""

_FLAT = bytes.maketrans(b"{}", b"[]")
_OTHERS = bytes(set(range(256)) - set(b'[]{}"'))
_STRING = re.compile(rb'"[^"]*+"?')
_STEPS = {ord("["): 1, ord("]"): -1}


def is_deep(body: bytes, most: int = MOST_DEEP) -> bool:
    """
    Half of what parsing takes, for any length; brackets in texts do not count.

    @param body: UTF-8; JSON, or anything else.
    @param most: How many lists and objects may stand within one another.
    @return: Whether a parser would get deeper, before it ends or stumbles.
    """
    if body.count(b"[") + body.count(b"{") <= most:
        return False
    # Without what is escaped each quote begins a text or ends one; two side by side can
    # both go, and almost all do, for most texts hold no brackets.
    bare = body.replace(b"\\\\", b"").replace(b'\\"', b"").translate(_FLAT, _OTHERS)
    brackets = _STRING.sub(b"", bare.replace(b'""', b""))
    return max(accumulate(map(_STEPS.__getitem__, brackets)), default=0) > most
