"""
The tests; they run against the installed package, so that a missing data file is found.

C{HYPOTHESIS_PROFILE} selects how hard the properties are tried: C{quick} (25
examples), C{default} (100), C{ci} (200) or C{nightly} (10,000).
"""

import os

from hypothesis import HealthCheck, settings


for _name, _examples in (("quick", 25), ("default", 100), ("ci", 200), ("nightly", 10_000)):
    settings.register_profile(
        _name,
        max_examples=_examples,
        deadline=None,
        # A trap runs a test once more, on a case of its own.
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.differing_executors],
        # CI prints the blob that reproduces a failure on any machine.
        print_blob=True,
    )
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))
