"""Following a member: join once, answer from its view, and go on from the disk when it is gone."""

from __future__ import annotations

import threading
import time
from contextlib import ExitStack
from pathlib import Path

import dns.message
import dns.rcode
import pytest

from slicer.client.follow import Follower
from slicer.client.identity import load_or_join
from slicer.model.documents import Documents
from tests.conformance_dns.member import Member, serving
from tests.conformance_dns.running import WAIT_S, WEB, addresses, ask, ask_until, loopback_world, running
from tests.unit.dns import world


@pytest.fixture
def member(tmp_path: Path) -> Member:
    """A member whose view is the world."""
    made = Member(tmp_path / "member")
    made.show(loopback_world())
    return made


def arguments(tmp_path: Path, *more: str) -> list[str]:
    """How the server is started."""
    return ["--listen", "127.0.0.1:0", "--state", str(tmp_path / "state"), *more]


def found(answer: dns.message.Message) -> bool:
    """Whether there is such a name."""
    return answer.rcode() == dns.rcode.NOERROR


def test_join_follow_and_restart_without_the_member(tmp_path: Path, member: Member) -> None:
    """The server joins, follows changes, and after a restart without member and token answers from its disk."""
    token = tmp_path / "token"
    with serving(member, tmp_path / "member") as member_port:
        token.write_text(member.token(f"https://127.0.0.1:{member_port}"))
        with running(*arguments(tmp_path, "--join-token-file", str(token))) as server:
            port = server.port()
            ask_until(found, port, WEB)
            moved = world.endpoints("red", "shop/web", "b", world.endpoint("n", "10.11.9.9"))
            member.show([*loopback_world(), moved])
            ask_until(lambda answer: "10.11.9.9" in addresses(answer), port, WEB)
            assert server.end() == 0
    token.unlink()
    with running(*arguments(tmp_path, "--join-token-file", str(token))) as server:
        port = server.port()
        server.event("zones_swapped")

        assert addresses(ask(port, WEB)) == {"10.11.1.1", "10.11.9.9"}
        assert server.end() == 0


def test_what_is_told_while_it_stops_is_kept(tmp_path: Path, member: Member) -> None:
    """A view that somebody was shown is on the disk afterwards, also when the end comes while it is shown."""
    telling, ending = threading.Event(), threading.Event()

    def on_view(_: Documents) -> None:
        telling.set()
        assert ending.wait(WAIT_S)

    with serving(member, tmp_path / "member") as port:
        token = member.token(f"https://127.0.0.1:{port}")
        identity = load_or_join(tmp_path / "identity", token, expect="slicer://dns/")
        follower = Follower(identity, "/v1/views/zone", tmp_path / "view.json", on_view)
        follower.start()
        assert telling.wait(WAIT_S)
        stopper = threading.Thread(target=follower.stop)
        stopper.start()
        while not follower._stopping.is_set():
            time.sleep(0.001)
        time.sleep(0.1)  # whatever does not wait for the telling to end has ended by now
        ending.set()
        stopper.join(WAIT_S)

    assert not stopper.is_alive()
    assert Follower(identity, "/v1/views/zone", tmp_path / "view.json").view == follower.view != {}


def test_killed_member_takes_no_name_along(tmp_path: Path, member: Member) -> None:
    """While the member is down names resolve; when it is back, changes come again."""
    token = tmp_path / "token"
    directory = tmp_path / "member"
    with ExitStack() as up, ExitStack() as down:
        member_port = down.enter_context(serving(member, directory))
        token.write_text(member.token(f"https://127.0.0.1:{member_port}"))
        server = up.enter_context(running(*arguments(tmp_path, "--join-token-file", str(token))))
        port = server.port()
        ask_until(found, port, WEB)
        down.close()
        server.event("view lost")

        assert addresses(ask(port, WEB)) == {"10.11.1.1", "10.11.2.7"}

        member.show([*loopback_world(), world.endpoints("red", "shop/web", "b")])
        down.enter_context(serving(member, directory, member_port))
        ask_until(lambda answer: addresses(answer) == {"10.11.1.1"}, port, WEB)
        assert server.end() == 0


def test_without_member_and_disk_nothing_is_known(tmp_path: Path, member: Member) -> None:
    """A server whose member has never answered says SERVFAIL, keeps trying, and stops cleanly meanwhile."""
    token = tmp_path / "token"
    token.write_text(member.token("https://127.0.0.1:9"))
    with running(*arguments(tmp_path, "--join-token-file", str(token))) as server:
        port = server.port()
        server.event("join_waits")
        server.event("join_waits")

        assert ask(port, WEB).rcode() == dns.rcode.SERVFAIL
        assert ask(port, "none.shop.svc.red.slice.local.").rcode() == dns.rcode.SERVFAIL
        assert server.end() == 0


@pytest.mark.parametrize("token", [None, "nonsense", "slicer1.bm9uc2Vuc2U"])
def test_no_identity_ends_it_with_a_message(tmp_path: Path, token: str | None) -> None:
    """Without identity and good token the server ends with 1 and says what is missing; no secret is logged."""
    more = []
    if token is not None:
        (tmp_path / "token").write_text(token)
        more = ["--join-token-file", str(tmp_path / "token")]
    with running(*arguments(tmp_path, *more)) as server:
        error = server.event("source_failed")["error"]

        assert "token" in error
        assert token is None or token not in error
        assert server.process.wait(WAIT_S) == 1
