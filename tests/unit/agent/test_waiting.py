"""What waits: memberships stand beside what works in a node's report; an ADD asks for what it lacks, once."""

from __future__ import annotations

import ipaddress
from pathlib import Path

import pytest

from slicer.agent.attacher import Attacher
from slicer.agent.changes import Calm
from slicer.agent.journal import Journal, Record
from slicer.agent.pods import with_waiting
from slicer.model.attachments import Attachment, AttachmentState
from slicer.model.documents import Documents, key_of
from slicer.model.errors import SlicerError
from slicer.model.slices import Slice, SliceState
from slicer.plan.attach import SLICE_NOT_FOUND, Wish


def attachment(slice_name: str, interface: str = "net1", *, attached: bool = False) -> Attachment:
    """One of pod shop/client."""
    return Attachment(
        container_id="c1",
        interface=interface,
        slice=slice_name,
        cluster="a",
        node="a-n1",
        namespace="shop",
        pod="client",
        netns="/run/netns/x",
        addresses=(),
        mac="",
        host_interface="",
        mtu=0,
        state=AttachmentState.ATTACHED if attached else AttachmentState.PENDING,
    )


def test_a_waiting_membership_does_not_hide_what_is_attached() -> None:
    """Both want net1; the report has both, the attached one under its own name."""
    red = attachment("red", attached=True)
    shown = with_waiting([red], [attachment("blue"), attachment("green")])

    assert shown[0] is red
    assert [(one.slice, one.interface) for one in shown] == [("red", "net1"), ("blue", "net2"), ("green", "net3")]
    assert len({key_of(one) for one in shown}) == 3


def test_a_free_name_stays() -> None:
    """The interface that a membership wishes is shown as long as nothing has it."""
    shown = with_waiting([attachment("red", attached=True)], [attachment("blue", "blue0")])

    assert [one.interface for one in shown] == ["net1", "blue0"]


class Waiting:
    """An ADD that waits; each look at the view rings for another one, until all views were seen."""

    def __init__(self, state: Path, *views: Documents) -> None:
        self.views = list(views)
        self.starved = 0
        self.attacher = Attacher(
            cluster="a",
            node="n1",
            journal=Journal(state),
            view=self._look,
            starved=self._count,
            calm=Calm(),
            patience_s=0.0,
        )

    def error(self) -> SlicerError:
        """What the ADD ends with."""
        wish = Wish(container_id="c1", interface="net1", slice="red", netns="/run/netns/x")
        with pytest.raises(SlicerError) as raised:
            self.attacher.attach(wish)
        return raised.value

    def _look(self) -> Documents:
        view = self.views.pop(0)
        if self.views:
            self.attacher.hopes.ring()
        return view

    def _count(self) -> None:
        self.starved += 1


PREFIX = ipaddress.ip_network("10.22.0.0/24")
SLICE = SliceState(spec=Slice(name="red", prefixes=(PREFIX,)), vni=7, tunnel_set=1)


def test_an_add_that_waits_says_so_once(tmp_path: Path) -> None:
    """It tries whenever it is told to; a try that ends as the one before asks nobody for anything again."""
    waiting = Waiting(tmp_path, {}, {}, {}, {})

    assert waiting.error().reason == SLICE_NOT_FOUND
    assert waiting.views == []
    assert waiting.starved == 1


def test_another_reason_is_said_as_well(tmp_path: Path) -> None:
    """Somebody else may be the one who can do something about it."""
    waiting = Waiting(tmp_path, {}, {}, {"slice/red": SLICE}, {"slice/red": SLICE})

    assert waiting.error().reason == "NoBlock"
    assert waiting.starved == 2


def test_what_a_detached_pod_gives_back_may_be_waited_for(tmp_path: Path) -> None:
    """The end of an attachment tells who waits to try again; that of none does not."""
    attacher = Waiting(tmp_path).attacher
    attacher.journal.put(Record(attachment=attachment("red", attached=True), vni=7))
    seen = attacher.hopes.count

    assert attacher.detach(("c1", "net2")) is None
    assert attacher.hopes.count == seen
    assert attacher.detach(("c1", "net1")) is not None
    assert attacher.hopes.count == seen + 1
