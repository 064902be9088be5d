"""A slice that is encrypted everywhere: it stays so, and its status names the nodes that are not in the mesh."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest

from slicer.model.clusters import Cluster, ClusterBlocks, MeshSilence, Node, TunnelEndpoint
from slicer.model.documents import Document, key_of
from slicer.model.errors import ConflictError
from slicer.model.slices import Encryption, Slice, SliceState
from slicer.plan.mesh import MESH_SET
from slicer.plan.status import slice_status
from slicer.plan.validation import check_slice_change


def state(encryption: Encryption = Encryption.EVERYWHERE) -> SliceState:
    """Slice red over all clusters."""
    spec = Slice(name="red", prefixes=(ipaddress.ip_network("10.1.0.0/16"),), encryption=encryption)
    return SliceState(spec=spec, vni=1, tunnel_set=0)


def node(cluster: str, name: str, *, wireguard: str = "kernel", key: bool = True) -> Node:
    """A node that has told its key of the mesh, but for what is said."""
    end = TunnelEndpoint(tunnel_set=MESH_SET, index=0, public_key=f"{'K' * 42}A=", port=51820)
    address = ipaddress.ip_address("198.18.1.11")
    return Node(
        cluster=cluster,
        name=name,
        addresses=(address,),
        vtep_mac="02:00:00:00:00:01",
        wireguard=wireguard,
        tunnels=(end,) if key else (),
    )


def encrypted(*nodes: Node | MeshSilence, **changes: Any) -> Any:
    """The condition of a slice over a and b; None if it says nothing of encryption."""
    values: list[Document] = [Cluster(name="a"), Cluster(name="b"), *nodes]
    status = slice_status(state(**changes), {key_of(value): value for value in values})
    return next((one for one in status.conditions if one.type == "Encrypted"), None)


def test_all_nodes_in_the_mesh_is_encrypted() -> None:
    """True when every node has told its key; a cluster's only node needs none."""
    told = encrypted(node("a", "n1"), node("a", "n2"), node("b", "n1", key=False, wireguard=""))

    assert (told.status, told.reason) == (True, "Encrypted")


def test_nodes_outside_the_mesh_are_named() -> None:
    """False names each with what it lacks, by cluster and name."""
    told = encrypted(node("b", "n2", wireguard=""), node("b", "n1"), node("a", "n2", key=False), node("a", "n1"))

    assert (told.status, told.reason) == (False, "NoMesh")
    assert told.message == "node a/n2 has told no key for the mesh between nodes; node b/n2 has no WireGuard"


def test_nodes_that_do_not_answer_are_named() -> None:
    """Each once, with how many miss it; what a cluster outside the slice says is left out."""
    told = encrypted(
        node("a", "n1"),
        *(MeshSilence(cluster="a", node=f"n{number}", silent=("n1", "n7")[: number - 1]) for number in (4, 3, 2)),
        MeshSilence(cluster="c", node="n1", silent=("n2",)),
    )

    assert (told.status, told.reason) == (False, "MeshSilent")
    assert told.message == "node a/n1 does not answer n2 and 2 more; node a/n7 does not answer n3 and 1 more"


def test_what_is_missing_comes_before_what_is_silent() -> None:
    """A node without a key cannot answer."""
    told = encrypted(node("a", "n1", key=False), node("a", "n2"), MeshSilence(cluster="a", node="n2", silent=("n3",)))

    assert (told.reason, "n3" in told.message) == ("NoMesh", False)


def test_it_says_nothing_of_ready() -> None:
    """A node that is down makes no slice unready: the message of Ready is another's."""
    values: list[Document] = [Cluster(name="a"), node("a", "n1"), node("a", "n2", key=False)]
    block = ClusterBlocks(slice="red", cluster="a", blocks=(ipaddress.ip_network("10.1.0.0/20"),))
    status = slice_status(state(), {key_of(value): value for value in (*values, block)})

    assert {one.type: one.status for one in status.conditions if one.type in {"Ready", "Encrypted"}} == {
        "Ready": True,
        "Encrypted": False,
    }


def test_many_are_not_all_named() -> None:
    """Five, and that there are more."""
    told = encrypted(*(node("a", f"n{number}", key=False) for number in range(7)))

    assert told.message.count("node a/") == 5
    assert told.message.endswith("; …")


def test_other_slices_say_nothing_of_it() -> None:
    """Where it was not asked for there is no such condition."""
    assert encrypted(node("a", "n1", key=False), node("a", "n2"), encryption=Encryption.BETWEEN_CLUSTERS) is None


@pytest.mark.parametrize("before", Encryption)
def test_encryption_never_changes(before: Encryption) -> None:
    """Either way it is refused, with the slice and what it is; the same again is fine."""
    other = next(one for one in Encryption if one is not before)
    documents = {"cluster/a": Cluster(name="a")}
    check_slice_change(state(before).spec, state(before).spec, documents)

    with pytest.raises(ConflictError, match="make another slice") as refused:
        check_slice_change(state(other).spec, state(before).spec, documents)

    assert refused.value.reason == "Immutable"
    assert refused.value.message == f"encryption of slice 'red' cannot change (it is {before}): make another slice"
