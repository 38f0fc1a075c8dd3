"""
The rooms of design.md §2: who may import whom, held by walking the imports.

Each check is a function of source text, so that it can be shown a planted
violation: a check that has never failed is not known to check anything.
"""

from __future__ import annotations

import ast
import configparser
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from attrs import frozen
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.interface import InterfaceClass, Method

from sandbox_billing import interfaces


TREE = Path(__file__).resolve().parents[1]
PACKAGE = TREE / "sandbox_billing"
"""The tree, not what is installed: a package that was forgotten is only here."""

OURS = "sandbox_billing"
EVERYWHERE = frozenset({"attrs", OURS + ".errors"})
"""What every room may import, besides the standard library."""

FRAMEWORK = frozenset({"zope", "twisted"})


@frozen(kw_only=True)
class Room:
    """
    @ivar name: Of a package or a module, below C{sandbox_billing}; the longest match counts.
    @ivar may: What it may import beyond C{EVERYWHERE} and itself: rooms and libraries.
    """

    name: str
    may: frozenset[str]


def room(name: str, *may: str, rooms: Iterable[str] = ()) -> Room:
    """A row of the table, its rooms named from C{sandbox_billing}."""
    return Room(name=name, may=frozenset(may) | {f"{OURS}.{one}" for one in rooms})


BELOW_ADAPTERS = ("interfaces", "ledger", "measures", "signing", "log_context")
KEYS = ("coincurve", "eth_abi", "eth_account", "eth_keys", "eth_utils")
CHAIN = (*KEYS, "hexbytes", "requests", "rlp", "urllib3", "web3")
"""One technology with its own helpers: web3 brings requests and the Ethereum packages."""
DAYTONA = ("treq", "engineio", "socketio", "wsproto")
"""HTTP, and the events beside it."""

ROOMS = (
    room("ledger"),
    room("errors"),
    room("signing", *KEYS, rooms=["ledger.identity"]),
    room("measures"),
    room("interfaces", *FRAMEWORK, rooms=["ledger", "measures"]),
    room("adapters", *FRAMEWORK, rooms=BELOW_ADAPTERS),
    room("adapters.redis", *FRAMEWORK, "txredisapi", rooms=BELOW_ADAPTERS),
    room("adapters.chain", *FRAMEWORK, *CHAIN, rooms=BELOW_ADAPTERS),
    room("adapters.daytona", *FRAMEWORK, *DAYTONA, rooms=BELOW_ADAPTERS),
    room("adapters.enclave", *FRAMEWORK, "grpc", "google", rooms=BELOW_ADAPTERS),
    room("adapters.prometheus", *FRAMEWORK, "prometheus_client", rooms=BELOW_ADAPTERS),
    # The fake runs the real journal over dictionaries, so that one suite proves both.
    room("adapters.memory", *FRAMEWORK, rooms=[*BELOW_ADAPTERS, "adapters.redis"]),
    room("services", *FRAMEWORK, rooms=BELOW_ADAPTERS),
    room("web", *FRAMEWORK, "klein", rooms=BELOW_ADAPTERS),
    room("configuration", rooms=["ledger"]),
    room("log_context"),
    room("log_fields"),
    room("log_text"),
    room("logs", *FRAMEWORK, rooms=["log_context", "log_text"]),
    room("secret_files", rooms=["configuration"]),
    room("notify", *FRAMEWORK, rooms=["services"]),
    room(
        "reloading",
        *FRAMEWORK,
        rooms=["adapters", "applied", "configuration", "notify", *BELOW_ADAPTERS],
    ),
    room("startup", *FRAMEWORK, rooms=["configuration", "adapters", *BELOW_ADAPTERS]),
    room("applied", rooms=["configuration", "ledger", "services", "web"]),
    room(
        "wiring_webhooks",
        *FRAMEWORK,
        rooms=["adapters", "configuration", "services", *BELOW_ADAPTERS],
    ),
    room("wiring_outside", *FRAMEWORK, rooms=["adapters", "configuration", *BELOW_ADAPTERS]),
    room("wiring_money", *FRAMEWORK, rooms=["adapters", "services", *BELOW_ADAPTERS]),
    room("wiring_orders", *FRAMEWORK, rooms=["adapters", "services", *BELOW_ADAPTERS]),
    room(
        "wiring",
        *FRAMEWORK,
        rooms=[
            "adapters",
            "applied",
            "configuration",
            "services",
            "startup",
            "web",
            "wiring_money",
            "wiring_orders",
            "wiring_webhooks",
            *BELOW_ADAPTERS,
        ],
    ),
    room(
        "wiring_web",
        *FRAMEWORK,
        rooms=[
            "adapters",
            "applied",
            "configuration",
            "services",
            "startup",
            "web",
            "wiring",
            "wiring_money",
            *BELOW_ADAPTERS,
        ],
    ),
    room(
        "monitoring",
        *FRAMEWORK,
        rooms=["adapters", "applied", "services", "web", "wiring", *BELOW_ADAPTERS],
    ),
    room(
        "daemon",
        *FRAMEWORK,
        rooms=[
            "monitoring",
            "adapters",
            "configuration",
            "services",
            "startup",
            "web",
            "wiring",
            "wiring_web",
            "wiring_outside",
            "wiring_webhooks",
            "applied",
            *BELOW_ADAPTERS,
        ],
    ),
    room(
        "tap",
        *FRAMEWORK,
        rooms=[
            "configuration",
            "daemon",
            "devnet",
            "log_text",
            "logs",
            "notify",
            "reloading",
            "secret_files",
            "services",
            "wiring",
        ],
    ),
)
"""The table of design.md §2, and below it the electrician's corner."""

