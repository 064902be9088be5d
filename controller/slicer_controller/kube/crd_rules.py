"""What the API server itself refuses (CEL), in the model's words. Pure; caller: crds.

A rule is one element of `x-kubernetes-validations`. Texts come from slicer.model where CEL can
say the same thing; `quoted` shows the offending text as the model's messages do.
"""

from __future__ import annotations

import json
from typing import Any

from slicer.model.names import (
    ADDRESS_RULE,
    HOST_BITS_RULE,
    INTERFACE_RULE,
    LABEL_PATTERN,
    LABEL_RULE,
    PREFIX_RULE,
    SUBDOMAIN_PATTERN,
    SUBDOMAIN_RULE,
    range_rule,
)
from slicer.model.slices import (
    ADDRESSES_RULE,
    BOTH_RULE,
    ENCRYPTION_IMMUTABLE_RULE,
    FAMILIES_RULE,
    PREFIXES_IMMUTABLE_RULE,
    RESERVED_RULE,
    RESERVED_SLICE_NAMES,
    SCOPE_RULE,
)
from slicer.model.topology import (
    ALONE_RULE,
    EMPTY_RULE,
    LINK_RULE,
    OUTSIDE_HUB_RULE,
    OUTSIDE_LINK_RULE,
)
from slicer_controller.api.schemas import ADDRESS_FORMAT, PREFIX_FORMAT

Json = dict[str, Any]
_NAME = "self.metadata.name"
_PATTERN_RULES = {LABEL_PATTERN: LABEL_RULE, SUBDOMAIN_PATTERN: SUBDOMAIN_RULE}


def rule(condition: str, *message: str) -> Json:
    """A rule; `message` is CEL expressions of strings, joined."""
    joined = " + ".join(message).replace('" + "', "")
    return {"rule": condition, "messageExpression": joined, "reason": "FieldValueInvalid"}


def fixed(condition: str, message: str) -> Json:
    """A rule about numbers: what writing one costs in CEL is not bounded, and the API server shows it anyway."""
    return {"rule": condition, "message": message, "reason": "FieldValueInvalid"}


def text(words: str) -> str:
    """A literal string of CEL."""
    return json.dumps(words)


def quoted(expression: str) -> str:
    """A CEL string in single quotes."""
    return f'"\'" + {expression} + "\'"'


def field_rules(what: str, schema: Json) -> list[Json]:
    """The rules of one scalar: what its JSON schema says by minimum, pattern and format."""
    if "minimum" in schema and "maximum" in schema:
        low, high = schema["minimum"], schema["maximum"]
        return [fixed(f"self >= {low} && self <= {high}", f"{what} {range_rule(low, high)}")]
    if schema.get("format") == PREFIX_FORMAT:
        return _prefix_rules(what)
    if schema.get("format") == ADDRESS_FORMAT:
        return [rule("isIP(self)", text(f"{what} "), quoted("self"), text(f" {ADDRESS_RULE}"))]
    if "pattern" in schema:
        words = _PATTERN_RULES.get(schema["pattern"], INTERFACE_RULE)
        condition = f"self.matches({text(schema['pattern'])})"
        return [rule(condition, text(f"{what} "), quoted("self"), text(f" {words}"))]
    return []


def _prefix_rules(what: str) -> list[Json]:
    scoped = "cidr(self).ip().isGlobalUnicast()"
    return [
        rule("isCIDR(self)", text(f"{what} "), quoted("self"), text(f" {PREFIX_RULE}")),
        rule(
            "!isCIDR(self) || cidr(self).masked() == cidr(self)",
            text(f"{what} "),
            quoted("self"),
            text(f" {HOST_BITS_RULE}"),
        ),
        rule(f"!isCIDR(self) || {scoped}", text(f"{what} "), "self", text(f" {SCOPE_RULE}")),
    ]


def name_rules(what: str) -> list[Json]:
    """The object's name is a DNS label: names of other kinds may have dots."""
    condition = f"{_NAME}.matches({text(LABEL_PATTERN)})"
    return [rule(condition, text(f"{what} name "), quoted(_NAME), text(f" {LABEL_RULE}"))]


