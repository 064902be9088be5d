"""The index against a slow, obvious lookup: a list of all records, made by spelling out the documents, on random
worlds.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

import dns.rcode
from hypothesis import given, settings
from hypothesis import strategies as st

from slicer.model.attachments import Attachment, AttachmentState, EndpointSet
from slicer.model.documents import Document
from slicer.model.slices import Export, ServicePort, SliceState
from tests.unit.dns.world import ask, attachment, desk, documents, endpoint, endpoints, export, slice_

SLICES = ("amber", "red", "svc-x")
NAMESPACES = ("shop", "svc")
SERVICES = ("web", "a")
CLUSTERS = ("a", "b")
PODS = ("p-0", "p-1", "a")
ASKERS = ("10.244.0.1", "10.244.0.2", "10.244.0.3")
PREFIXES = {"amber": "10.1.0.0/16", "red": "10.2.0.0/20", "svc-x": "10.1.0.0/16"}
PORTS = (
    (),
    (ServicePort(port=80),),
    (ServicePort(name="http", port=80), ServicePort(name="dns", port=53, protocol="UDP")),
)

picks = st.sampled_from
addresses = st.builds(
    lambda slice_name, number: str(ipaddress.ip_network(PREFIXES[slice_name])[number]), picks(SLICES), st.integers(1, 6)
)
slices = st.lists(
    st.builds(
        lambda name, ttl, clusters: slice_(name, PREFIXES[name], ttl_s=ttl, clusters=clusters),
        picks(SLICES),
        picks((5, 30)),
        picks(((), ("a",))),
    ),
    min_size=1,
)
exports = st.lists(
    st.builds(
        lambda s, n, v, ports, clusters: export(s, f"{n}/{v}", ports, clusters),
        picks(SLICES),
        picks(NAMESPACES),
        picks(SERVICES),
        picks(PORTS),
        picks(((), ("b",))),
    ),
    min_size=1,
    max_size=6,
)
sets = st.lists(
    st.builds(
        lambda s, n, v, c, found: endpoints(s, f"{n}/{v}", c, *found),
        picks(SLICES),
        picks(NAMESPACES),
        picks(SERVICES),
        picks(CLUSTERS),
        st.lists(
            st.builds(lambda pod, a, ready: endpoint(pod, a, ready=ready), picks(PODS), addresses, st.booleans()),
            max_size=3,
            unique_by=lambda found: found.pod,
        ),
    ),
    min_size=1,
    max_size=8,
)
attachments = st.lists(
    st.builds(
        lambda s, asker, a, state: attachment(s, "x", primary=asker, address=a, state=state),
        picks(SLICES),
        picks(ASKERS),
        addresses,
        picks((AttachmentState.ATTACHED, AttachmentState.ATTACHED, AttachmentState.PENDING)),
    ),
    max_size=5,
)
worlds = st.builds(
    lambda *parts: list(documents(v for part in parts for v in part).values()), slices, exports, sets, attachments
)


@dataclass(frozen=True)
class Obvious:
    """All names that one asker may know, found by going through everything each time."""

    values: list[Document]
    asker: str

    def of(self, kind: type) -> list[Document]:
        """All values of a kind."""
        return [value for value in self.values if isinstance(value, kind)]

    def slices(self) -> list[SliceState]:
        """The asker's slices, by name."""
        mine = {
            a.slice
            for a in self.of(Attachment)
            if a.state is AttachmentState.ATTACHED and self.asker in map(str, a.primary_addresses)
        }
        return sorted((s for s in self.of(SliceState) if s.spec.name in mine), key=lambda s: s.spec.name)

    def hosts(self, state: SliceState, namespace: str, service: str) -> list[tuple[str, str]]:
        """(`pod.cluster`, address) of every ready pod behind a service of a slice."""
        place = (state.spec.name, namespace, service)
        out: list[tuple[str, str]] = []
        for exported in self.of(Export):
            for found in self.of(EndpointSet):
                if (exported.slice, exported.namespace, exported.name) != place:
                    continue
                if (found.slice, found.namespace, found.name) != place:
                    continue
                allowed = [state.spec.clusters, exported.clusters]
                if any(clusters and found.cluster not in clusters for clusters in allowed):
                    continue
                ready = [e for e in found.endpoints if e.ready and e.addresses[0] in state.spec.prefixes[0]]
                out += [(f"{e.pod}.{found.cluster}", str(e.addresses[0])) for e in ready]
        return out

    def full(self, slice_name: str, namespace: str, service: str, host: str = "") -> set[str]:
        """Addresses at `[host.]service.namespace.svc.slice.slice.local`."""
        mine = [state for state in self.slices() if state.spec.name == slice_name]
        return {a for state in mine for h, a in self.hosts(state, namespace, service) if host in ("", h)}

    def short(self, namespace: str, service: str) -> set[str]:
        """Addresses at `service.namespace.svc.slice.local`."""
        for state in self.slices():
            exported = {(e.slice, e.namespace, e.name) for e in self.of(Export)}
            if (state.spec.name, namespace, service) in exported:
                return self.full(state.spec.name, namespace, service)
        return set()

    def reverse(self, address: str) -> set[str]:
        """Names that an address leads to, in the asker's slices."""
        return {
            f"{host}.{service}.{namespace}.svc.{state.spec.name}.slice.local."
            for state in self.slices()
            for namespace in NAMESPACES
            for service in SERVICES
            for host, found in self.hosts(state, namespace, service)
            if found == address
        }


