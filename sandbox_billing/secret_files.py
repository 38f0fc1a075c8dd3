"""
Settings that are files: a folder with one file for each, named as the setting.

So secrets come from systemd (C{LoadCredential}) and from containers, neither of which shows
them in an environment that C{/proc} and C{docker inspect} tell of.

Tests: C{tests.test_secret_files}.
"""

from __future__ import annotations

from pathlib import Path

from sandbox_billing.configuration import SETTINGS


LONGEST = 65_536
"""Of a file, bytes."""


def read_secrets(folder: Path) -> tuple[dict[str, str], list[str]]:
    """
    @param folder: Files whose names begin with a dot are left alone.
    @return: The settings, each without space around it, and what is wrong.
    """
    known = {setting.name for setting in SETTINGS}
    found: dict[str, str] = {}
    problems = []
    try:
        names = sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as why:
        return {}, [f"--secrets {folder}: {why.strerror}"]
    for name in names:
        if name not in known:
            problems.append(f"--secrets {folder}: nobody reads {name}")
            continue
        try:
            text = (folder / name).read_bytes()[: LONGEST + 1].decode("utf-8").strip()
        except OSError as why:
            problems.append(f"--secrets {folder / name}: {why.strerror}")
        except UnicodeDecodeError:
            problems.append(f"--secrets {folder / name}: is no text in UTF-8")
        else:
            if len(text) > LONGEST or "\n" in text:
                problems.append(f"--secrets {folder / name}: must be one line")
            elif text:
                found[name] = text
    return found, problems
