"""
The alert rules and the dashboard: what they name is measured, what they say is in the playbook.

Where promtool is, it reads them too; with REQUIRE_PROMTOOL=1 it must be.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import click
import yaml
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from sandbox_billing.cli.main import main
from sandbox_billing.measures import VOCABULARY, Kind
from tests.alerts.promql import Store, evaluate, parse, selectors
from tests.alerts.rules import ROOT, RULES, TESTS, Watch, rule, rules, series, values


DASHBOARD = ROOT / "docs" / "grafana" / "sandbox-billing.json"
PLAYBOOK = ROOT / "docs" / "playbook.rst"
PROVOKED = ROOT / "docs" / "alerts" / "provoked.rst"
KEYS = ROOT / "sandbox_billing" / "adapters" / "redis" / "keys.py"
PROMTOOL = ROOT / "bin" / "promtool"

TARGET = frozenset({"job", "provider", "instance"})
"""Labels that the scrape adds to every series."""

ELSEWHERE = {
    "up": frozenset[str](),
    "ALERTS": frozenset({"alertname", "alertstate"}),
    "process_start_time_seconds": frozenset[str](),
}
"""What is Prometheus's own, and what its client library measures."""


def scraped() -> dict[str, frozenset[str]]:
    """Every series that a scrape has, with its labels."""
    found = dict(ELSEWHERE)
    for measure in VOCABULARY:
        labels = frozenset(measure.labels)
        if measure.kind is Kind.HISTOGRAM:
            found[measure.full_name + "_bucket"] = labels | {"le"}
            found[measure.full_name + "_count"] = labels
            found[measure.full_name + "_sum"] = labels
        else:
            found[measure.full_name] = labels
    return found


def unknown(expression: str) -> list[str]:
    """What an expression asks for, and nobody measures."""
    known, wrong = scraped(), []
    for selector in selectors(parse(expression)):
        if selector.name not in known:
            wrong.append(selector.name)
            continue
        for label, _how, _text in selector.matchers:
            if label not in known[selector.name] | TARGET:
                wrong.append(f"{selector.name}{{{label}}}")
    return wrong


class RulesTests(SynchronousTestCase):
    """The file itself."""

    def test_measured(self) -> None:
        """Every alert asks for what is measured, by labels that it has."""
        for one in rules():
            self.assertEqual(unknown(one.expression), [], one.name)

    def test_unmeasured_is_noticed(self) -> None:
        """A name that nobody measures, and a label that it has not, are both found."""
        self.assertEqual(
            unknown('sandbox_billing_readyy == 0 or sandbox_billing_ready{part="a"} == 0'),
            ["sandbox_billing_readyy", "sandbox_billing_ready{part}"],
        )

    def test_words(self) -> None:
        """Each says how bad it is, what it means, and where the playbook goes on."""
        for one in rules():
            self.assertIn(one.labels["severity"], ("critical", "warning", "info"), one.name)
            self.assertEqual(
                one.annotations["runbook_url"], f"playbook.html#{one.name.lower()}", one.name
            )
            for text in ("summary", "description"):
                self.assertTrue(one.annotations[text].strip(), one.name)

    def test_names(self) -> None:
        """No two have the same name."""
        names = [one.name for one in rules()]
        self.assertEqual(len(set(names)), len(names))

    def test_playbook(self) -> None:
        """Each alert has its section in the playbook and its story of how it was provoked."""
        for path in (PLAYBOOK, PROVOKED):
            lines = path.read_text().splitlines()
            found = [
                above
                for above, below in pairwise(lines)
                if re.fullmatch("-{3,}", below) and re.fullmatch(r"([A-Z][a-z]+){2,}", above)
            ]
            self.assertEqual(found, [one.name for one in rules()], path.name)


class CommandsTests(SynchronousTestCase):
    """What the playbook names in passing; its blocks are run on a devnet."""

    def test_exist(self) -> None:
        """Every command of ours is one."""
        named = set(re.findall(r"sandbox-billing ((?:[a-z]+ ?)+)", PLAYBOOK.read_text()))
        self.assertGreater(len(named), 5)
        for words in sorted(named):
            found: Any = main
            for word in words.split():
                if not isinstance(found, click.Group):
                    break
                inner = found.get_command(click.Context(found), word)
                self.assertIsNotNone(inner, words)
                found = inner

    def test_keys(self) -> None:
        """Every key of Redis that it names is a name that the daemon has."""
        known = KEYS.read_text()
        named = set(re.findall(r"(billing:[a-z-]+|stop:sandbox)", PLAYBOOK.read_text()))
        self.assertGreater(len(named), 5)
        self.assertEqual({name for name in named if name not in known}, set())


