"""The slices' zone in a cluster's own DNS: put into CoreDNS's file and NodeLocal DNSCache's, and taken out."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator

from slicer.cli.errors import cured
from slicer.cli.install.cluster import Cluster
from slicer.client.marks import NAMESPACE
from slicer.model.errors import SlicerError
from slicer.plan.corefile import add_stanza, remove_stanza

SYSTEM = "kube-system"
FILES = ("coredns", "node-local-dns")
"""ConfigMaps that hold a Corefile: of CoreDNS, and of the cache on each node where there is one."""
KEY = "Corefile"
GUIDE = "docs/reference/dns.md says what to put where"

Say = Callable[[str], None]


def put_in(cluster: Cluster, say: Say) -> None:
    """Let the cluster's DNS send the slices' names to slicer-dns; it reads its file again by itself.

    A cluster whose DNS is something else is left alone, and that is said.
    """
    service = cluster.get("Service", "slicer-dns", NAMESPACE)
    servers = [ipaddress.ip_address(text) for text in service["spec"]["clusterIPs"]] if service else []
    found = 0
    for name, corefile in _corefiles(cluster):
        found += 1
        try:
            wanted = add_stanza(corefile, servers)
        except SlicerError as error:
            where = f"ConfigMap {SYSTEM}/{name} of cluster {cluster.name}"
            raise cured(error, f"mend {where}; or install with --no-cluster-dns") from None
        _write(cluster, name, corefile, wanted)
    if not found:
        say(f"cluster {cluster.name} has no ConfigMap {SYSTEM}/coredns: its DNS does not know slices yet; {GUIDE}")


def take_out(cluster: Cluster) -> None:
    """Leave the Corefiles as they were before."""
    for name, corefile in _corefiles(cluster):
        _write(cluster, name, corefile, remove_stanza(corefile))


def _corefiles(cluster: Cluster) -> Iterator[tuple[str, str]]:
    for name in FILES:
        found = cluster.get("ConfigMap", name, SYSTEM)
        if found is not None and KEY in found.get("data", {}):
            yield name, str(found["data"][KEY])


def _write(cluster: Cluster, name: str, old: str, new: str) -> None:
    if new != old:
        cluster.patch("ConfigMap", name, SYSTEM, {"data": {KEY: new}})
