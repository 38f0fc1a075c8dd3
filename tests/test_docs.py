"""
What the documents say of settings, dependencies, files and commands is so (T7).
"""

from __future__ import annotations

import importlib.util
import json
import re
import tomllib
from configparser import ConfigParser
from pathlib import Path
from types import ModuleType

from twisted.trial.unittest import SynchronousTestCase

from docs import contract_tables, settlement_diagrams, traps_table
from sandbox_billing.adapters.chain.artifacts import load
from sandbox_billing.configuration import (
    REQUIRED,
    SETTINGS,
    read_configuration,
    read_env_file,
)
from sandbox_billing.errors import ConfigurationError
from sandbox_billing.ledger.money import UnixSeconds
from sandbox_billing.ledger.settlement import Resolved, resolve
from tests.ledger.test_settlement import every_evidence


ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
DOCS = ROOT / "docs"


def doc_pages() -> list[Path]:
    """What Sphinx reads."""
    return sorted([*DOCS.glob("*.rst"), *DOCS.glob("*.md")])


def load_settings_table() -> ModuleType:
    """The module that the documents' builder uses; it is no part of the package."""
    spec = importlib.util.spec_from_file_location("settings_table", DOCS / "settings_table.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def requirement(line: str) -> str:
    """The bare name of a requirement, as an index would compare it."""
    return re.split(r"[\s<>=!~;\[]", line.strip())[0].lower().replace("_", "-").replace(".", "-")


def direct_dependencies() -> set[str]:
    """Of the project, its extras, its build and the contracts."""
    setup = ConfigParser()
    setup.read(ROOT / "setup.cfg")
    lists = [setup["options"]["install_requires"], *dict(setup["options.extras_require"]).values()]
    found = {requirement(line) for text in lists for line in text.splitlines() if line.strip()}
    build = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["build-system"]["requires"]
    found |= {requirement(line) for line in build}
    package = json.loads((ROOT / "contracts" / "package.json").read_text("utf-8"))
    found |= {name for key, names in package.items() if "ependencies" in key for name in names}
    return found - {"sandbox-billing"}


def described_dependencies(page: str) -> list[str]:
    """The terms of the page's definition lists, each followed by a description."""
    terms = re.findall(r"^(``\S+``(?:, ``\S+``)*)\n    \S", page, re.MULTILINE)
    names = [name for term in terms for name in re.findall(r"``(\S+?)``", term)]
    return [name if name.startswith("@") else requirement(name) for name in names]


def code_of(text: str) -> list[str]:
    """The lines of literal blocks, and whatever stands in backquotes."""
    indented = re.findall(r"^(?:   +)?\$ (.+)$", text, re.MULTILINE)
    fenced = [
        line
        for block in re.findall(r"```.*?\n(.*?)```", text, re.DOTALL)
        for line in block.splitlines()
    ]
    return [*indented, *fenced, *re.findall(r"`([^`\n]+)`", text)]


def commands_of(text: str) -> set[tuple[str, str]]:
    """
    The scripts and modules that a reader is told to run.

    @return: C{("script", "bin/demo")} or C{("module", "a.b")}.
    """
    found = set()
    for line in code_of(text):
        line = line.removeprefix("$ ")
        script = re.match(r"(\.ci/run|bin/[\w-]+)(?=\s|$)", line)
        if script:
            found.add(("script", script[1]))
        module = re.match(r"(?:\S*/)?python[\d.]* -m ([\w.]+)", line)
        if module:
            found.add(("module", module[1]))
    return found


def missing(command: tuple[str, str]) -> bool:
    """Whether there is no such thing to run."""
    kind, name = command
    if kind == "script":
        path = ROOT / name
        return not (path.is_file() and path.stat().st_mode & 0o111)
    return importlib.util.find_spec(name) is None


class SettingsTests(SynchronousTestCase):
    """
    One table in the code; its copies are the same.
    """

    def setUp(self) -> None:
        """Load what makes the copies."""
        self.table = load_settings_table()

    def test_readme(self) -> None:
        """The README's table is the code's."""
        text = README.read_text("utf-8")
        self.assertEqual(1, text.count(self.table.BEGIN))
        self.assertEqual(1, text.count(self.table.END))
        self.assertEqual(self.table.in_readme(text), text, "run docs/settings_table.py")

    def test_stale_readme(self) -> None:
        """A table that lacks a setting, or says another default, is noticed."""
        text = README.read_text("utf-8")
        for wrong in (
            re.sub(r"\| `STOP_DELAY_SEC` .*\n", "", text),
            text.replace("| `PORT` | `8080` |", "| `PORT` | `8081` |"),
        ):
            self.assertNotEqual(text, wrong)
            self.assertNotEqual(self.table.in_readme(wrong), wrong)

    def test_every_setting(self) -> None:
        """No setting is without a row, here and on the operations page."""
        names = [setting.name for setting in SETTINGS]
        page = (DOCS / "operations.rst").read_text("utf-8")
        self.assertIn("\n.. settings-table::\n", page)
        rst = "\n".join(self.table.as_rst())
        self.assertEqual(names, re.findall(r"\* - ``(\w+)``", rst))
        self.assertEqual(names, re.findall(r"^\| `(\w+)` \|", self.table.as_markdown(), re.M))

    def test_example(self) -> None:
        """The example environment is the code's, and lacks only what has no default."""
        text = (ROOT / "systemd" / "environment.example").read_text("utf-8")
        self.assertEqual(self.table.as_environment(), text, "run docs/settings_table.py")
        required = {s.name for s in SETTINGS if s.default is REQUIRED}
        given = read_env_file(text)
        self.assertEqual(required, set(given))
        why = self.assertRaises(ConfigurationError, read_configuration, given)
        told = {problem.split()[0] for problem in why.problems}
        self.assertEqual(required | {"BACKEND_APP_NAME"}, told)

    def test_example_at_its_defaults(self) -> None:
        """What the example shows as a default is read, and is the default."""
        text = (ROOT / "systemd" / "environment.example").read_text("utf-8")
        known = "|".join(setting.name for setting in SETTINGS)
        shown = read_env_file(re.sub(rf"^#({known})=", r"\1=", text, flags=re.MULTILINE))
        self.assertEqual({setting.name for setting in SETTINGS}, set(shown))
        needed = {
            "DAYTONA_API_URL": "http://127.0.0.1:3000",
            "DAYTONA_ADMIN_KEY": "secret",
            "SETTLEMENT_CONTRACT": "0x" + "11" * 20,
            "RPC_URL": "http://127.0.0.1:8545",
            "CHAIN_ID": "31337",
            "BACKEND_APP_NAME": "billing",
        }
        self.assertEqual(read_configuration(needed), read_configuration({**shown, **needed}))


class DependenciesTests(SynchronousTestCase):
    """
    The page of reasons.
    """

    def test_each_direct_one(self) -> None:
        """It names every direct dependency once, and nothing else."""
        described = described_dependencies((DOCS / "dependencies.rst").read_text("utf-8"))
        self.assertEqual(sorted(direct_dependencies()), sorted(described))

    def test_requirement(self) -> None:
        """A requirement's name is found before version, extra and marker."""
        for line, name in (
            ("attrs >= 26.1", "attrs"),
            ("py-evm==0.12.1b1", "py-evm"),
            ("sandbox_billing[devnet]", "sandbox-billing"),
            ("zope.interface >= 8.7", "zope-interface"),
            ("tomli; python_version < '3.11'", "tomli"),
        ):
            self.assertEqual(name, requirement(line))


class ReferencesTests(SynchronousTestCase):
    """
    What a reader is sent to.
    """

    def test_links(self) -> None:
        """Every relative link of the README leads to a file of this repository."""
        links = re.findall(r"\]\(([^)\s]+)\)", README.read_text("utf-8"))
        relative = [link.partition("#")[0] for link in links if "://" not in link]
        self.assertIn("LICENSE", relative)
        self.assertEqual([], [link for link in relative if link and not (ROOT / link).exists()])

    def test_files(self) -> None:
        """Every file that the documents name by its path in the repository is there."""
        tops = "sandbox_billing|tests|docs|bin|contracts|systemd|changelog\\.d|benchmarks"
        named = re.compile(rf"`((?:{tops})/[\w./-]+)`")
        pages = [README, *doc_pages()]
        found = {(page.name, n) for page in pages for n in named.findall(page.read_text("utf-8"))}
        self.assertIn(("words_and_laws.rst", "tests/evm/test_books.py"), found)
        self.assertEqual([], sorted(one for one in found if not (ROOT / one[1]).exists()))

    def test_commands(self) -> None:
        """Every script and module that README and tutorial tell to run is there."""
        found = set()
        for page in (README, DOCS / "tutorial.rst"):
            found |= commands_of(page.read_text("utf-8"))
        self.assertIn(("script", "bin/demo"), found)
        self.assertIn(("module", "sandbox_billing.devnet.sign"), found)
        self.assertEqual([], sorted(filter(missing, found)))

    def test_commands_are_found(self) -> None:
        """In console blocks, in fences, and within a line; what is not there is missing."""
        self.assertEqual(
            {("script", "bin/a"), ("script", "bin/b"), ("script", "bin/c"), ("module", "x.y")},
            commands_of(
                "   $ bin/a\n\n```\n$ bin/b arg\n```\nuse `bin/c --flag`\n"
                "   $ .venv/bin/python -m x.y 1\n"
            ),
        )
        self.assertTrue(missing(("script", "bin/nothing")))
        self.assertTrue(missing(("module", "sandbox_billing.nothing")))

    def test_pages_in_the_index(self) -> None:
        """No page is left out of the table of contents, and none is named that is not there."""
        index = (DOCS / "index.rst").read_text("utf-8")
        entries = set(re.findall(r"^   (\w+)$", index, re.MULTILINE))
        self.assertEqual({page.stem for page in doc_pages()} - {"index"}, entries)

    def test_no_path_of_a_machine(self) -> None:
        """Pasted output has no home and no temporary folder in it."""
        telling = re.compile(r"/(?:root|home|tmp|work)/\w")
        systemd = [one for one in (ROOT / "systemd").rglob("*") if one.is_file()]
        for page in [README, *doc_pages(), *systemd]:
            self.assertEqual([], telling.findall(page.read_text("utf-8")), page.name)


class SettlementPageTests(SynchronousTestCase):
    """C{docs/settlement.md} against the rules it tells of."""

    def test_diagrams(self) -> None:
        """Tables and pictures show every way that the code knows, and none besides."""
        page = (DOCS / "settlement.md").read_text("utf-8")
        self.assertEqual(page, settlement_diagrams.written(page))
        for name, diagram in settlement_diagrams.DIAGRAMS.items():
            picture = DOCS / "pictures" / f"{name}.svg"
            self.assertEqual(diagram().svg(), picture.read_text("utf-8"))
        self.assertIn("| dead-lettered | forgiven |", page)
        self.assertIn("| mined | ended |", page)

    def test_every_outcome(self) -> None:
        """Whatever the chain can answer, C{resolve} gives an outcome that the page names."""
        page = (DOCS / "settlement.md").read_text("utf-8")
        table = page.partition("## What an outcome means")[2].partition("## When something dies")[0]
        named = {name for row in re.findall(r"\|([^|]*)\|$", table, re.M) for name in names(row)}
        found = set()
        for evidence in every_evidence():
            outcome = resolve(evidence, UnixSeconds(0))
            what = outcome.record.state if isinstance(outcome, Resolved) else outcome
            found.add(type(what).__name__)
        self.assertEqual(found | {"BrokenLaw"}, named)


def names(cell: str) -> list[str]:
    """What a cell of a table has between back-ticks."""
    return re.findall(r"`(\w+)`", cell)


class ContractPageTests(SynchronousTestCase):
    """C{docs/contract.md} against the compiled contract."""

    def test_tables(self) -> None:
        """Gas and flaws are what was measured and what is tried."""
        page = (DOCS / "contract.md").read_text("utf-8")
        self.assertEqual(page, contract_tables.written(page))
        self.assertIn("| `refund-trimmed` | K1 |", page)
        self.assertIn("| 50 | one user | 18,004 |", page)

    def test_complete(self) -> None:
        """Every function, event and error of the ABI is on the page."""
        page = (DOCS / "contract.md").read_text("utf-8")
        abi = [*load("SandboxServing").abi, *load("UpgradeableBeacon").abi]
        names = {entry["name"] for entry in abi if "name" in entry}
        named = {
            name for span in re.findall(r"`([^`]+)`", page) for name in re.findall(r"\w+", span)
        }
        self.assertIn("settleBatch", names)
        self.assertEqual(set(), names - named - INHERITED)


class TrapsPageTests(SynchronousTestCase):
    """C{docs/traps.md} against the traps."""

    def test_table(self) -> None:
        """Each failure that is put back is listed, with what notices it."""
        page = (DOCS / "traps.md").read_text("utf-8")
        self.assertEqual(page, traps_table.written(page), "run python -m docs.traps_table")
        self.assertIn("| B9 | A stop's error is only logged,", page)
        self.assertIn("simulation: create-tick-stop, dying after", page)

    def test_each_trap(self) -> None:
        """Every row says what is put back, and is noticed by something."""
        rows = traps_table.rows()
        self.assertTrue({"B1", "B22", "S1", "S14", "K7"} <= {id_ for id_, _, _ in rows})
        self.assertEqual([], [id_ for id_, told, by in rows if not told or not by])


INHERITED = {
    # Errors of OpenZeppelin's that no call can meet, and the beacon's own words.
    "BeaconInvalidImplementation",
    "ERC5267ExtensionsNotSupported",
    "NotInitializing",
    "OwnableInvalidOwner",
}