OUTSIDE = ("devnet", "cli", "client")
"""Above everything: they may import all of it, and the daemon none of them, but for C{tap}."""

SAME_ROOM = ("adapters",)
"""Where a room's own neighbours are no neighbours: one technology per folder."""

REACTOR_LATE = ("tap", "devnet", "cli")
"""Who may take the global reactor, inside a function only."""

LONG = {
    "configuration": "one table of all settings, and what is wrong with them together",
    "interfaces": "the ports in one file, by design",
    "adapters.enclave.tapp_pb2": "generated",
    "adapters.redis.keys": "every name in one file, by design",
}
"""Modules over 400 lines, with the reason."""


@frozen
class Import:
    """
    @ivar name: Dotted, as far as the statement says it.
    @ivar late: Whether it stands in a function.
    """

    name: str
    late: bool


def imports(source: str, module: str) -> Iterator[Import]:
    """Every import of a module, those in functions too, relative ones made absolute."""

    def walk(node: ast.AST, late: bool) -> Iterator[Import]:
        if isinstance(node, ast.Import):
            yield from (Import(alias.name, late) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = node.module or ""
            if node.level:
                base = module.split(".")[: -node.level]
                start = ".".join([*base, start]).rstrip(".")
            yield from (Import(f"{start}.{alias.name}", late) for alias in node.names)
        inside = late or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for child in ast.iter_child_nodes(node):
            yield from walk(child, inside)

    return walk(ast.parse(source), False)


def within(name: str, start: str) -> bool:
    """Whether a dotted name is another one or stands below it."""
    return name == start or name.startswith(start + ".")


def room_of(module: str) -> Room | None:
    """The room a module of ours belongs to; None outside and for the package itself."""
    rooms = [one for one in ROOMS if within(module, f"{OURS}.{one.name}")]
    return max(rooms, key=lambda one: len(one.name), default=None)


def is_outside(module: str) -> bool:
    """Whether a module is one of those that the daemon does not know."""
    return any(within(module, f"{OURS}.{one}") for one in OUTSIDE)


def wrong_imports(source: str, module: str) -> list[str]:
    """What a module imports and must not."""
    if module == OURS or is_outside(module):
        return []
    mine = room_of(module)
    if mine is None:
        return [f"{module} belongs to no room: design.md §2 has none for it"]
    itself = f"{OURS}.{mine.name}"
    wrong = []
    for one in imports(source, module):
        if one.name.split(".")[0] in sys.stdlib_module_names:
            continue
        if any(within(one.name, allowed) for allowed in EVERYWHERE | mine.may):
            continue
        own = within(one.name, itself)
        if own and mine.name in SAME_ROOM and (found := room_of(one.name)) is not None:
            own = found.name == mine.name
        if not own and one.name != f"{OURS}.__version__":
            # "from sandbox_billing import errors" names the room behind the package.
            wrong.append(f"{module} imports {one.name}")
    return wrong


def wrong_reactors(source: str, module: str) -> list[str]:
    """Where a module takes the global reactor and must not."""
    late_here = any(within(module, f"{OURS}.{one}") for one in REACTOR_LATE)
    return [
        f"{module} takes the reactor {'in a function' if one.late else 'at import'}"
        for one in imports(source, module)
        if within(one.name, "twisted.internet.reactor") and not (one.late and late_here)
    ]


def wrong_floats(source: str, module: str) -> list[str]:
    """Where the ledger touches a float: by name, by number, or by true division."""
    found = []
    for node in ast.walk(ast.parse(source)):
        called = isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        if called and node.func.id == "float":  # type: ignore[attr-defined]
            found.append(f"{module}:{node.lineno} calls float()")  # type: ignore[attr-defined]
        if isinstance(node, ast.Constant) and isinstance(node.value, float):
            found.append(f"{module}:{node.lineno} has the float {node.value}")
        if isinstance(node, ast.BinOp | ast.AugAssign) and isinstance(node.op, ast.Div):
            found.append(f"{module}:{node.lineno} divides into a float")
    return found


def wrong_handlers(source: str, module: str) -> list[str]:
    """
    A bare C{except}, and C{except Exception} outside the three places for it.

    A handler that ends in C{raise} hides nothing: it gives the failure a name.
    """
    bland = {f"{OURS}.services._periodic", f"{OURS}.services._supervise", f"{OURS}.web._router"}
    found = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.ExceptHandler):
            continue
        names = {n.id for n in ast.walk(node.type) if isinstance(n, ast.Name)} if node.type else {}
        if node.type is None or "BaseException" in names:
            found.append(f"{module}:{node.lineno} catches everything")
        elif isinstance(node.body[-1], ast.Raise):
            continue
        elif "Exception" in names and module not in bland:
            found.append(f"{module}:{node.lineno} catches Exception")
    return found