def got(answer: object) -> set[str]:
    """The data of an answer's records."""
    return {str(item) for rrset in answer.answer for item in rrset}  # type: ignore[attr-defined]


@settings(max_examples=60)
@given(values=worlds, asker=picks(ASKERS))
def test_service_and_pod_names(values: list[Document], asker: str) -> None:
    """Every possible service and pod name, in both forms, has the addresses that going through everything finds."""
    at, obvious = desk(values), Obvious(values, asker)
    for slice_name in SLICES:
        for namespace in NAMESPACES:
            for service in SERVICES:
                tail = f"{service}.{namespace}.svc.{slice_name}.slice.local."
                for host in ("", *(f"{pod}.{cluster}" for pod in PODS for cluster in CLUSTERS)):
                    answer = ask(at, f"{host}.{tail}".lstrip("."), asker=asker)
                    expected = obvious.full(slice_name, namespace, service, host)

                    assert got(answer) == expected
                    assert answer.rcode() == (dns.rcode.NOERROR if expected else dns.rcode.NXDOMAIN)


@settings(max_examples=60)
@given(values=worlds, asker=picks(ASKERS))
def test_short_and_reverse_names(values: list[Document], asker: str) -> None:
    """The form without a slice and the reverse names agree with going through everything."""
    at, obvious = desk(values), Obvious(values, asker)
    for namespace in NAMESPACES:
        for service in SERVICES:
            answer = ask(at, f"{service}.{namespace}.svc.slice.local.", asker=asker)

            assert got(answer) == obvious.short(namespace, service)
    for number in range(8):
        for prefix in set(PREFIXES.values()):
            address = ipaddress.ip_network(prefix)[number]
            answer = ask(at, f"{address.reverse_pointer}.", "PTR", asker=asker)

            assert got(answer) == obvious.reverse(str(address))
            mine = any(address in state.spec.prefixes[0] for state in obvious.slices())
            assert (answer.rcode() == dns.rcode.REFUSED) == (not mine)


@settings(max_examples=40)
@given(values=worlds, data=st.data())
def test_order_of_documents_does_not_matter(values: list[Document], data: st.DataObject) -> None:
    """The same documents in another order make the same snapshot."""
    from slicer.plan.zones import plan_zones

    shuffled = data.draw(st.permutations(values))

    assert plan_zones(documents(values)) == plan_zones(documents(shuffled))
