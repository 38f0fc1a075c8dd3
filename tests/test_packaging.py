"""
What is shipped: a wheel of the tree, in an environment of its own, is a daemon.

The fresh environment borrows the libraries of the one that runs the tests; the
project itself is the wheel's, and a test makes sure of that.
"""

from __future__ import annotations

import atexit
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import venv
import zipfile
from functools import cache
from pathlib import Path

from attrs import frozen
from twisted.trial.unittest import SynchronousTestCase

from sandbox_billing import __version__


TREE = Path(__file__).resolve().parents[1]
PURELIB = "sysconfig.get_path('purelib')"
TWISTD = "import sys; sys.argv[0] = 'twistd'; from twisted.scripts.twistd import run; run()"
"""What the C{twistd} script does; the borrowed library has no scripts here."""

SECONDS = 240
"""A build takes about ten; the rest is for a busy machine."""

DATA = (
    "sandbox_billing/py.typed",
    "sandbox_billing/adapters/chain/abi/SandboxServing.json",
    "sandbox_billing/adapters/chain/abi/BeaconProxy.json",
    "sandbox_billing/adapters/chain/abi/UpgradeableBeacon.json",
    "sandbox_billing/adapters/enclave/tapp.proto",
)


@frozen(kw_only=True)
class Shipped:
    """
    @ivar folder: Of the copy, the wheel and the environment; removed when the tests end.
    @ivar python: The fresh environment's.
    """

    folder: Path
    wheel: Path
    python: Path

    @property
    def names(self) -> set[str]:
        """The files in the wheel."""
        with zipfile.ZipFile(self.wheel) as archive:
            return set(archive.namelist())

    def run(self, *command: str) -> str:
        """What a program of the fresh environment prints, started far from the tree."""
        return run(list(command), self.folder)


def run(command: list[str], folder: Path) -> str:
    """
    @raise AssertionError: It failed; with everything that it printed.
    """
    hidden = ("PYTHONPATH", "PYTHONHOME", "PIP_REQUIRE_VIRTUALENV")
    environment = {name: text for name, text in os.environ.items() if name not in hidden}
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS,
    )
    assert done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def tree_files() -> list[str]:
    """What belongs to the tree: tracked, or new and not ignored."""
    listing = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    found = subprocess.run(listing, cwd=TREE, capture_output=True, check=False, timeout=60)
    if found.returncode == 0:
        return [name for name in found.stdout.decode().split("\0") if name]
    # Not a checkout (an unpacked archive): then everything that is packaged is the tree.
    folders = [path for name in ("sandbox_billing", "twisted") for path in (TREE / name).rglob("*")]
    paths = [p for p in folders if p.is_file() and p.suffix != ".pyc" and p.name != "dropin.cache"]
    return [str(p.relative_to(TREE)) for p in (*paths, *TREE.glob("*.*"), TREE / "LICENSE")]


def borrow(site: Path, borrowed: Path) -> None:
    """
    Links to everything that is installed but this project, whether linked or copied.

    Its plugin would lie in Twisted's own folder, so that one is taken apart.
    """
    borrowed.mkdir()
    plugins = Path("twisted", "plugins")
    for folder in (Path(), Path("twisted"), plugins):
        for entry in (site / folder).iterdir():
            inside = folder / entry.name
            ours = "sandbox_billing" in entry.name or entry.name == "dropin.cache"
            if inside in (Path("twisted"), plugins):
                (borrowed / inside).mkdir()
            elif not ours:
                (borrowed / inside).symlink_to(entry)


