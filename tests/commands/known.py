"""What can be said of a command without running it: that there are such a program and options."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path

import click
from twisted.python import usage

from sandbox_billing.cli.main import cli
from sandbox_billing.tap import Options


ROOT = Path(__file__).resolve().parents[2]

_FAR = (
    *(
        "apt-get",
        "cp",
        "curl",
        "cast",
        "git",
        "getent",
        "id",
        "install",
        "journalctl",
        "ls",
        "mkdir",
    ),
    *("redis-cli", "rsync", "scp", "ss", "sudo", "systemctl", "systemd-analyze"),
    *("systemd-creds", "systemd-sysusers", "systemd-tmpfiles", "timedatectl", "ufw", "nft"),
    *(
        "docker",
        "grep",
        "sed",
        "mv",
        "cat",
        "chown",
        "chmod",
        "echo",
        "cd",
        "jq",
        "rm",
        "test",
        "umask",
        "ip",
    ),
)
"""Programs of other people: of these nothing is checked but that somebody thought of them."""


UNKNOWN = "nobody has thought of this program"

_INNER = re.compile(r"\$\(((?:[^()']|'[^']*')+)\)")


def wrongs(text: str, *, of_others: bool = True) -> list[str]:
    """
    What is wrong with a command: of what is typed at a prompt, with pipes, comments and all.

    @param of_others: Whether a program that nobody has thought of is wrong.
    @return: Sentences; nothing when it is well.
    """
    joined = text.replace("\\\n", " ")
    found = []
    for inner in _INNER.findall(joined):
        found += wrongs(inner, of_others=of_others)
    for part in _parts(_INNER.sub("it", joined)):
        words = list(part)
        while words and (re.match(r"[A-Za-z_]\w*=", words[0]) or words[0] in ("export", "sudo")):
            words.pop(0)
        if words:
            ours = _of_program(words)
            ours = [UNKNOWN] * of_others if ours is None else ours
            found += [f"{' '.join(words)}: {why}" for why in ours]
    return found


def _parts(text: str) -> list[list[str]]:
    """Words of each command of a line."""
    reader = shlex.shlex(text, posix=True, punctuation_chars="|&;<>")
    reader.whitespace_split = True
    parts: list[list[str]] = [[]]
    words = list(reader)
    at = 0
    while at < len(words):
        if set(words[at]) <= set("<>") or re.fullmatch(r"\d?>&?\d?|>&", words[at]):
            at += 2
            continue
        if set(words[at]) <= set("|&;"):
            parts.append([])
        else:
            parts[-1].append(words[at])
        at += 1
    return parts


def _of_program(words: Sequence[str]) -> list[str] | None:
    """What is wrong with it; None when nobody has thought of it."""
    name, rest = words[0], list(words[1:])
    bare = name.rpartition("/")[2]
    if name.startswith(("bin/", ".ci/")) and not (ROOT / name).is_file():
        return ["there is no such script"]
    if bare == "sandbox-billing":
        return of_click(rest)
    if bare == "twistd":
        return of_twistd(rest)
    if bare.startswith("python"):
        return _of_python(rest)
    if name.startswith("bin/") or bare in ("pip", *_FAR):
        return []
    return None


def _of_python(words: Sequence[str]) -> list[str]:
    if words[:1] == ["-m"] and words[1].startswith("sandbox_billing."):
        path = ROOT / (words[1].replace(".", "/") + ".py")
        return [] if path.is_file() else ["there is no such module"]
    return []


def of_click(words: Sequence[str]) -> list[str]:
    """Of our own command line: that the command is there, with these options and arguments."""
    command: click.Command = cli
    context, rest = click.Context(cli, info_name="sandbox-billing"), list(words)
    try:
        while True:
            parser = command.make_parser(context)
            given, rest, _ = parser.parse_args(list(rest))
            missing = [
                parameter.name
                for parameter in command.params
                if isinstance(parameter, click.Argument)
                and parameter.required
                and parameter.value_is_missing(given.get(str(parameter.name)))
            ]
            if missing:
                return [f"{missing} missing"]
            if not isinstance(command, click.Group):
                return [f"{rest} is too much"] if rest else []
            if not rest:
                named = command.invoke_without_command or any(given.values())
                return [] if named else ["a command is missing"]
            _, below, rest = command.resolve_command(context, rest)
            assert below is not None
            context = click.Context(below, parent=context, info_name=below.name)
            command = below
    except click.UsageError as why:
        return [why.format_message()]


def of_sentence(words: Sequence[str]) -> list[str]:
    """
    Of our own command line, where a sentence names a command: as far as it is named, it is there.

    What comes after dots, an option or somebody's own word is left out.
    """
    command: click.Command = cli
    for word in words:
        if not isinstance(command, click.Group) or not re.fullmatch(r"[a-z][a-z-]+", word):
            break
        below = command.get_command(click.Context(command), word)
        if below is None:
            return [f"{' '.join(words)}: there is no {word}"]
        command = below
    return []


def of_twistd(words: Sequence[str]) -> list[str]:
    """Of the daemon: that its options are there, and go together."""
    if "sandbox-billing" not in words:
        return []
    options = Options()
    try:
        options.parseOptions(list(words[list(words).index("sandbox-billing") + 1 :]))  # type: ignore[no-untyped-call]
    except usage.UsageError as why:
        return [str(why)]
    return options.problems()


def named_by_ci(text: str, ci: Callable[[], str] = (ROOT / ".ci" / "run").read_text) -> bool:
    """Whether CI runs a script by itself, on a line of its own."""
    words = text.split()
    return any(
        words[0] in line.split() and not line.lstrip().startswith(("#", "step "))
        for line in ci().splitlines()
    )
