"""A view of two clusters written by hand, for the planner's tests: one slice, red, over both; dual stack."""

from __future__ import annotations

import ipaddress

import pytest

from slicer.model.clusters import ClusterBlocks, Gateway, Node, NodeBlocks, TunnelEndpoint
from slicer.model.documents import key_of
from slicer.model.slices import Slice, SliceState
from slicer.plan.dataplane import LocalState, LocalTunnel


def key(number):
    """A public key that is easy to tell apart."""
    return f"{'ABCDEFGH'[number] * 42}A="


def prefixes(*texts):
    return tuple(ipaddress.ip_network(text) for text in texts)


def addresses(*texts):
    return tuple(ipaddress.ip_address(text) for text in texts)


def gateway(cluster, slot, node, *keys, tunnel_set=0):
    """A gateway whose device for slot j has the j-th key."""
    tunnels = tuple(
        TunnelEndpoint(tunnel_set=tunnel_set, index=j, public_key=text, port=51820 + j) for j, text in enumerate(keys)
    )
    number = 1 if cluster == "a" else 2
    return Gateway(
        cluster=cluster,
        tunnel_set=tunnel_set,
        slot=slot,
        node=node,
        addresses=addresses(f"198.18.{number}.1{slot + 1}"),
        tunnels=tunnels,
    )


def node(cluster, number):
    part = 1 if cluster == "a" else 2
    return Node(
        cluster=cluster,
        name=f"{cluster}-n{number}",
        addresses=addresses(f"198.18.{part}.1{number}"),
        vtep_mac=f"02:00:00:00:0{part}:0{number}",
    )


def red_blocks():
    yield ClusterBlocks(slice="red", cluster="a", blocks=prefixes("10.1.0.0/18", "fd01::/50"))
    yield ClusterBlocks(slice="red", cluster="b", blocks=prefixes("10.1.64.0/18", "fd01:0:0:4000::/50"))
    for number in (1, 2, 3):
        blocks = prefixes(f"10.1.0.{64 * number}/26", f"fd01:0:0:{number}::/64")
        yield NodeBlocks(slice="red", cluster="a", node=f"a-n{number}", blocks=blocks)


def documents(*more):
    """The view of a node of cluster a: red with one gateway each, and whatever else a test wants; later ones win."""
    red = Slice(name="red", prefixes=prefixes("10.1.0.0/16", "fd01::/48"))
    values = [
        SliceState(spec=red, vni=1, tunnel_set=0),
        *red_blocks(),
        *(node("a", number) for number in (1, 2, 3)),
        gateway("a", 0, "a-n1", key(0)),
        gateway("b", 0, "b-n1", key(1)),
        *more,
    ]
    return {key_of(value): value for value in values}


def local(name, *tunnels, **changes):
    """What node a-n<number> knows itself."""
    me = node("a", int(name[-1]))
    return LocalState(
        cluster="a",
        node=name,
        addresses=me.addresses,
        vtep_mac=me.vtep_mac,
        tunnels=tuple(
            LocalTunnel(tunnel_set=number, index=index, port=51820 + index, public_key=key(0))
            for number, index in tunnels
        ),
        **changes,
    )


@pytest.fixture
def make():
    """The builders of this file."""

    class Make:
        pass

    for builder in (documents, local, node, gateway, key, prefixes, addresses):
        setattr(Make, builder.__name__, staticmethod(builder))
    return Make


@pytest.fixture
def view(make):
    """Two gateways a cluster; node a-n3 is none."""
    return make.documents(
        make.gateway("a", 0, "a-n1", make.key(0), make.key(2)),
        make.gateway("a", 1, "a-n2", make.key(4), make.key(5)),
        make.gateway("b", 0, "b-n1", make.key(1), make.key(6)),
        make.gateway("b", 1, "b-n2", make.key(3), make.key(7)),
    )
