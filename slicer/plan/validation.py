"""What may not be declared, given what is there: one place for each refusal and its wording.

Pure. Callers: the REST API before each write; CRDs and the webhook use the same functions. What is wrong whatever the
state of the system (names, ranges, a guarantee above its ceiling) is refused earlier, by the values of slicer.model.
"""

from __future__ import annotations

from collections.abc import Iterable

from slicer.model.attachments import AttachedBy, Attachment, Ping
from slicer.model.clusters import Cluster, ClusterBlocks
from slicer.model.documents import Documents, of_kind
from slicer.model.errors import ConflictError, DeniedError, InvalidError, NotFoundError
from slicer.model.names import Address, check_label, parse_address
from slicer.model.slices import (
    ENCRYPTION_IMMUTABLE_RULE,
    PREFIXES_IMMUTABLE_RULE,
    Export,
    Membership,
    Slice,
    SliceState,
)
from slicer.plan.allocation import cluster_bits, overlapping
from slicer.plan.probing import PROBE_PREFIX
from slicer.plan.views import clusters_of

DECLARED_PREFIX, POD_PREFIX, NAMESPACE_PREFIX = "k8s.", "k8s-pod.", "k8s-ns."
"""Names of memberships that a cluster's own objects declare begin with these; users of REST choose others."""
_SHOWN = 5
"""Things that a message lists before it says how many more there are."""


def check_slice(spec: Slice, documents: Documents) -> None:
    """The slice may be declared: its clusters exist, its prefixes fit them and collide with none of their CIDRs."""
    known = {cluster.name: cluster for cluster in of_kind(documents, Cluster)}
    for name in spec.named_clusters():
        if name not in known:
            raise NotFoundError(f"slice {spec.name!r} names cluster {name!r}, which does not exist")
    members = [known[name] for name in spec.clusters or sorted(known)]
    for prefix in spec.prefixes:
        cluster_bits(prefix, max(1, len(members)))
        if prefix.overlaps(PROBE_PREFIX):
            raise InvalidError(f"prefix {prefix} of slice {spec.name!r} overlaps {PROBE_PREFIX}, kept for probes")
    for cluster in members:
        found = overlapping(spec.prefixes, cluster.cidrs)
        if found:
            raise ConflictError(
                f"prefix {found[0]} of slice {spec.name!r} overlaps {found[1]} of cluster {cluster.name!r}",
                reason="PrefixOverlap",
            )


def check_slice_change(spec: Slice, before: Slice, documents: Documents) -> None:
    """The slice may become `spec`: prefixes and encryption stay; a cluster or namespace that goes has no pods in it."""
    if set(spec.prefixes) != set(before.prefixes):
        raise ConflictError(
            f"prefixes of slice {spec.name!r} {PREFIXES_IMMUTABLE_RULE % _listed(before.prefixes)}",
            reason="Immutable",
        )
    if spec.encryption is not before.encryption:
        raise ConflictError(
            f"encryption of slice {spec.name!r} {ENCRYPTION_IMMUTABLE_RULE % before.encryption}", reason="Immutable"
        )
    check_slice(spec, documents)
    left = [a for a in _attachments(documents, spec.name) if not spec.has_cluster(a.cluster)]
    _refuse_use(f"slice {spec.name!r} cannot leave the cluster", left)
    shut = [a for a in _attachments(documents, spec.name) if spec.namespaces and a.namespace not in spec.namespaces]
    _refuse_use(f"slice {spec.name!r} cannot shut out the namespace", shut)


def check_slice_delete(name: str, documents: Documents) -> None:
    """Nothing uses the slice: no pods, memberships or exports."""
    _refuse_use(f"slice {name!r} is in use", _attachments(documents, name))
    members = [m.name for m in of_kind(documents, Membership) if m.slice == name]
    exports = [f"{e.namespace}/{e.name}" for e in of_kind(documents, Export) if e.slice == name]
    for what, using in (("membership", members), ("export", exports)):
        if using:
            raise ConflictError(
                f"slice {name!r} is in use by {what} {_listed(using)}; delete with force to end them", reason="InUse"
            )


def check_cluster_change(cluster: Cluster, documents: Documents) -> None:
    """The cluster's CIDRs collide with no slice that it is in."""
    for state in of_kind(documents, SliceState):
        found = overlapping(cluster.cidrs, state.spec.prefixes) if state.spec.has_cluster(cluster.name) else None
        if found:
            raise ConflictError(
                f"CIDR {found[0]} of cluster {cluster.name!r} overlaps prefix {found[1]} of slice {state.spec.name!r}",
                reason="PrefixOverlap",
            )


