"""Settings: each good and bad, all errors at once, to the letter; no secret in a repr."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from attrs import fields
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from sandbox_billing.configuration import (
    REQUIRED,
    SETTINGS,
    TEST_CHAINS,
    Configuration,
    read_configuration,
    read_env_file,
)
from sandbox_billing.errors import ConfigurationError, WrongEnvFile
from sandbox_billing.ledger.identity import Address
from sandbox_billing.tap import Options, configuration_of


CONTRACT = "0xd7e0CD227e602FedBb93c36B1F5bf415398508a4"
OTHER = "0x" + "22" * 20
# Well-known development key: 32 bytes of 0x11, the published test vector's.
KEY = "0x" + "11" * 32

LEAST = {
    "DAYTONA_API_URL": "http://daytona.test/api",
    "DAYTONA_ADMIN_KEY": "admin-secret",
    "SETTLEMENT_CONTRACT": CONTRACT,
    "RPC_URL": "https://rpc.test",
    "CHAIN_ID": "16602",
    "BACKEND_APP_NAME": "billing",
}
"""The fewest settings a daemon starts with."""

WHOLE = "must be a whole number from {} to {}"
NEURON = "must be a whole number of neuron (1 0G = 10^18 neuron)"
ADDRESS = "must be an address: 0x and 40 hex digits"
URL = "must be an http:// or https:// address"
OPEN = "must have no user name or password in it"
BASE = "must have no query or fragment"
PRIVATE_KEY = "must be a private key: 0x and 64 hex digits"
SWITCH = "must be true, 1, false or 0"
MOST = 2**31 - 1

NOT_WHOLE = ("-1", "1.5", "1e3", "1_0", "+1", "x", "0x10", "١", "9" * 79)

# name, default, (given, read) pairs, bad ones, what is said of them
CASES: tuple[tuple[str, Any, tuple[tuple[str, Any], ...], tuple[str, ...], str], ...] = (
    (
        "DAYTONA_API_URL",
        REQUIRED,
        (("https://d.test:8443/api/", "https://d.test:8443/api"),),
        ("d.test", "ftp://d.test", "http://", "//d.test", "http://[", "http://a]b"),
        URL,
    ),
    ("DAYTONA_ADMIN_KEY", REQUIRED, (("a=b c", "a=b c"),), (), ""),
    ("SETTLEMENT_CONTRACT", REQUIRED, ((OTHER, Address(OTHER)),), ("0x12", OTHER[2:]), ADDRESS),
    (
        "RPC_URL",
        REQUIRED,
        (
            ("http://a.test", ("http://a.test",)),
            ("http://a.test/, https://b.test/k ,", ("http://a.test", "https://b.test/k")),
        ),
        ("http://a.test,b.test", "ws://a.test"),
        URL,
    ),
    ("CHAIN_ID", REQUIRED, (("1", 1), ("31337", 31337)), ("0", *NOT_WHOLE), WHOLE.format(1, 2**53)),
    ("PROVIDER_ADDRESS", None, ((OTHER, Address(OTHER)),), ("me",), ADDRESS),
    (
        "REDIS_ADDR",
        ("localhost", 6379),
        (("r.test:1", ("r.test", 1)), ("[::1]:6380", ("::1", 6380))),
        (
            *("r.test", ":6379", "r.test:0", "r.test:65536", "r.test:x"),
            *("redis://r.test:1", "u:p@r.test:1"),
        ),
        "must be host:port",
    ),
    ("REDIS_PASSWORD", None, (("secret", "secret"),), (), ""),
    ("VOUCHER_INTERVAL_SEC", 3600, (("1", 1),), ("0", *NOT_WHOLE), WHOLE.format(1, MOST)),
    ("COMPUTE_PRICE_PER_SEC", 16667, (("0", 0), (str(10**30), 10**30)), NOT_WHOLE, NEURON),
    ("CREATE_FEE", 5_000_000, (("0", 0),), NOT_WHOLE, NEURON),
    ("PORT", 8080, (("0", 0), ("65535", 65535)), ("65536", *NOT_WHOLE), WHOLE.format(0, 65535)),
    (
        "MOCK_APP_PRIVATE_KEY",
        None,
        ((KEY, KEY), (KEY[2:], KEY[2:])),
        (KEY[:-1], KEY + "0", "0x" + "g" * 64, "0x", "1x" + KEY[2:], KEY[:-1] + "\u0661"),
        PRIVATE_KEY,
    ),
    (
        "BACKEND_TAPP_IP",
        "127.0.0.1",
        tuple((host, host) for host in ("127.9.9.9", "::1", "localhost", "LocalHost")),
        ("10.0.0.1", "tapp.test", "0.0.0.0", "localhost.test", "fe80::1"),
        "is not on this machine and the key would travel unencrypted: if the way there is safe,"
        " name that host in TAPP_TRUSTED_HOSTS",
    ),
    (
        "BACKEND_TAPP_PORT",
        50051,
        (("1", 1),),
        ("0", "65536", *NOT_WHOLE),
        WHOLE.format(1, 65535),
    ),
    ("BACKEND_APP_NAME", "billing", (("other", "other"),), (), ""),
    ("TAPP_TRUSTED_HOSTS", (), (("a, b ,,c", ("a", "b", "c")),), (), ""),
    (
        "ADMIN_ADDRESSES",
        (),
        ((f"{OTHER}, {CONTRACT}", (Address(OTHER), Address(CONTRACT))),),
        (f"{OTHER},me",),
        ADDRESS,
    ),
    ("SSH_GATEWAY_HOST", None, (("ssh.test", "ssh.test"),), (), ""),
    ("PROXY_DOMAIN", None, (("p.test", "p.test"),), (), ""),
    ("RECONCILE_INTERVAL_SEC", 15, (("1", 1),), ("0", *NOT_WHOLE), WHOLE.format(1, MOST)),
    ("CONFIRMATIONS", 2, (("0", 0),), ("10001", *NOT_WHOLE), WHOLE.format(0, 10_000)),
    ("MIRROR_MAX_AGE_SEC", 60, (("1", 1),), ("0", *NOT_WHOLE), WHOLE.format(1, MOST)),
    ("BATCH_MAX", 50, (("1", 1),), ("0", "1001", *NOT_WHOLE), WHOLE.format(1, 1000)),
    ("BATCH_WAIT_SEC", 2, (("0", 0),), NOT_WHOLE, WHOLE.format(0, MOST)),
    ("MAX_IN_FLIGHT", 5, (("16", 16),), ("0", "17", *NOT_WHOLE), WHOLE.format(1, 16)),
    ("SETTLE_MIN_NEURON", 0, (("7", 7),), NOT_WHOLE, NEURON),
    ("SETTLE_MAX_AGE_SEC", 1800, (("1", 1),), ("0", *NOT_WHOLE), WHOLE.format(1, MOST)),
    ("LOSS_CAP_NEURON", 0, (("7", 7),), NOT_WHOLE, NEURON),
    ("STOP_DELAY_SEC", 60, (("0", 0),), NOT_WHOLE, WHOLE.format(0, MOST)),
    ("STOP_GRACE_SEC", 0, (("60", 60),), NOT_WHOLE, WHOLE.format(0, MOST)),
    ("ACK_GRACE_SEC", 900, (("0", 0),), NOT_WHOLE, WHOLE.format(0, MOST)),
    (
        "FORGIVE_DEBTS",
        False,
        (("true", True), ("1", True), ("false", False), ("0", False)),
        ("yes", "True", "2"),
        SWITCH,
    ),
    (
        "ALLOW_RESIZE",
        False,
        (("true", True), ("1", True), ("false", False), ("0", False)),
        ("yes", "True", "2"),
        SWITCH,
    ),
    ("DEADMAN_MINUTES", 60, (("1", 1),), ("0", "10001", *NOT_WHOLE), WHOLE.format(1, 10_000)),
    (
        "WARN_BEFORE_SEC",
        (86_400, 3_600, 600),
        (("60", (60,)), ("5, 70,5", (70, 5)), ("0", ())),
        ("0,60", "-1", "1.5", "an hour", "60,", ",".join(map(str, range(1, 12)))),
        "must be at most 10 whole numbers of seconds by comma, or 0 for none",
    ),
    ("MAX_SANDBOXES_PER_WALLET", 20, (("1", 1),), ("0", *NOT_WHOLE), WHOLE.format(1, MOST)),
    ("MAX_DISK_GB", 10, (("1", 1),), ("0", *NOT_WHOLE), WHOLE.format(1, MOST)),
    ("START_BLOCK", None, (("0", 0),), NOT_WHOLE, WHOLE.format(0, 2**53)),
    ("LOG_RANGE", 5000, (("1", 1),), ("0", *NOT_WHOLE), WHOLE.format(1, MOST)),
    ("GAS_FLOOR_NEURON", 10**16, (("0", 0),), NOT_WHOLE, NEURON),
    ("GAS_FEE_CAP_NEURON", 200 * 10**9, (("1", 1),), NOT_WHOLE, NEURON),
    (
        "AUTH_BINDING",
        "toolbox-compat",
        (("compat", "compat"), ("strict", "strict")),
        ("Strict", "none"),
        "must be one of compat, toolbox-compat, strict",
    ),
    (
        "AUTH_AUDIENCE",
        "optional",
        (("required", "required"),),
        ("yes",),
        "must be one of optional, required",
    ),
    (
        "CONTRACT_BEHAVIOUR",
        "auto",
        (("flawed", "flawed"), ("fixed", "fixed")),
        ("Flawed", "yes"),
        "must be one of auto, flawed, fixed",
    ),
    ("REFUND_LOSS_NEURON", 0, (("5", 5),), NOT_WHOLE, NEURON),
    ("PUBLIC_URL", None, (("https://b.test/", "https://b.test"),), ("b.test",), URL),
    ("PUBLIC_RPC_URL", None, (("https://r.test", "https://r.test"),), ("r.test",), URL),
    ("LIFECYCLE_PER_HOUR", 60, (("1", 1),), ("0", *NOT_WHOLE), WHOLE.format(1, MOST)),
    ("PEER_PER_SECOND", 100, (("1", 1),), ("0", *NOT_WHOLE), WHOLE.format(1, 10**6)),
    ("WALLET_PER_SECOND", 50, (("1", 1),), ("0", *NOT_WHOLE), WHOLE.format(1, 10**6)),
    (
        "WEBHOOK_PRIVATE_TARGETS",
        (),
        (
            ("10.0.0.0/8, fd00::5", ("10.0.0.0/8", "fd00::5")),
            ("hooks.internal,127.0.0.1", ("hooks.internal", "127.0.0.1")),
        ),
        ("10.0.0.1/8", "http://a.test", "a.test:80", "*.test"),
        "must be hosts, addresses, or networks like 10.0.0.0/8, by comma",
    ),
    (
        "TRUSTED_PROXIES",
        (),
        (
            ("10.0.0.1, fd00::/8", ("10.0.0.1", "fd00::/8")),
            ("unix, 10.0.0.0/8", ("unix", "10.0.0.0/8")),
        ),
        ("proxy.test", "10.0.0.1/8", "10.0.0", "10.0.0.1:80"),
        "must be addresses, networks like 10.0.0.0/8, or unix for our socket, by comma",
    ),
    (
        "CORS_ORIGINS",
        (),
        (
            ("https://a.test, http://localhost:3000", ("https://a.test", "http://localhost:3000")),
            ("http://[::1]:3000", ("http://[::1]:3000",)),
        ),
        ("*", "null", "a.test", "https://a.test/", "https://A.test", "https://*.a.test"),
        "must be origins like https://example.org: no path, lower case",
    ),
    (
        "LOG_FORMAT",
        "auto",
        (("json", "json"), ("text", "text"), ("journal", "journal")),
        ("JSON", "yes", "syslog"),
        "must be one of auto, json, text, journal",
    ),
    ("LEASE_SEC", 15, (("2", 2),), ("1", "601", *NOT_WHOLE), WHOLE.format(2, 600)),
    (
        "METRICS_ADDR",
        None,
        (
            ("127.0.0.1:9464", ("127.0.0.1", 9464)),
            ("[::1]:9464", ("::1", 9464)),
            ("localhost:0", ("localhost", 0)),
        ),
        ("9464", ":9464", "127.0.0.1", "127.0.0.1:65536", "http://a.test:80", "::1:80", "a b:1"),
        "must be host:port, such as 127.0.0.1:9464 or [::1]:9464",
    ),
)

BY_NAME = {setting.name: setting for setting in SETTINGS}


class ReadCase(SynchronousTestCase):
    """What every test here does."""

    def read(self, **settings: str) -> Configuration:
        """The least settings, and these."""
        return read_configuration({**LEAST, **settings})

    def problems(self, **settings: str) -> tuple[str, ...]:
        """What is wrong with them."""
        return self.assertRaises(ConfigurationError, self.read, **settings).problems


class SettingTests(ReadCase):
    """Each setting of wire.md §8, alone."""

    def test_every_one_is_here(self) -> None:
        """A setting without a case below is not tested; MOCK_TEE has tests of its own."""
        self.assertEqual(sorted(BY_NAME), sorted([*(case[0] for case in CASES), "MOCK_TEE"]))

    def test_defaults(self) -> None:
        """What an unset or an empty variable means."""
        unset, empty = self.read(), self.read(**dict.fromkeys(set(BY_NAME) - set(LEAST), " "))
        self.assertEqual(unset, empty)
        for name, default, _, _, _ in CASES:
            if default is not REQUIRED:
                with self.subTest(name=name):
                    self.assertEqual(default, getattr(unset, BY_NAME[name].attribute))

    def test_required(self) -> None:
        """Each required one is missed by name, set but empty or not set."""
        for name, default, _, _, _ in CASES:
            if default is REQUIRED:
                with self.subTest(name=name):
                    expected = (f"{name} is required: {BY_NAME[name].help}",)
                    self.assertEqual(expected, self.problems(**{name: ""}))

    def test_good(self) -> None:
        """What is taken, and what is read from it."""
        for name, _, good, _, _ in CASES:
            for given_, expected in good:
                with self.subTest(name=name, given=given_):
                    found = self.read(**{name: f" {given_} "})
                    self.assertEqual(expected, getattr(found, BY_NAME[name].attribute))

    def test_bad(self) -> None:
        """What is refused, in exactly these words."""
        for name, _, _, bad, text in CASES:
            for given_ in bad:
                with self.subTest(name=name, given=given_):
                    self.assertEqual((f"{name} {text}",), self.problems(**{name: given_}))

    def test_bad_ports(self) -> None:
        """An address with a port that cannot be is told so."""
        for port in ("x", "99999"):
            self.assertEqual(
                ("PUBLIC_URL has no usable port",),
                self.problems(PUBLIC_URL=f"http://b.test:{port}"),
            )

    def test_credentials(self) -> None:
        """What is logged or shown to everybody has nobody's password in it, and repeats none."""
        for name in ("DAYTONA_API_URL", "PUBLIC_URL", "PUBLIC_RPC_URL"):
            for who in ("user:hunter2@", "hunter2@", "@", ":hunter2@"):
                given_ = f"https://{who}h.test/api"
                self.assertEqual((f"{name} {OPEN}",), self.problems(**{name: given_}))
        # Nodes behind a password are asked, and not shown.
        self.assertNotIn("hunter2", repr(self.read(RPC_URL="https://user:hunter2@r.test")))

    def test_bases(self) -> None:
        """Paths are put behind two of them; an RPC may have a query."""
        for name in ("DAYTONA_API_URL", "PUBLIC_URL"):
            for end in ("?a=b", "/x#y", "?", "#"):
                self.assertEqual(
                    (f"{name} {BASE}",), self.problems(**{name: "http://h.test" + end})
                )
        found = self.read(PUBLIC_RPC_URL="https://r.test/?chain=1")
        self.assertEqual("https://r.test/?chain=1", found.public_rpc_url)

    def test_no_rpc(self) -> None:
        """A list of nothing names no address."""
        self.assertEqual(
            ("RPC_URL must name at least one http:// or https:// address",),
            self.problems(RPC_URL=", ,"),
        )

    def test_attributes(self) -> None:
        """Every setting is one attribute and every attribute one setting."""
        attributes = [setting.attribute for setting in SETTINGS]
        of_class = {a.name for a in fields(Configuration)}
        self.assertEqual(sorted(of_class), sorted(attributes))

    @given(st.sampled_from(sorted(set(BY_NAME) - {"MOCK_TEE"})), st.text(max_size=12))
    def test_any_text(self, name: str, text: str) -> None:
        """Whatever is given, it is read or told; nothing else happens."""
        try:
            self.read(**{name: text})
        except ConfigurationError as why:
            for problem in why.problems:
                self.assertRegex(problem, r"^[A-Z_]+ (must|is|has) ")


