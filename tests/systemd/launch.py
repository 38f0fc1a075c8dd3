"""
What systemd does between fork and exec, as far as a test can: C{launch.py PLAN COMMAND...}.

The plan is JSON: C{calls}, the numbers of the system calls that are allowed, or null;
C{families} of sockets; C{mdwe}, whether memory may not be writable and executable.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import resource
import struct
import sys


PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, PR_SET_MDWE = 38, 22, 65
ALLOW, ERRNO, KILL = 0x7FFF0000, 0x00050000, 0x80000000
LOAD, EQUAL, RETURN = 0x20, 0x15, 0x06
X86_64 = 0xC000003E
SOCKET = 41


def _program(calls: list[int], families: list[int]) -> list[tuple[int, int, int, int]]:
    """A filter of classic BPF; every comparison is followed by its answer."""
    program = [(LOAD, 0, 0, 4), (EQUAL, 1, 0, X86_64), (RETURN, 0, 0, KILL), (LOAD, 0, 0, 0)]
    # Of socket(), by its first argument.
    program += [(EQUAL, 0, 2 + 2 * len(families), SOCKET), (LOAD, 0, 0, 16)]
    for family in families:
        program += [(EQUAL, 0, 1, family), (RETURN, 0, 0, ALLOW)]
    program += [(RETURN, 0, 0, ERRNO | errno.EAFNOSUPPORT)]
    for call in calls:
        program += [(EQUAL, 0, 1, call), (RETURN, 0, 0, ALLOW)]
    return [*program, (RETURN, 0, 0, ERRNO | errno.EPERM)]


def _prctl(*words: object) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(*words) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"prctl: {os.strerror(number)}")


def main(plan: dict[str, object], command: list[str]) -> None:
    """Become the command."""
    os.environ["LISTEN_PID"] = os.environ["WATCHDOG_PID"] = str(os.getpid())
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if plan["mdwe"]:
        _prctl(PR_SET_MDWE, 1, 0, 0, 0)
    if plan["calls"] is not None:
        steps = _program(plan["calls"], plan["families"])  # type: ignore[arg-type]
        code = b"".join(struct.pack("HBBI", *step) for step in steps)
        buffer = ctypes.create_string_buffer(code)
        head = struct.pack("HxxxxxxP", len(steps), ctypes.addressof(buffer))
        _prctl(PR_SET_SECCOMP, 2, ctypes.create_string_buffer(head), 0, 0)
    os.execv(command[0], command)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]), sys.argv[2:])
