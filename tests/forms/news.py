"""
What this version may write and the one before does not read.

Every name stands in C{docs/upgrading.rst}, with what writes it: nothing of it may be written while
a process of the version before runs, be it that only what an operator does with this version
writes it, be it that it is read in one version and written in the next.  C{tests.forms.test_forms}
holds it.  The list is emptied when C{previous} becomes what was C{current}.
"""

from __future__ import annotations

from collections.abc import Mapping


NEWS: Mapping[str, str] = {
    "voucher.Charge.usage_hash": "import-go",
    "voucher.ChargeKind.imported": "import-go",
}
"""A field or member, and what writes it: a word that the page must have beside it."""