class TogetherTests(ReadCase):
    """Settings beside one another."""

    def test_all_at_once(self) -> None:
        """Every wrong one is told in one go, one to a line."""
        wrong = {
            "DAYTONA_API_URL": "nowhere",
            "CHAIN_ID": "",
            "PORT": "http",
            "CORS_ORIGINS": "*",
            "BACKEND_APP_NAME": "",
            "BACKEND_TAPP_IP": "10.0.0.1",
        }
        why = self.assertRaises(ConfigurationError, read_configuration, {**LEAST, **wrong})
        expected = (
            "DAYTONA_API_URL must be an http:// or https:// address",
            "CHAIN_ID is required: 16602 is 0G Galileo",
            "PORT must be a whole number from 0 to 65535",
            "CORS_ORIGINS must be origins like https://example.org: no path, lower case",
            "BACKEND_APP_NAME is required unless MOCK_TEE is true",
            "BACKEND_TAPP_IP is not on this machine and the key would travel unencrypted: if the"
            " way there is safe, name that host in TAPP_TRUSTED_HOSTS",
        )
        self.assertEqual(expected, why.problems)
        self.assertEqual(
            "the settings are wrong:\n" + "\n".join(f"  - {one}" for one in expected), why.text
        )

    def test_nothing_set(self) -> None:
        """An empty environment misses what is required, and names all of it."""
        why = self.assertRaises(ConfigurationError, read_configuration, {})
        self.assertEqual(
            [
                "DAYTONA_API_URL",
                "DAYTONA_ADMIN_KEY",
                "SETTLEMENT_CONTRACT",
                "RPC_URL",
                "CHAIN_ID",
                "BACKEND_APP_NAME",
            ],
            [problem.split()[0] for problem in why.problems],
        )

    def test_trusted_key_service(self) -> None:
        """T3: a key travels from another machine only where the operator says so."""
        for host, trusted in (
            ("10.0.0.1", "10.0.0.2, 10.0.0.1"),
            ("Tapp.test", "tapp.TEST"),
            ("fe80::1", "fe80::1"),
        ):
            found = self.read(BACKEND_TAPP_IP=host, TAPP_TRUSTED_HOSTS=trusted)
            self.assertEqual(host, found.tapp_host)
        (problem,) = self.problems(BACKEND_TAPP_IP="10.0.0.1", TAPP_TRUSTED_HOSTS="10.0.0.2")
        self.assertIn("TAPP_TRUSTED_HOSTS", problem)
        mock = {"MOCK_TEE": "1", "MOCK_APP_PRIVATE_KEY": KEY}
        self.assertEqual("10.0.0.1", self.read(**mock, BACKEND_TAPP_IP="10.0.0.1").tapp_host)

    def test_said_before(self) -> None:
        """What was wrong with the place they come from is told first, in the same breath."""
        why = self.assertRaises(
            ConfigurationError,
            read_configuration,
            {**LEAST, "PORT": "x"},
            already_wrong=["--role must be one of a, b"],
        )
        self.assertEqual(
            ("--role must be one of a, b", "PORT must be a whole number from 0 to 65535"),
            why.problems,
        )
        self.assertRaises(ConfigurationError, read_configuration, LEAST, already_wrong=["x"])

    def test_sweep_follows_interval(self) -> None:
        """The sweep is at most every 15 s and at least once a voucher interval."""
        self.assertEqual(7, self.read(VOUCHER_INTERVAL_SEC="7").reconcile_interval)
        self.assertEqual(15, self.read(VOUCHER_INTERVAL_SEC="16").reconcile_interval)

    def test_sweep_and_dead_man(self) -> None:
        """What is touched more rarely than every third of the dead-man's time would stop."""
        self.read(RECONCILE_INTERVAL_SEC="20", DEADMAN_MINUTES="1")
        expected = (
            "RECONCILE_INTERVAL_SEC must be at most a third of DEADMAN_MINUTES, or paid"
            " sandboxes would stop",
        )
        self.assertEqual(expected, self.problems(RECONCILE_INTERVAL_SEC="21", DEADMAN_MINUTES="1"))

    def test_foreign_variables(self) -> None:
        """The environment is full of other people's variables."""
        self.assertEqual(self.read(), self.read(PATH="/bin", PORTS="x", MOCK="true"))