@cache
def shipped() -> Shipped:
    """The wheel, built and installed once for all tests here."""
    folder = Path(tempfile.mkdtemp(prefix="sandbox-billing-wheel-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    copy = folder / "tree"
    for name in tree_files():
        source = TREE / name
        if source.is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, copy / name)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    options = ["--quiet", "--no-index", "--no-deps"]
    wheels = folder / "wheels"
    run([*pip, "wheel", *options, "--no-build-isolation", "-w", str(wheels), str(copy)], folder)
    (wheel,) = wheels.glob("*.whl")
    home = folder / "environment"
    venv.create(home, symlinks=True)
    python = home / "bin" / "python"
    run([*pip, "--python", str(python), "install", *options, str(wheel)], folder)
    site = run([str(python), "-c", f"import sysconfig; print({PURELIB})"], folder).strip()
    borrowed = folder / "borrowed"
    borrow(Path(sysconfig.get_path("purelib")), borrowed)
    # A .pth file's folder comes behind the environment's own, and no .pth in it is read.
    (Path(site) / "borrowed.pth").write_text(f"{borrowed}\n")
    return Shipped(folder=folder, wheel=wheel, python=python)


class WheelTests(SynchronousTestCase):
    """What is inside."""

    def test_modules(self) -> None:
        """Every module of the tree is in it: a package missing from setup.cfg would not be."""
        packaged = [n for n in tree_files() if n.startswith(("sandbox_billing/", "twisted/"))]
        sources = {n for n in packaged if n.endswith(".py") and (TREE / n).is_file()}
        self.assertGreater(len(sources), 50)
        self.assertEqual(set(), sources - shipped().names)

    def test_data(self) -> None:
        """ABI, protocol, every Lua script and the page are in it; no code works without them."""
        kinds = (".lua", ".html", ".css", ".js", ".svg")
        packaged = [n for n in tree_files() if n.startswith("sandbox_billing/")]
        scripts = {n for n in packaged if n.endswith(kinds) and (TREE / n).is_file()}
        self.assertNotEqual(set(), scripts)
        self.assertEqual(set(), (scripts | set(DATA)) - shipped().names)

    def test_nothing_else(self) -> None:
        """Tests, caches and the namespace's own C{__init__.py} stay at home."""
        tops = {name.split("/")[0] for name in shipped().names}
        info = [top for top in tops if top.endswith(".dist-info")]
        self.assertEqual({"sandbox_billing", "twisted", *info}, tops)
        self.assertEqual(1, len(info))
        inside = {name for name in shipped().names if name.startswith("twisted/")}
        self.assertEqual({"twisted/plugins/sandbox_billing_plugin.py"}, inside)
        odd = [n for n in shipped().names if n.endswith((".pyc", "dropin.cache", ".sol", ".env"))]
        self.assertEqual([], odd)


class InstalledTests(SynchronousTestCase):
    """The wheel in a fresh environment."""

    def python(self, program: str) -> str:
        """What a program prints there."""
        return shipped().run(str(shipped().python), "-c", program).strip()

    def twistd(self, *arguments: str) -> str:
        """What twistd prints there."""
        return shipped().run(str(shipped().python), "-c", TWISTD, *arguments)

    def test_is_the_wheel(self) -> None:
        """What is imported is the wheel's, package and plugin, not the tree's."""
        home = (shipped().folder / "environment").resolve()
        for name in ("sandbox_billing", "twisted.plugins.sandbox_billing_plugin"):
            where = self.python(f"import {name} as found; print(found.__file__)")
            self.assertTrue(Path(where).resolve().is_relative_to(home), where)

    def test_twistd(self) -> None:
        """C{twistd --help} names the daemon."""
        self.assertRegex(self.twistd("--help"), r"(?m)^\s+sandbox-billing\s+The billing daemon")

    def test_own_help(self) -> None:
        """C{twistd sandbox-billing --help} reads the daemon's options."""
        told = self.twistd("sandbox-billing", "--help")
        for option in ("--env-file", "--port", "--role", "--devnet"):
            self.assertIn(option, told)

    def test_command_line(self) -> None:
        """The console script is there, and is of this version."""
        script = shipped().python.with_name("sandbox-billing")
        told = shipped().run(str(script), "--version")
        self.assertEqual(f"sandbox-billing, version {__version__}\n", told)

    def test_lazy(self) -> None:
        """Looking for plugins imports no library of ours, nor the reactor (--reactor works)."""
        told = self.python(
            "import sys\n"
            "from twisted.plugin import getPlugins\n"
            "from twisted.application.service import IServiceMaker\n"
            "found = [one.tapname for one in getPlugins(IServiceMaker)]\n"
            "import twisted.plugins.sandbox_billing_plugin\n"
            "assert 'sandbox-billing' in found, found\n"
            "late = ['web3', 'klein', 'treq', 'txredisapi', 'grpc', 'sandbox_billing.tap',\n"
            "        'sandbox_billing.wiring', 'twisted.internet.reactor']\n"
            "print([name for name in late if name in sys.modules])"
        )
        self.assertEqual("[]", told)

    def test_options_are_light(self) -> None:
        """So do the options: a wrong one is told at once, before any reactor is chosen."""
        told = self.python(
            "import sys, sandbox_billing.tap\n"
            "late = ['web3', 'klein', 'txredisapi', 'twisted.internet.reactor']\n"
            "print([name for name in late if name in sys.modules])"
        )
        self.assertEqual("[]", told)

    def test_every_module_imports(self) -> None:
        """Every module of the daemon is importable from the wheel alone."""
        told = self.python(
            "import importlib, pkgutil, sandbox_billing as top\n"
            "names = [m.name for m in pkgutil.walk_packages(top.__path__, 'sandbox_billing.')]\n"
            "names = [name for name in names if '.devnet' not in name]\n"
            "for name in names: importlib.import_module(name)\n"
            "print(len(names) > 50)"
        )
        self.assertEqual("True", told)

    def test_data_is_found(self) -> None:
        """The code finds its data where the wheel put them."""
        told = self.python(
            "from importlib import resources\n"
            "abi = resources.files('sandbox_billing.adapters.chain.abi')\n"
            "lua = resources.files('sandbox_billing.adapters.redis.scripts')\n"
            "print(abi.joinpath('SandboxServing.json').is_file(),\n"
            "      all(one.read_text() for one in lua.iterdir() if one.name.endswith('.lua')))"
        )
        self.assertEqual("True True", told)
