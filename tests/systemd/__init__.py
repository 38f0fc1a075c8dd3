"""The units, tried without systemd: its verifier reads them, and a test does what it would."""
