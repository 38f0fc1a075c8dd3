"""V1: no bound for bodies, connections and what is begun; a body of another shape crashes."""

from __future__ import annotations

from tempfile import TemporaryFile
from typing import Any

from sandbox_billing.adapters.daytona.events import FRAME_COST
from sandbox_billing.web.collecting import Held
from tests.traps.trap import Patch, Patches, TrapCase, noticed_by


class WebTests(TrapCase):
    """One client against all others."""

    @noticed_by("tests.web.test_signing.BodyTests.test_too_large")
    def test_bodies(self) -> Patches:
        """A body is as long as its sender likes."""

        def endless(original: Any) -> Any:
            return lambda raw, headers, **more: original(
                raw, headers, **{**more, "most_bytes": 2**40}
            )

        return Patch("sandbox_billing.web._router.read_body", endless)

    @noticed_by("tests.web.test_signing.BodyTests.test_not_json")
    def test_null(self) -> Patches:
        """A body that is null, or a list, is taken for an object."""

        def lenient(original: Any) -> Any:
            def read(body: Any, **more: Any) -> Any:
                return original(body if isinstance(body, dict) else {}, **more)

            return read

        return Patch("sandbox_billing.web.sandboxes.read_create", lenient)

    @noticed_by("tests.web.test_hostile.BodyTests.test_one_file_each")
    def test_files(self) -> Patches:
        """A body that comes in chunks takes an open file, of which connections are made."""

        class OnDisk(Held):
            def __init__(self, *given: Any) -> None:
                super().__init__(*given)
                self.file = TemporaryFile()  # noqa: SIM115

            def close(self) -> None:
                self.file.close()
                super().close()

        return Patch("sandbox_billing.web.collecting.Held", lambda _: OnDisk)

    @noticed_by("tests.web.test_hostile.BodyTests.test_memory")
    def test_memory(self) -> Patches:
        """Each body is bounded, and all of them together are not."""

        def boundless(original: Any) -> Any:
            def take(bodies: Any, host: str | None, count: int) -> bool:
                bodies.most = bodies.most_of_peer = 2**40
                return bool(original(bodies, host, count))

            return take

        return Patch("sandbox_billing.web.collecting.Bodies.take", boundless)

    @noticed_by("tests.web.test_peers.CrowdTests.test_bound")
    def test_connections(self) -> Patches:
        """One address may hold every connection there is."""
        return Patch("sandbox_billing.web.peers.Crowd.enter", lambda _: lambda crowd, host: True)

    @noticed_by("tests.services.test_periodic.SupervisorTests.test_too_much")
    def test_work(self) -> Patches:
        """Whoever asks and hangs up leaves more and more work behind."""

        def boundless(original: Any) -> Any:
            def detached(supervisor: Any, name: str, work: Any, **whose: Any) -> Any:
                supervisor.most = 10**9
                return original(supervisor, name, work, **whose)

            return detached

        return Patch("sandbox_billing.services._supervise.Supervisor.detached", boundless)

    @noticed_by("tests.web.test_streams.SignedBodyTests.test_slow")
    def test_trickle(self) -> Patches:
        """What is read for a stranger is waited for as long as he likes."""
        return Patch(
            "sandbox_billing.web.site.BillingChannel.hurry", lambda _: lambda channel: None
        )

    @noticed_by("tests.web.test_streams.SignedBodyTests.test_no_room")
    def test_no_end_of_room(self) -> Patches:
        """And as much of it as comes."""

        def roomy(original: Any) -> Any:
            return lambda room, peer, length: original(room, peer, 0)

        return Patch("sandbox_billing.web.body_room.BodyRoom.held", roomy)

    @noticed_by("tests.adapters.test_daytona_decoding.SandboxTests.test_deep")
    def test_deep(self) -> Patches:
        """A parser descends as far as the interpreter lets it, which some library raised."""
        return Patch(
            "sandbox_billing.adapters.daytona.decoding.is_deep", lambda _: lambda body: False
        )

    @noticed_by(
        "tests.adapters.test_daytona_events.FollowerTests.test_pieces",
        "tests.adapters.test_daytona_events.FollowerTests.test_flood_of_frames",
    )
    def test_frames(self) -> Patches:
        """Of a stream only its bytes are counted: frames may be as many and as empty."""

        def unseen(original: Any) -> Any:
            def on_frame(follower: Any, frame: Any) -> None:
                follower._budget += FRAME_COST
                follower._pieces = 0
                original(follower, frame)

            return on_frame

        return Patch("sandbox_billing.adapters.daytona.events.Follower._on_frame", unseen)

    @noticed_by(
        "tests.services.test_lifecycle.CrowdedTests.test_stop",
        "tests.services.test_lifecycle.CrowdedTests.test_delete",
        "tests.web.test_idempotency.UnderWayTests.test_place_to_end",
    )
    def test_no_reserve(self) -> Patches:
        """Whoever owns nothing takes every place, also of those who stop what they pay for."""

        def one_for_all(original: Any) -> Any:
            def detached(supervisor: Any, name: str, work: Any, **whose: Any) -> Any:
                return original(supervisor, name, work)

            return detached

        return Patch("sandbox_billing.services._supervise.Supervisor.detached", one_for_all)