def slice_rules() -> list[Json]:
    """Rules that need more than one field of a Slice."""
    reserved = json.dumps(sorted(RESERVED_SLICE_NAMES))
    same = (
        "self.spec.prefixes.all(p, p in oldSelf.spec.prefixes) && oldSelf.spec.prefixes.all(p, p in self.spec.prefixes)"
    )
    before, after = PREFIXES_IMMUTABLE_RULE.split("%s")
    crypt_before, crypt_after = ENCRYPTION_IMMUTABLE_RULE.split("%s")
    return [
        *name_rules("slice"),
        rule(f"!({_NAME} in {reserved})", text("slice name "), quoted(_NAME), text(f" {RESERVED_RULE}")),
        rule(
            same,
            text("prefixes of slice "),
            quoted(_NAME),
            text(f" {before}"),
            'oldSelf.spec.prefixes.join(", ")',
            text(after),
        ),
        rule(
            "self.spec.encryption == oldSelf.spec.encryption",
            text("encryption of slice "),
            quoted(_NAME),
            text(f" {crypt_before}"),
            "oldSelf.spec.encryption",
            text(crypt_after),
        ),
        rule(
            "!(has(self.spec.qos) && has(self.spec.qosProfile))",
            text("slice "),
            quoted(_NAME),
            text(" has both qos and qosProfile; give one"),
        ),
        *_member_rules(),
    ]


def _member_rules() -> list[Json]:
    """A topology speaks of the slice's own clusters, where these are named, and links each of them."""
    applies = "has(self.spec.topology) && has(self.spec.clusters) && self.spec.clusters.size() > 0"
    has_hubs = "has(self.spec.topology.hubs) && self.spec.topology.hubs.size() > 0"
    has_links = "has(self.spec.topology.links)"
    hubs = "self.spec.topology.hubs.filter(h, !(h in self.spec.clusters))"
    inside = "self.spec.topology.links.all(l, l.clusters.all(c, c in self.spec.clusters))"
    alone = f"!({has_links} && self.spec.topology.links.exists(l, c in l.clusters))"
    lonely = f"self.spec.clusters.filter(c, {alone})"
    return [
        rule(
            f"!({applies} && {has_hubs}) || {hubs}.size() == 0",
            text("hub "),
            quoted(f"{hubs}[0]"),
            text(f" {OUTSIDE_HUB_RULE}"),
        ),
        # Which one it is would cost more to say than the API server allows.
        fixed(f"!({applies} && {has_links}) || {inside}", f"a link of the topology {OUTSIDE_LINK_RULE}"),
        rule(
            f"!({applies}) || {has_hubs} || self.spec.clusters.size() < 2 || {lonely}.size() == 0",
            text("cluster "),
            quoted(f"{lonely}[0]"),
            text(f" {ALONE_RULE}"),
        ),
    ]


def topology_rules() -> list[Json]:
    """A topology says something."""
    said = [f"(has(self.{field}) && self.{field}.size() > 0)" for field in ("hubs", "links")]
    return [fixed(" || ".join(said), f"topology {EMPTY_RULE}")]


def link_rules() -> list[Json]:
    """A link has two ends."""
    condition = "self.clusters.size() == 2 && self.clusters[0] != self.clusters[1]"
    return [rule(condition, text("link "), quoted('self.clusters.join(":")'), text(f" {LINK_RULE}"))]


def prefixes_rules() -> list[Json]:
    """One prefix, or one of each family."""
    families = [f"self.filter(p, isCIDR(p) && cidr(p).ip().family() == {f}).size() <= 1" for f in (4, 6)]
    condition = " && ".join(["self.size() > 0", *families])
    return [rule(condition, text("prefixes ["), 'self.join(", ")', text(f"]: {FAMILIES_RULE}"))]


def membership_rules() -> list[Json]:
    """Rules that need more than one field of a SliceMembership."""
    who = (text("membership "), quoted(_NAME), text(" "))
    return [
        rule("!(has(self.spec.pod) && has(self.spec.labels) && size(self.spec.labels) > 0)", *who, text(BOTH_RULE)),
        rule(
            "has(self.spec.pod) || !has(self.spec.addresses) || size(self.spec.addresses) == 0",
            *who,
            text(ADDRESSES_RULE),
        ),
    ]


def qos_rules() -> list[Json]:
    """The guarantee is not above the ceiling."""
    condition = "!has(self.guaranteeBps) || !has(self.ceilingBps) || self.guaranteeBps <= self.ceilingBps"
    return [fixed(condition, "guaranteeBps is above ceilingBps")]