class MockTests(ReadCase):
    """T1: a mock key only by an exact word, and on a test chain only."""

    def test_words(self) -> None:
        """Two words switch it on, and empty, false and 0 off; no other is a guess."""
        for on in ("true", "1"):
            found = self.read(MOCK_TEE=on, MOCK_APP_PRIVATE_KEY=KEY)
            self.assertEqual((True, KEY), (found.mock_tee, found.mock_key))
        for off in ("", "false", "0"):
            self.assertFalse(self.read(MOCK_TEE=off).mock_tee)
        for guess in (
            *("yes", "on", "no", "off", "2", "tru", "y", "t", "null", "none", "00"),
            *("TRUE", "True", "FALSE", "False"),
        ):
            with self.subTest(guess=guess):
                self.assertEqual((f"MOCK_TEE {SWITCH}",), self.problems(MOCK_TEE=guess))

    def test_left_over_key(self) -> None:
        """A key that was left over in the environment switches nothing on."""
        found = self.read(MOCK_APP_PRIVATE_KEY=KEY, MOCK_TEE="false")
        self.assertFalse(found.mock_tee)

    def test_needs_key(self) -> None:
        """With the mock the key must be given; the enclave's application need not."""
        mock = {"MOCK_TEE": "true", "BACKEND_APP_NAME": ""}
        self.assertEqual(("MOCK_APP_PRIVATE_KEY is required with MOCK_TEE",), self.problems(**mock))
        self.assertIsNone(self.read(**mock, MOCK_APP_PRIVATE_KEY=KEY).tapp_app)
        expected = (f"MOCK_APP_PRIVATE_KEY {PRIVATE_KEY}",)
        self.assertEqual(expected, self.problems(**mock, MOCK_APP_PRIVATE_KEY="0x1234"))

    def test_without_it(self) -> None:
        """Without the mock the enclave's application must be named."""
        expected = ("BACKEND_APP_NAME is required unless MOCK_TEE is true",)
        self.assertEqual(expected, self.problems(BACKEND_APP_NAME=""))

    def test_chains(self) -> None:
        """Every test chain is let in; a real one, 0G's too, is not."""
        mock = {"MOCK_TEE": "true", "MOCK_APP_PRIVATE_KEY": KEY}
        for chain in TEST_CHAINS:
            self.read(**mock, CHAIN_ID=str(chain))
        for chain in (1, 16661, 8453, 16603):
            expected = (
                f"MOCK_TEE is refused on chain {chain}: a mock key may sign on test chains only"
                " (1337, 16600, 16601, 16602, 31337)",
            )
            self.assertEqual(expected, self.problems(**mock, CHAIN_ID=str(chain)))
            self.read(CHAIN_ID=str(chain))


