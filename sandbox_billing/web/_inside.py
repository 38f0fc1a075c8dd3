"""
Daytona's texts without what they tell of its inside: runners, registries, addresses.

Tests: C{tests.web.test_inside}.
"""

from __future__ import annotations

import re


HIDDEN = "(hidden)"

_MOST = 4000
"""Of a text that is looked at; nobody is shown as much."""

_GROUP = r"[0-9A-Fa-f]{1,4}"
_NAME = r"[\w-]{1,63}(?:\.[\w-]{1,63}){0,10}"
# Each begins where no word goes on, and is bounded: texts come from whoever made an image.
_ADDRESSES = (
    # With a scheme.
    re.compile(r"""(?<![\w+.-])[A-Za-z][\w+.-]{0,20}://[^\s"'<>]*"""),
    # Names that only an inside has.
    re.compile(
        rf"(?<![\w.-]){_NAME}\.(?:internal|intranet|local|localdomain|lan|corp|svc)"
        r"(?::\d{1,5})?(?![\w-]|\.\w)",
        re.IGNORECASE,
    ),
    # IPv4, IPv6 in brackets, and IPv6 that is shortened.
    re.compile(r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?!\.?\d)(?::\d{1,5})?"),
    re.compile(r"\[(?=[^\]:]{0,4}:[^\]:]{0,4}:)[0-9A-Fa-f:.]{2,45}\](?::\d{1,5})?"),
    re.compile(rf"(?<![\w:]){_GROUP}(?::{_GROUP}){{0,6}}::(?:{_GROUP}(?::{_GROUP}){{0,6}})?(?!\w)"),
)
_WITH_PORT = re.compile(rf"(?<![\w./-])({_NAME}):(\d{{2,5}})(?![\w:-]|\.\w)(/?)")


def _without_port(found: re.Match[str]) -> str:
    host, port, slash = found.groups()
    if host.isdigit():
        # A time of day.
        return found[0]
    # C{postgres:16} is an image; a name without a dot is a host where its port is no tag.
    is_host = "." in host or host.lower() == "localhost" or slash or int(port) > 1023
    return HIDDEN + slash if is_host else found[0]


def without_inside(text: str) -> str:
    """
    A text of Daytona's with its addresses hidden; images and versions stay.

    @param text: What is beyond some thousand characters is cut off.
    """
    told = text[:_MOST]
    for address in _ADDRESSES:
        told = address.sub(HIDDEN, told)
    return _WITH_PORT.sub(_without_port, told)


def image_alone(reference: str) -> str:
    """An image's name without the registry that has it, by the rule of Docker's references."""
    first, slash, rest = reference.partition("/")
    is_registry = bool(slash) and ("." in first or ":" in first or first == "localhost")
    return rest if is_registry else reference
