"""The world that the name server's tests ask about, and builders for others.

slice   prefixes                   ttl  members (address → pod of cluster a)
red     10.11.0.0/16, fd00:11::/48   5  10.244.1.1 web-1; 10.244.1.3 both
blue    10.11.0.0/16 (the same)      5  10.244.1.2 web-1 (another pod, same slice address as red's)
green   10.33.16.0/20               30  10.244.1.3 both
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

import dns.flags
import dns.message
import dns.rcode

from slicer.model.attachments import Attachment, AttachmentState, Endpoint, EndpointSet
from slicer.model.documents import Document, Documents, key_of
from slicer.model.slices import DnsOptions, Export, ServicePort, Slice, SliceState
from slicer.plan.zones import plan_zones
from slicer_dns.answering import Counts, Desk
from slicer_dns.lookup import Zones

RED, BLUE, BOTH, NOBODY = "10.244.1.1", "10.244.1.2", "10.244.1.3", "10.244.1.9"
SERIAL = 7
HTTP = (ServicePort(name="http", port=80), ServicePort(name="metrics", port=9090))


def documents(values: Iterable[Document]) -> Documents:
    """Values as a view."""
    return {key_of(value): value for value in values}


def slice_(name: str, *prefixes: str, ttl_s: int = 5, clusters: tuple[str, ...] = ()) -> SliceState:
    """A slice of these prefixes."""
    networks = tuple(ipaddress.ip_network(prefix) for prefix in prefixes)
    spec = Slice(name=name, prefixes=networks, dns=DnsOptions(ttl_s=ttl_s), clusters=clusters)
    return SliceState(spec=spec, vni=1, tunnel_set=0)


def attachment(
    slice_name: str,
    pod: str,
    *,
    primary: str,
    address: str,
    cluster: str = "a",
    state: AttachmentState = AttachmentState.ATTACHED,
) -> Attachment:
    """An interface of a pod whose own network gave it `primary`."""
    return Attachment(
        container_id=f"c{primary.replace(':', '-')}",
        interface=f"net-{slice_name}"[:15],
        slice=slice_name,
        cluster=cluster,
        node=f"{cluster}-n1",
        namespace="shop",
        pod=pod,
        netns="/run/netns/x",
        addresses=(ipaddress.ip_address(address),),
        mac="02:00:00:00:00:01",
        host_interface="p00000001",
        mtu=1420,
        state=state,
        primary_addresses=(ipaddress.ip_address(primary),),
    )


def export(
    slice_name: str, service: str, ports: tuple[ServicePort, ...] = HTTP, clusters: tuple[str, ...] = ()
) -> Export:
    """An export of `namespace/name`."""
    namespace, _, name = service.partition("/")
    selector = (("app", name),)
    return Export(slice=slice_name, namespace=namespace, name=name, selector=selector, ports=ports, clusters=clusters)


def endpoint(pod: str, *addresses: str, ready: bool = True) -> Endpoint:
    """One pod behind a service."""
    return Endpoint(pod=pod, node="n1", addresses=tuple(ipaddress.ip_address(a) for a in addresses), ready=ready)


def endpoints(slice_name: str, service: str, cluster: str, *found: Endpoint) -> EndpointSet:
    """What `cluster` has for `namespace/name`."""
    namespace, _, name = service.partition("/")
    return EndpointSet(slice=slice_name, namespace=namespace, name=name, cluster=cluster, endpoints=found)


def world() -> list[Document]:
    """All of it."""
    dns_ports = (
        ServicePort(name="dns", port=53, protocol="UDP"),
        ServicePort(name="dns-tcp", port=53, protocol="TCP"),
    )
    return [
        slice_("red", "10.11.0.0/16", "fd00:11::/48"),
        slice_("blue", "10.11.0.0/16"),
        slice_("green", "10.33.16.0/20", ttl_s=30),
        attachment("red", "web-1", primary=RED, address="10.11.1.1"),
        attachment("blue", "web-1", primary=BLUE, address="10.11.1.1"),
        attachment("red", "both", primary=BOTH, address="10.11.1.3"),
        attachment("green", "both", primary=BOTH, address="10.33.16.3"),
        export("red", "shop/web"),
        endpoints(
            "red",
            "shop/web",
            "a",
            endpoint("web-1", "10.11.1.1", "fd00:11::101"),
            endpoint("web-2", "10.11.1.2", ready=False),
        ),
        endpoints("red", "shop/web", "b", endpoint("web-7", "10.11.2.7", "fd00:11::207")),
        export("red", "shop/db", (ServicePort(port=5432),)),
        endpoints("red", "shop/db", "a", endpoint("db-0.x", "10.11.1.8")),
        endpoints("red", "shop/db", "b", endpoint("db-1", "fd00:11::5")),
        export("red", "shop/empty"),
        endpoints("red", "shop/empty", "a", endpoint("e-1", "10.11.1.9", ready=False)),
        export("red", "ops/resolver", dns_ports),
        endpoints("red", "ops/resolver", "b", endpoint("r-1", "10.11.2.9")),
        export("red", "shop/only-b", (), clusters=("b",)),
        endpoints("red", "shop/only-b", "a", endpoint("o-1", "10.11.1.10")),
        endpoints("red", "shop/only-b", "b", endpoint("o-2", "10.11.2.10")),
        export("green", "shop/web"),
        endpoints("green", "shop/web", "b", endpoint("green-1", "10.33.17.4")),
        export("green", "shop/only-green", ()),
        endpoints("green", "shop/only-green", "b", endpoint("green-1", "10.33.17.4")),
        export("blue", "shop/web"),
        endpoints("blue", "shop/web", "a", endpoint("web-1", "10.11.1.1")),
    ]


def zones(values: Iterable[Document] | None = None) -> Zones:
    """What the server answers from."""
    snapshot = plan_zones(documents(world() if values is None else values))
    return Zones(snapshot=snapshot, serial=SERIAL, nameservers=(ipaddress.ip_address("10.96.0.53"),))


def desk(values: Iterable[Document] | None = None, *, trusted: tuple[str, ...] = ()) -> Desk:
    """A desk of the world (or of `values`) that believes the client subnets of `trusted`."""
    return Desk(zones(values), tuple(ipaddress.ip_network(prefix) for prefix in trusted), Counts())


def ask(at: Desk, name: str, type_: str = "A", *, asker: str = RED, **options: object) -> dns.message.Message:
    """What the desk answers over UDP, decoded by dnspython; `options` are those of make_query."""
    query = dns.message.make_query(name, type_, **options)  # type: ignore[arg-type]
    reply = at.answer_udp(query.to_wire(), asker)
    assert reply is not None
    answer = dns.message.from_wire(reply)
    assert query.is_response(answer)
    return answer


def lines(section: list[object]) -> list[str]:
    """A section as sorted zone text, one record a line."""
    return sorted(line for rrset in section for line in str(rrset).splitlines())


def text(zone_text: str) -> list[str]:
    """Zone text as written in a table, in the form of `lines`."""
    return sorted(" ".join(line.split()) for line in zone_text.splitlines() if line.strip())