def check_cluster_delete(name: str, documents: Documents) -> None:
    """No slice names the cluster, as a member or in its topology, and none of its pods is attached."""
    slices = [state.spec.name for state in of_kind(documents, SliceState) if name in state.spec.named_clusters()]
    if slices:
        raise ConflictError(f"cluster {name!r} is in slice {_listed(slices)}; take it out of there first")
    attached = [a for a in of_kind(documents, Attachment) if a.cluster == name]
    _refuse_use(f"cluster {name!r} is in use", attached)


def check_membership(member: Membership, documents: Documents) -> None:
    """The membership fits its slice: cluster, namespace, addresses, and no other slice with the same addresses."""
    state = _member_state(f"membership {member.name!r}", member.slice, member.cluster, documents)
    _check_namespace(f"membership {member.name!r}", state, member.namespace)
    for address in member.addresses:
        _check_address(member, address, state, documents)
    others = [m for m in of_kind(documents, Membership) if m.name != member.name]
    for other in others:
        _refuse_both(member, other, state, documents)
    _refuse_attached(member, state, documents)


def check_membership_by_user(member: Membership, before: Membership | None, documents: Documents) -> None:
    """The same for a user of the hub's REST API, who may not change what a cluster's own objects declare."""
    for one in (member, before):
        if one is not None and (
            one.declared_in or one.name.startswith((DECLARED_PREFIX, POD_PREFIX, NAMESPACE_PREFIX))
        ):
            _refuse_declared(one)
    check_membership(member, documents)


def check_membership_delete(name: str, documents: Documents) -> None:
    """The membership may be deleted by a user of the hub: no cluster's own object declares it."""
    member = documents.get(f"membership/{name}")
    if isinstance(member, Membership) and member.declared_in:
        _refuse_declared(member)


def _refuse_declared(member: Membership) -> None:
    raise ConflictError(
        f"membership {member.name!r} belongs to an object in namespace {member.namespace!r} of cluster "
        f"{member.cluster!r}; change it there",
        reason="DeclaredElsewhere",
    )


def check_export(export: Export, documents: Documents) -> None:
    """The export fits its slice: it is there, allows the namespace, and has the named clusters as members."""
    what = f"export {export.namespace}/{export.name}"
    state = _slice_of(what, export.slice, documents)
    _check_namespace(what, state, export.namespace)
    for cluster in export.clusters:
        _member_state(what, export.slice, cluster, documents)


def check_pod(who: str, slice_name: str, namespace: str, cluster: str, documents: Documents) -> None:
    """A pod may ask for the slice: it is there, has the pod's cluster as a member, and allows its namespace."""
    state = _member_state(f"pod {who}", slice_name, cluster, documents)
    _check_namespace(f"pod {who}", state, namespace)


def check_ping(ping: Ping, documents: Documents) -> None:
    """The ping starts at a pod of the slice and goes to an address of the slice."""
    check_label("ping id", ping.id)
    target = parse_address("ping target", ping.target)
    state = _member_state(f"ping {ping.id!r}", ping.slice, ping.cluster, documents)
    pods = {(a.namespace, a.pod) for a in _attachments(documents, ping.slice) if a.cluster == ping.cluster}
    if (ping.namespace, ping.pod) not in pods:
        where = f"cluster {ping.cluster!r} that is attached to slice {ping.slice!r}"
        raise NotFoundError(f"there is no pod {ping.namespace}/{ping.pod} in {where}")
    if not any(target in prefix for prefix in state.spec.prefixes):
        raise InvalidError(
            f"ping target {ping.target!r} is outside slice {ping.slice!r} ({_listed(state.spec.prefixes)})"
        )
    there = _holder(ping.slice, target, documents)
    if there not in {"", ping.cluster} and not state.spec.is_linked(ping.cluster, there):
        raise ConflictError(
            f"ping target {ping.target!r} is in cluster {there!r}, which slice {ping.slice!r} does not link with "
            f"cluster {ping.cluster!r}",
            reason="NotLinked",
        )


def _holder(slice_name: str, address: Address, documents: Documents) -> str:
    """The cluster in whose blocks the address is; empty if none has it."""
    for given in of_kind(documents, ClusterBlocks):
        if given.slice == slice_name and any(address in block for block in given.blocks):
            return given.cluster
    return ""


