"""How blocks of pages are found, what their marks say, and what is refused."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.commands.blocks import Block, Command, How, Mark, WrongMark, blocks_of, read_mark
from tests.commands.known import named_by_ci, wrongs
from tests.commands.play import NotAsShown, check


RST = """\
Title
=====

.. commands: again; with X = proxy port

.. code-block:: console
   :emphasize-lines: 1

   $ one X \\
       --more
   said

     indented
   $ two

Text.

.. code-block:: text

   no command
"""

MD = """\
<!-- commands: by .ci/run -->
```console
$ bin/demo
```

```text
nothing
```
"""


class FindingTests(SynchronousTestCase):
    """Pages and blocks."""

    def blocks(self, text: str, suffix: str = ".rst") -> tuple[Block, ...]:
        """Of a page with a text."""
        path = Path(self.mktemp()).with_suffix(suffix)
        path.write_text(text, "utf-8")
        return blocks_of(path, "page")

    def test_rst(self) -> None:
        """Commands go on behind a backslash; what follows is output; a mark stands above."""
        console, plain = self.blocks(RST)
        self.assertEqual(
            (
                Command(text="one X \\\n    --more", shown=("said", "  indented")),
                Command(text="two"),
            ),
            console.commands(),
        )
        self.assertEqual(Mark(again=True, stand_ins=(("X", "proxy port"),)), console.mark)
        self.assertEqual(("page:9", "text"), (console.place, plain.language))

    def test_md(self) -> None:
        """A mark above a fence is its own."""
        console, plain = self.blocks(MD, ".md")
        self.assertEqual((How.BY_CI, 3), (console.mark.how, console.line))
        self.assertEqual(("nothing",), plain.lines)

    def test_refused(self) -> None:
        """Whatever nobody has a rule for is an error: it would be left out in silence."""
        for text in (
            RST.replace("text", "python"),
            RST.replace("no command", "$ rm -r it"),
            RST.replace("   $ one", "   one"),
            RST.replace("again", "later"),
            RST.replace("console", "text", 1).replace(":emphasize-lines: 1", ""),
            RST.replace("Text.", "Text::\n\n   bin/demo"),
            RST + "\n.. commands: again\n",
        ):
            self.assertRaises(WrongMark, self.blocks, text)

    def test_marks(self) -> None:
        """Each of them is read; a reason has to be one."""
        self.assertEqual(Mark(tolerance=None, fails=True), read_mark("amounts differ; fails", ""))
        self.assertEqual(Mark(tolerance=20), read_mark("amounts within 20 %", ""))
        self.assertEqual(How.TERMINAL, read_mark("terminal devnet", "").how)
        self.assertEqual(How.NOT_HERE, read_mark("not here: there is no systemd", "").how)
        for wrong in ("not here: no", "not here", "terminal", "with X", ""):
            self.assertRaises(WrongMark, read_mark, wrong, "")


class CheckingTests(SynchronousTestCase):
    """What can be said of commands that are not run."""

    def test_well(self) -> None:
        """Commands of ours with options that they have, and programs of others."""
        for text in (
            "sandbox-billing queue list --redis localhost:6379 --provider 0x...   # who owes",
            "export RPC_URL=https://... CHAIN_ID=16602",
            "sudo systemctl restart sandbox-billing",
            "SANDBOX_BILLING_URL=x sandbox-billing user exec desk -- sh -c 'a --b'",
            "sandbox-billing provider register --tee-signer 0x... \\\n    --price-cpu '1 0G'",
            "twistd -n --pidfile= sandbox-billing --env-file environment --role web",
            "curl -s http://127.0.0.1:8080/readyz | jq .ready 2>/dev/null > file",
            "export KEY=$(python -m sandbox_billing.devnet.login http://127.0.0.1:1)",
        ):
            self.assertEqual([], wrongs(text), text)

    def test_wrong(self) -> None:
        """Whatever is not there, or lacks something."""
        for text in (
            "sandbox-billing queue lists",
            "sandbox-billing queue list --rediss localhost:6379",
            "sandbox-billing queue",
            "sandbox-billing user stop",
            "sandbox-billing user stop one two",
            "twistd -n sandbox-billing --env-files environment",
            "twistd -n sandbox-billing --role nothing",
            "bin/nothing",
            "curl -s x | unheard-of",
            "export KEY=$(python -m sandbox_billing.devnet.nothing)",
        ):
            self.assertNotEqual([], wrongs(text), text)

    def test_ci(self) -> None:
        """CI's own words count, not what it says about them."""
        ci = 'step "bin/demo"\n# bin/lint\nbin/demo --fast\nA=1 bin/test x\n'
        found = [named_by_ci(name, lambda: ci) for name in ("bin/demo", "bin/test", "bin/lint")]
        self.assertEqual([True, True, False], found)
        block = Block(
            page="p", line=1, language="console", lines=("$ bin/nothing",), mark=Mark(how=How.BY_CI)
        )
        self.assertRaises(NotAsShown, check, block)
