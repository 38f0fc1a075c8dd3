"""Unit files, read as systemd does as far as ours need it."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path

from attrs import frozen


FOLDER = Path(__file__).resolve().parents[2] / "systemd"
SERVICES = ("sandbox-billing.service", "sandbox-billing-web@.service")
WORKER = "sandbox-billing-worker.service"

HEADER = Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h")
"""Numbers of system calls."""


@frozen
class Unit:
    """
    @ivar lines: Section, name and value, in order.
    """

    lines: tuple[tuple[str, str, str], ...]

    @classmethod
    def read(cls, name: str) -> Unit:
        """One of ours."""
        text = re.sub(r"\\\n\s*", " ", (FOLDER / name).read_text())
        found, section = [], ""
        for line in text.splitlines():
            if line.startswith("["):
                section = line.strip("[]")
            elif line and line[0] not in "#;":
                key, _, value = line.partition("=")
                found.append((section, key, value.strip()))
        return cls(tuple(found))

    def all(self, key: str) -> list[str]:
        """Every value of a name."""
        return [value for _section, name, value in self.lines if name == key]

    def one(self, key: str) -> str:
        """The only one."""
        (value,) = self.all(key)
        return value

    def hardening(self) -> list[tuple[str, str]]:
        """All from NoNewPrivileges on."""
        service = [(key, value) for section, key, value in self.lines if section == "Service"]
        return service[service.index(("NoNewPrivileges", "yes")) :]

    def command(self, places: Mapping[str, str]) -> list[str]:
        """
        ExecStart.

        @param places: What stands for a beginning of a word: a path, or a specifier like C{%d}.
        """
        words = shlex.split(self.one("ExecStart"))
        for was, now in places.items():
            words = [
                now + word.removeprefix(was) if word.startswith(was) else word for word in words
            ]
        return words

    def environment(self, instance: str) -> dict[str, str]:
        """Environment, for an instance."""
        pairs = (word.partition("=") for line in self.all("Environment") for word in line.split())
        return {name: value.replace("%i", instance) for name, _, value in pairs}


@cache
def _group(name: str) -> frozenset[str]:
    told = subprocess.run(
        ["systemd-analyze", "syscall-filter", name], capture_output=True, text=True, check=True
    ).stdout
    words = [line.strip() for line in told.splitlines()[1:]]
    words = [word for word in words if word and not word.startswith("#")]
    return frozenset().union(*(_group(one) if one[0] == "@" else {one} for one in words))


def allowed_calls(filters: Iterable[str]) -> list[int]:
    """
    @param filters: SystemCallFilter, in order.
    @return: The numbers of the system calls that are allowed on this kind of machine.
    """
    allowed: frozenset[str] = _group("@default")
    for line in filters:
        named = frozenset().union(*(_group(one) for one in line.lstrip("~").split()))
        allowed = allowed - named if line.startswith("~") else allowed | named
    numbers = dict(re.findall(r"#define __NR_(\w+) (\d+)", HEADER.read_text()))
    return sorted(int(numbers[name]) for name in allowed if name in numbers)