class SecretTests(ReadCase):
    """What no log may show."""

    def test_repr(self) -> None:
        """Neither key, password, nor the access token in an RPC address is in the repr."""
        found = self.read(
            DAYTONA_ADMIN_KEY="secret-1",
            REDIS_PASSWORD="secret-2",
            MOCK_APP_PRIVATE_KEY=KEY,
            RPC_URL="https://rpc.test/secret-4",
        )
        self.assertNotIn("secret", repr(found))
        self.assertNotIn(KEY[2:], repr(found))
        self.assertIn("daytona.test", repr(found))

    def test_errors(self) -> None:
        """A problem names the variable and never repeats what was given."""
        for name, _, _, bad, _ in CASES:
            if bad:
                self.assertNotIn("hunter2", self.problems(**{name: "hunter2!"})[0])


class EnvFileTests(SynchronousTestCase):
    """C{--env-file}: the lines that systemd's EnvironmentFile also takes."""

    def problems(self, text: str) -> tuple[str, ...]:
        """What is wrong with a file."""
        return self.assertRaises(ConfigurationError, read_env_file, text).problems

    def test_lines(self) -> None:
        """Comments and blank lines are skipped, quotes taken off, the rest kept."""
        text = (
            "# a comment\n\n  PORT = 80 \nREDIS_PASSWORD='a b'\nDAYTONA_ADMIN_KEY=\"x=y#z\"\n"
            "PROXY_DOMAIN=\nUSER_KEY=0x1\nCORS_ORIGINS=*\nSSH_GATEWAY_HOST='\n"
        )
        self.assertEqual(
            {
                "PORT": "80",
                "REDIS_PASSWORD": "a b",
                "DAYTONA_ADMIN_KEY": "x=y#z",
                "PROXY_DOMAIN": "",
                "USER_KEY": "0x1",
                "CORS_ORIGINS": "*",
                "SSH_GATEWAY_HOST": "'",
            },
            read_env_file(text),
        )

    def test_last_wins(self) -> None:
        """As for systemd, the last of two lines counts."""
        self.assertEqual({"PORT": "2"}, read_env_file("PORT=1\r\nPORT=2\r\n"))

    def test_empty(self) -> None:
        """A file that says nothing is a file."""
        self.assertEqual({}, read_env_file(""))

    def test_problems(self) -> None:
        """B14: a misspelt variable would silently be the default; every one is told."""
        text = "PORT=1\nprice=5\nCREATE-FEE=3\nexport CREATE_FEE=3\nCREATE_FEE\n"
        expected = (
            "line 2: nobody reads price",
            "line 3: nobody reads CREATE-FEE",
            "line 4: nobody reads export CREATE_FEE",
            "line 5 is no NAME=value",
        )
        self.assertEqual(expected, self.problems(text))

    def test_text(self) -> None:
        """One problem to a line, under a heading; a secret on the line is not repeated."""
        why = self.assertRaises(ConfigurationError, read_env_file, "DAYTONA_ADMIN_KEYS=secret")
        expected = "the environment file is wrong:\n  - line 1: nobody reads DAYTONA_ADMIN_KEYS"
        self.assertEqual(expected, why.text)

    def test_other_lines(self) -> None:
        """What the good lines say is known, that the settings can be judged too, and not shown."""
        why = self.assertRaises(WrongEnvFile, read_env_file, "PORTS=1\nREDIS_PASSWORD=secret\n")
        self.assertEqual({"REDIS_PASSWORD": "secret"}, why.settings)
        self.assertNotIn("secret", repr(why) + str(why))

    @given(
        st.dictionaries(
            st.sampled_from(sorted(BY_NAME)),
            st.text(st.characters(categories=["L", "N"]), max_size=9),
        )
    )
    def test_round_trip(self, settings: dict[str, str]) -> None:
        """What is written is what is read."""
        text = "\n".join(f"{name}={value}" for name, value in settings.items())
        self.assertEqual(settings, read_env_file(text))