class UnitTests(SynchronousTestCase):
    """docs/alerts/tests.yml, as promtool computes it."""

    def test_by_ourselves(self) -> None:
        """Each alert fires when it should, alone, and is over again."""
        told = yaml.safe_load(TESTS.read_text())
        step = 60
        self.assertEqual(told["evaluation_interval"], "1m")
        named = set()
        for group in told["tests"]:
            self.assertEqual(group["interval"], "1m")
            store = Store()
            for one in group["input_series"]:
                for i, value in enumerate(values(str(one["values"]))):
                    if value is not None:
                        store.add(series(one["series"]), i * step, value)
            asked = {int(t["eval_time"][:-1]): t for t in group.get("promql_expr_test", ())}
            watch = Watch(store)
            for minute in range(max(asked, default=-1) + 1):
                watch.step(minute * step)
                if minute not in asked:
                    continue
                wanted = {
                    series("x" + sample["labels"]) - series("x"): float(sample["value"])
                    for sample in asked[minute]["exp_samples"]
                }
                found = evaluate(parse(asked[minute]["expr"]), store, minute * step)
                self.assertEqual(found, wanted, f"{group['name']} at {minute} min")
                named |= {dict(labels)["alertname"] for labels in wanted}
        self.assertEqual(named, {one.name for one in rules()})

    def test_quantile(self) -> None:
        """The estimate within a bucket is Prometheus's own."""
        store = Store()
        for le, count in (("1.0", 2.0), ("2.0", 8.0), ("+Inf", 10.0)):
            store.add(series(f'b{{le="{le}"}}'), 0, count)
        self.assertEqual(
            evaluate(parse("histogram_quantile(0.5, b)"), store, 0), {frozenset(): 1.5}
        )
        self.assertEqual(evaluate(parse("histogram_quantile(0.99, b)"), store, 0), {frozenset(): 2})

    def test_changes(self) -> None:
        """Of what is in the range, across what was not scraped; one sample alone has none."""
        store = Store()
        for name, notation in (("a", "1x2 2 _x3 3 2"), ("b", "_x7 5"), ("c", "1 _x20")):
            for i, value in enumerate(values(notation)):
                if value is not None:
                    store.add(series(f'x{{of="{name}"}}'), i * 60, value)
        found = evaluate(parse("changes(x[390s])"), store, 480)
        self.assertEqual(found, {frozenset({("of", "a")}): 3.0, frozenset({("of", "b")}): 0.0})

    def test_nonsense(self) -> None:
        """What is no expression is refused, not passed over."""
        for text in ("sum(", "a &", "avg_over_time(a[5m])", "a b"):
            with self.assertRaises((ValueError, IndexError), msg=text):
                parse(text)


class PromtoolTests(SynchronousTestCase):
    """Prometheus's own opinion."""

    def promtool(self, *arguments: str) -> str:
        """Run it; it is only fetched where it must be there."""
        found = shutil.which("promtool") or (ROOT / "build" / "promtool").exists()
        if not found and not os.environ.get("REQUIRE_PROMTOOL"):
            raise SkipTest("no promtool: bin/promtool fetches it")
        done = subprocess.run(
            [str(PROMTOOL), *arguments], cwd=ROOT, capture_output=True, text=True, timeout=300
        )
        if done.returncode == 77 and not os.environ.get("REQUIRE_PROMTOOL"):
            raise SkipTest(done.stderr.strip())
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return done.stdout

    def test_rules(self) -> None:
        """It takes the rules, and its unit tests of them pass, what people are told among them."""
        said = self.promtool("check", "rules", str(RULES))
        self.assertIn(f"{len(rules())} rules found", said)
        self.promtool("test", "rules", str(TESTS))

    def test_dashboard(self) -> None:
        """It takes every expression of the dashboard."""
        whole = json.loads(DASHBOARD.read_text())
        asked = [
            {"record": f"panel:{number}", "expr": asked_by(target)}
            for number, target in enumerate(
                target for panel in panels(whole) for target in panel.get("targets", ())
            )
        ]
        file = Path(self.mktemp())
        file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": asked}]}))
        said = self.promtool("check", "rules", str(file.resolve()))
        self.assertIn(f"{len(asked)} rules found", said)


def panels(found: Any) -> Iterator[dict[str, Any]]:
    """All of a dashboard, those in rows as well."""
    for panel in found.get("panels", ()):
        yield panel
        yield from panels(panel)


def asked_by(target: dict[str, str]) -> str:
    """Its expression, as Grafana sends it."""
    expression = target["expr"].replace("$__rate_interval", "5m")
    return re.sub(r"\$(provider|instance)", "x", expression)


class DashboardTests(SynchronousTestCase):
    """The Grafana dashboard."""

    def setUp(self) -> None:
        self.dashboard = json.loads(DASHBOARD.read_text())

    def test_rows(self) -> None:
        """It has the rows that an operator looks for."""
        rows = [p["title"] for p in panels(self.dashboard) if p["type"] == "row"]
        self.assertEqual(rows, ["Money", "Queue", "Chain", "Sandboxes", "Doors", "Process"])

    def test_importable(self) -> None:
        """No panel is bound to somebody's data source, and each has an id of its own."""
        names = {one["name"] for one in self.dashboard["templating"]["list"]}
        self.assertEqual(names, {"datasource", "provider", "instance"})
        ids = [panel["id"] for panel in panels(self.dashboard)]
        self.assertEqual(len(set(ids)), len(ids))
        self.assertIsNone(self.dashboard["id"])
        for panel in panels(self.dashboard):
            if panel["type"] != "row":
                self.assertEqual(panel["datasource"]["uid"], "${datasource}", panel["title"])

    def test_measured(self) -> None:
        """Every panel asks for what is measured; and every measure is on some panel."""
        shown = set()
        for panel in panels(self.dashboard):
            for target in panel.get("targets", ()):
                expression = asked_by(target)
                self.assertEqual(unknown(expression), [], panel["title"])
                shown |= {selector.name for selector in selectors(parse(expression))}
        bare = {re.sub("_(bucket|count|sum)$", "", name) for name in shown}
        self.assertEqual({m.full_name for m in VOCABULARY} - bare, set())

    def test_places(self) -> None:
        """No two panels overlap, and none is wider than the page."""
        taken: dict[tuple[int, int], str] = {}
        for panel in panels(self.dashboard):
            place = panel["gridPos"]
            self.assertLessEqual(place["x"] + place["w"], 24, panel["title"])
            for x in range(place["x"], place["x"] + place["w"]):
                for y in range(place["y"], place["y"] + place["h"]):
                    self.assertNotIn((x, y), taken, f"{panel['title']} over {taken.get((x, y))}")
                    taken[x, y] = panel["title"]

    def test_rule_by_name(self) -> None:
        """What the other tests look up is there."""
        self.assertEqual(rule("NotReady").seconds, 180)