def _check_namespace(what: str, state: SliceState, namespace: str) -> None:
    if not state.spec.namespaces or namespace in state.spec.namespaces:
        return
    whom = state.spec.contact or "who may change the slice"
    raise DeniedError(
        f"{what}: slice {state.spec.name!r} does not allow namespace {namespace!r}; ask {whom}",
        reason="NamespaceNotAllowed",
    )


def _slice_of(what: str, name: str, documents: Documents) -> SliceState:
    state = documents.get(f"slice/{name}")
    if not isinstance(state, SliceState):
        raise NotFoundError(f"{what} names slice {name!r}, which does not exist")
    return state


def _member_state(what: str, slice_name: str, cluster: str, documents: Documents) -> SliceState:
    state = _slice_of(what, slice_name, documents)
    if cluster not in clusters_of(state, documents):
        raise NotFoundError(f"{what} names cluster {cluster!r}, which is not in slice {slice_name!r}")
    return state


def _check_address(member: Membership, address: Address, state: SliceState, documents: Documents) -> None:
    if not any(address in prefix for prefix in state.spec.prefixes):
        prefixes = _listed(state.spec.prefixes)
        raise InvalidError(
            f"membership {member.name!r} wishes {address}, which is outside slice {member.slice!r} ({prefixes})",
            reason="AddressOutsideSlice",
        )
    for holder in _attachments(documents, member.slice):
        who = (holder.cluster, holder.namespace, holder.pod)
        if address in holder.addresses and who != (member.cluster, member.namespace, member.pod):
            raise _taken(member, address, f"pod {holder.namespace}/{holder.pod} in cluster {holder.cluster!r}")
    for other in of_kind(documents, Membership):
        if other.slice == member.slice and other.name != member.name and address in other.addresses:
            raise _taken(member, address, f"membership {other.name!r}")


def _taken(member: Membership, address: Address, holder: str) -> ConflictError:
    return ConflictError(f"membership {member.name!r} wishes {address}, which {holder} has", reason="AddressTaken")


def _refuse_both(one: Membership, other: Membership, state: SliceState, documents: Documents) -> None:
    """A pod may not be in two slices with overlapping prefixes: it would have two routes to the same addresses.

    Refused where both memberships surely mean the same pod; where only labels could make them meet, the agent refuses.
    """
    where = (one.cluster, one.namespace) == (other.cluster, other.namespace)
    met = where and (one.pod == other.pod or one.pod is None or other.pod is None)
    sure = met and not one.labels and not other.labels
    theirs = documents.get(f"slice/{other.slice}")
    if not sure or other.slice == one.slice or not isinstance(theirs, SliceState):
        return
    found = overlapping(state.spec.prefixes, theirs.spec.prefixes)
    if found:
        raise ConflictError(
            f"membership {one.name!r} would put pods of membership {other.name!r} into slices {one.slice!r} "
            f"and {other.slice!r}, whose prefixes {found[0]} and {found[1]} overlap",
            reason="PrefixOverlap",
        )


def _refuse_attached(member: Membership, state: SliceState, documents: Documents) -> None:
    """The same for a pod whose own manifest put it into another slice."""
    for pod in of_kind(documents, Attachment):
        same = (pod.cluster, pod.namespace, pod.pod) == (member.cluster, member.namespace, member.pod)
        theirs = documents.get(f"slice/{pod.slice}")
        if not same or pod.by is not AttachedBy.CNI or pod.slice == member.slice or not isinstance(theirs, SliceState):
            continue
        found = overlapping(state.spec.prefixes, theirs.spec.prefixes)
        if found:
            raise ConflictError(
                f"membership {member.name!r}: pod {pod.namespace}/{pod.pod} has {pod.interface!r} on slice "
                f"{pod.slice!r}, whose prefix {found[1]} overlaps {found[0]} of slice {member.slice!r}",
                reason="PrefixOverlap",
            )


def _attachments(documents: Documents, slice_name: str) -> list[Attachment]:
    return [a for a in of_kind(documents, Attachment) if a.slice == slice_name]


def _refuse_use(what: str, attachments: list[Attachment]) -> None:
    if attachments:
        pods = sorted({f"{a.cluster}/{a.namespace}/{a.pod}" for a in attachments})
        raise ConflictError(f"{what}: {len(pods)} pods are attached ({_listed(pods)})", reason="InUse")


def _listed(things: Iterable[object]) -> str:
    texts = [str(thing) for thing in things]
    more = f" and {len(texts) - _SHOWN} more" if len(texts) > _SHOWN else ""
    return ", ".join(texts[:_SHOWN]) + more
