"""Memberships that wait stand beside what works in a node's report, never in its place."""

from __future__ import annotations

from slicer.agent.pods import with_waiting
from slicer.model.attachments import Attachment, AttachmentState
from slicer.model.documents import key_of


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