class CommandLineTests(SynchronousTestCase):
    """C{twistd sandbox-billing}'s own options, and where settings come from."""

    def wrong(self, *options: str, **settings: str) -> tuple[str, ...]:
        """All that is wrong with a command line and an environment."""
        parsed = Options()
        parsed.parseOptions(list(options))
        return self.assertRaises(ConfigurationError, configuration_of, parsed, settings).problems

    def env_file(self, text: bytes) -> str:
        """The name of a file."""
        path = Path(self.mktemp())
        path.write_bytes(text)
        return str(path)

    def test_options(self) -> None:
        """Each wrong option by itself, beside settings that are right."""
        for options, problem in (
            (("--role", "boss"), "--role must be one of all, web, worker"),
            (("--role", ""), "--role must be one of all, web, worker"),
            (("--port", "http"), "--port must be a whole number from 0 to 65535"),
            (("--port", "65536"), "--port must be a whole number from 0 to 65535"),
            (("--port", "9" * 5000), "--port must be a whole number from 0 to 65535"),
            (("--port", "\u0661"), "--port must be a whole number from 0 to 65535"),
            (("--port", "1", "--endpoint", "tcp:1"), "--port and --endpoint exclude each other"),
            (("--devnet-data", "x"), "--devnet-data needs --devnet"),
            (("--allow-exec",), "--allow-exec needs --devnet"),
            (
                ("--metrics-addr", "9464"),
                "--metrics-addr must be host:port, such as 127.0.0.1:9464 or [::1]:9464",
            ),
        ):
            self.assertEqual((problem,), self.wrong(*options, **LEAST))

    def test_metrics_address(self) -> None:
        """The command line's wins, whatever the environment says."""
        for environment in ("127.0.0.1:1", "nonsense"):
            parsed = Options()
            parsed.parseOptions(["--metrics-addr", "[::1]:9464"])
            found = configuration_of(parsed, {**LEAST, "METRICS_ADDR": environment})
            self.assertEqual(("::1", 9464), found.metrics_addr)

    def test_devnet_settings(self) -> None:
        """A file that nobody would read is refused."""
        parsed = Options()
        parsed.parseOptions(["--devnet", "--env-file", "x"])
        wanted = ["--devnet has settings of its own: leave --env-file out"]
        self.assertEqual(parsed.problems(), wanted)

    def test_all_at_once(self) -> None:
        """Command line, file and settings are corrected in one go."""
        path = self.env_file(b"CHIAN_ID=1\nPORT=x\nDAYTONA_ADMIN_KEY=secret\n")
        settings = {**LEAST, "CHAIN_ID": "0"}
        del settings["DAYTONA_ADMIN_KEY"]
        self.assertEqual(
            (
                "--role must be one of all, web, worker",
                "--env-file line 1: nobody reads CHIAN_ID",
                "CHAIN_ID must be a whole number from 1 to 9007199254740992",
                "PORT must be a whole number from 0 to 65535",
            ),
            self.wrong("--role", "x", "--env-file", path, **settings),
        )

    def test_interval_and_prices(self) -> None:
        """B14: an interval of 0 and a price below 0 are told, and are no default."""
        self.assertEqual(
            (
                "VOUCHER_INTERVAL_SEC must be a whole number from 1 to 2147483647",
                f"COMPUTE_PRICE_PER_SEC {NEURON}",
                f"CREATE_FEE {NEURON}",
            ),
            self.wrong(
                **LEAST, VOUCHER_INTERVAL_SEC="0", COMPUTE_PRICE_PER_SEC="-1", CREATE_FEE="-5"
            ),
        )

    def test_unreadable_file(self) -> None:
        """Without the file nothing can be said of settings; of the options, it can."""
        self.assertEqual(
            (
                "--role must be one of all, web, worker",
                "--env-file nowhere.env: No such file or directory",
            ),
            self.wrong("--env-file", "nowhere.env", "--role", "x"),
        )
        path = self.env_file(b"PORT=\xff")
        self.assertEqual(
            (f"--env-file {path}: is no text in UTF-8",), self.wrong("--env-file", path, **LEAST)
        )

    def test_environment_wins(self) -> None:
        """Over the file, unless it is empty there."""
        parsed = Options()
        parsed.parseOptions(["--env-file", self.env_file(b"PORT=1\nCHAIN_ID=1337\n")])
        found = configuration_of(parsed, {**LEAST, "PORT": "2", "CHAIN_ID": ""})
        self.assertEqual((2, 1337), (found.port, found.chain_id))


class DocumentedTests(SynchronousTestCase):
    """T7: the table is what the documents are made from."""

    def test_names(self) -> None:
        """Upper case, once each."""
        names = [setting.name for setting in SETTINGS]
        self.assertEqual(len(names), len(set(names)))
        for name in names:
            self.assertTrue(re.fullmatch(r"[A-Z][A-Z_]+", name), name)