def modules() -> dict[str, Path]:
    """Every module of ours by its name."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        found[".".join(parts).removesuffix(".__init__")] = path
    return found


class ImportTests(SynchronousTestCase):
    """The tree as it stands."""

    def test_rooms(self) -> None:
        """Imports run one way; adapters, services and web do not know one another."""
        wrong = [
            w for name, path in modules().items() for w in wrong_imports(path.read_text(), name)
        ]
        self.assertEqual([], wrong)

    def test_reactor(self) -> None:
        """Nobody takes the global reactor at import, and only the outermost rooms at all."""
        wrong = [
            w for name, path in modules().items() for w in wrong_reactors(path.read_text(), name)
        ]
        self.assertEqual([], wrong)

    def test_no_float(self) -> None:
        """Money is integers: no float enters the ledger."""
        ledger = {n: p for n, p in modules().items() if within(n, f"{OURS}.ledger")}
        self.assertGreater(len(ledger), 10)
        wrong = [w for name, path in ledger.items() for w in wrong_floats(path.read_text(), name)]
        self.assertEqual([], wrong)

    def test_handlers(self) -> None:
        """Whoever catches everything hides something."""
        wrong = [
            w
            for name, path in modules().items()
            if not is_outside(name)
            for w in wrong_handlers(path.read_text(), name)
        ]
        self.assertEqual([], wrong)

    def test_quiet_imports(self) -> None:
        """The pure rooms, the ports and the services bring no reactor with them."""
        quiet = ("ledger", "errors", "signing", "interfaces", "services", "configuration", "logs")
        names = [n for n in modules() if any(within(n, f"{OURS}.{one}") for one in quiet)]
        program = (
            f"import sys, importlib\nfor name in {names!r}: importlib.import_module(name)\n"
            "print('twisted.internet.reactor' in sys.modules)"
        )
        done = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60
        )
        self.assertEqual((0, "False\n", ""), (done.returncode, done.stdout, done.stderr))


class PlantedTests(SynchronousTestCase):
    """Each check is shown what it must find."""

    def test_rooms(self) -> None:
        """Every arrow of the design, drawn the wrong way round."""
        for module, line in (
            ("ledger.money", "import twisted"),
            ("ledger.money", "from sandbox_billing.signing.key import recover"),
            ("ledger.money", "import zope.interface"),
            ("signing.key", "from sandbox_billing.ledger.money import Neuron"),
            ("signing.key", "from sandbox_billing.interfaces import ISigner"),
            ("interfaces", "from sandbox_billing.signing.key import SigningKey"),
            ("services.settler", "from sandbox_billing.adapters.redis.keys import Keys"),
            ("services.settler", "from sandbox_billing.web.policy import Policy"),
            ("services.settler", "import klein"),
            ("services.settler", "from sandbox_billing.configuration import Configuration"),
            ("web.root", "from sandbox_billing.services.intake import Intake"),
            ("web.root", "import txredisapi"),
            ("adapters.redis.keys", "from sandbox_billing.adapters.chain.node import Node"),
            ("adapters.redis.keys", "from sandbox_billing.adapters.memory import MemoryKeyspace"),
            ("adapters.redis.keys", "from sandbox_billing.services.policy import Policy"),
            ("adapters.redis.keys", "import treq"),
            ("adapters.memory", "from sandbox_billing.adapters.chain.node import Node"),
            ("adapters.system", "from sandbox_billing.adapters.redis.keys import Keys"),
            ("configuration", "import twisted"),
            ("wiring", "from sandbox_billing.devnet.service import DevnetService"),
            ("wiring", "from sandbox_billing.tap import Options"),
            ("daemon", "import sandbox_billing.cli.main"),
            ("tap", "from sandbox_billing.adapters.redis.keys import Keys"),
            ("errors", "from sandbox_billing.ledger.identity import Address"),
            ("helpers", "import os"),
        ):
            with self.subTest(module=module, line=line):
                self.assertEqual(1, len(wrong_imports(line, f"{OURS}.{module}")), (module, line))

    def test_hidden(self) -> None:
        """Inside a function, behind a condition, by the package's name, or relative."""
        for source in (
            "def f():\n    import twisted",
            "if 0:\n    import twisted",
            "from sandbox_billing import interfaces",
            "from ..signing import key",
            "from .. import interfaces",
        ):
            with self.subTest(source=source):
                self.assertEqual(1, len(wrong_imports(source, f"{OURS}.ledger.money")), source)

    def test_allowed(self) -> None:
        """What the design allows is not complained of."""
        for module, line in (
            ("ledger.money", "import re, attrs\nfrom sandbox_billing.errors import BadInput"),
            ("ledger.money", "from .identity import Address"),
            (
                "signing.key",
                "from sandbox_billing.ledger.identity import Address\nimport coincurve",
            ),
            ("adapters.memory.keyspace", "from sandbox_billing.adapters.redis.seam import X"),
            ("adapters.redis.store", "from sandbox_billing.adapters.redis.keys import Keys"),
            ("tap", "from sandbox_billing import __version__"),
            ("devnet.world", "from sandbox_billing.tap import Options\nimport eth_tester"),
        ):
            with self.subTest(module=module, line=line):
                self.assertEqual([], wrong_imports(line, f"{OURS}.{module}"))

    def test_reactor(self) -> None:
        """At import never; in a function in C{tap} only."""
        early = "from twisted.internet import reactor"
        late = f"def f():\n    {early}"
        nested = f"class A:\n    {early}"
        for module, source in (
            ("tap", early),
            ("tap", nested),
            ("tap", "import twisted.internet.reactor"),
            ("services.settler", early),
            ("services.settler", late),
            ("devnet.world", early),
        ):
            with self.subTest(module=module, source=source):
                self.assertEqual(1, len(wrong_reactors(source, f"{OURS}.{module}")))
        self.assertEqual([], wrong_reactors(late, f"{OURS}.tap"))

    def test_floats(self) -> None:
        """Each way in which one may enter."""
        for source in ("float(1)", "x = 0.5", "x = 1 / 60", "x /= 60", "x = 1e18"):
            with self.subTest(source=source):
                self.assertEqual(1, len(wrong_floats(source, "m")))
        self.assertEqual([], wrong_floats("x = 7 // 2\ny = type(x) is float", "m"))

    def test_handlers(self) -> None:
        """Alone, in a tuple, or bare."""
        for caught in ("", " Exception", " (ValueError, Exception)", " BaseException"):
            source = f"try:\n    pass\nexcept{caught}:\n    pass"
            with self.subTest(caught=caught):
                self.assertEqual(1, len(wrong_handlers(source, f"{OURS}.tap")))
        source = "try:\n    pass\nexcept Exception:\n    pass"
        self.assertEqual([], wrong_handlers(source, f"{OURS}.services._periodic"))
        for quiet in (" ValueError:\n    pass", " Exception as why:\n    raise E from why"):
            source = f"try:\n    pass\nexcept{quiet}"
            self.assertEqual([], wrong_handlers(source, f"{OURS}.tap"))


class TreeTests(SynchronousTestCase):
    """Files and their sizes."""

    def test_packages_listed(self) -> None:
        """setup.cfg lists every package by hand, and none that is not there."""
        setup = configparser.ConfigParser()
        setup.read(TREE / "setup.cfg")
        listed = set(setup["options"]["packages"].split())
        found = {
            ".".join(path.parent.relative_to(PACKAGE.parent).parts)
            for path in PACKAGE.rglob("*")
            if path.suffix in (".py", ".lua", ".json", ".proto")
        }
        self.assertEqual(found | {"twisted.plugins"}, listed)

    def test_packages_have_init(self) -> None:
        """Each of ours is a package, not a namespace by accident."""
        folders = {path.parent for path in PACKAGE.rglob("*.py")}
        self.assertEqual([], [str(one) for one in folders if not (one / "__init__.py").exists()])

    def test_plugin_folder(self) -> None:
        """The folder is Twisted's namespace: an C{__init__.py} would shut all others out."""
        self.assertTrue((TREE / "twisted/plugins/sandbox_billing_plugin.py").exists())
        self.assertEqual([], list((TREE / "twisted").rglob("__init__.py")))

    def test_length(self) -> None:
        """A module over 400 lines needs a reason; a reason needs a long module."""
        lengths = {
            name.removeprefix(f"{OURS}."): len(path.read_text().splitlines())
            for name, path in modules().items()
        }
        long = {name: length for name, length in lengths.items() if length > 400}
        self.assertEqual({}, {name: n for name, n in long.items() if name not in LONG})
        self.assertEqual(set(), set(LONG) - set(lengths))

    def test_named_tests(self) -> None:
        """The tests that a module names as its own are there."""
        named = re.compile(r"\b[LC]\{(tests(?:\.\w+)+)\}")
        found = {
            (path.relative_to(TREE).as_posix(), name)
            for path in PACKAGE.rglob("*.py")
            for name in named.findall(path.read_text("utf-8"))
        }
        self.assertIn(("sandbox_billing/services/settler.py", "tests.services.test_settler"), found)
        places = {one: TREE / one[1].replace(".", "/") for one in found}
        self.assertEqual(
            [],
            sorted(
                one
                for one, place in places.items()
                if not place.is_dir() and not place.with_suffix(".py").exists()
            ),
        )


def failure_ids() -> set[str]:
    """Every known failure; the gaps are ids that were merged, and none is ever used again."""
    merged = {"K": (18, 20), "P": (5, 11, 12), "B": (2, 6, 12, 13, 15, 18), "S": (2, 13), "T": (2,)}
    last = {"K": 21, "A": 6, "P": 17, "B": 22, "S": 15, "T": 9, "V": 4}
    return {
        f"{group}{number}"
        for group, most in last.items()
        for number in range(1, most + 1)
        if number not in merged.get(group, ())
    }


class TrapTests(SynchronousTestCase):
    """Every known failure has a trap, or a line that says why it has none."""

    def test_every_failure(self) -> None:
        """Neither forgotten nor both, nor invented."""
        folder = TREE / "tests" / "traps"
        lines = (folder / "not_built.txt").read_text().splitlines()
        reasons = dict(line.split(": ", 1) for line in lines if not line.startswith("#"))
        self.assertEqual(len(reasons), len([line for line in lines if not line.startswith("#")]))
        self.assertTrue(all(reasons.values()))
        traps = {path.stem.removeprefix("test_").upper() for path in folder.glob("test_*.py")}
        self.assertEqual(set(), traps & set(reasons))
        self.assertEqual(failure_ids(), traps | set(reasons))


class InterfaceTests(SynchronousTestCase):
    """The ports."""

    def test_contracts(self) -> None:
        """Every port and every method of it says what a stranger must know."""
        ports = [one for one in vars(interfaces).values() if isinstance(one, InterfaceClass)]
        ports = [one for one in ports if one.__module__ == interfaces.__name__]
        self.assertGreater(len(ports), 10)
        silent = [one.__name__ for one in ports if not one.__doc__]
        for port in ports:
            self.assertTrue(port.__name__.startswith("I"), port)
            for name, what in port.namesAndDescriptions():
                if not what.__doc__:
                    silent.append(f"{port.__name__}.{name}")
                if isinstance(what, Method):
                    self.assertNotIn("self", what.positional)
        self.assertEqual([], silent)
