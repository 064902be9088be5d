"""Reads one CNI call: the environment and the network configuration, checked in the order of the reference (skel).

Pure. What is wrong is raised as CniError with the code of the CNI specification 1.1.0 ("Error"), naming the variable or
key and the offending text. Go's JSON decoders ignore the case of keys, so capability arguments may arrive in any.
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from slicer.model.errors import (
    ConflictError,
    DeniedError,
    ExhaustedError,
    InvalidError,
    NotFoundError,
    SlicerError,
    UnavailableError,
)
from slicer.model.names import (
    Address,
    check_container_id,
    check_interface_name,
    check_label,
    check_mac,
    check_subdomain,
)
from slicer.model.slices import Bandwidth

SUPPORTED = ("0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0")
SINCE = {"CHECK": (0, 4, 0), "GC": (1, 1, 0), "STATUS": (1, 1, 0)}
REQUIRED = {
    "ADD": ("CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"),
    "CHECK": ("CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"),
    "DEL": ("CNI_CONTAINERID", "CNI_IFNAME"),
    "GC": (),
    "STATUS": (),
}
INCOMPATIBLE, UNSUPPORTED_FIELD, BAD_ENVIRONMENT, DECODE, BAD_CONFIG, BAD_NETNS, TRY_LATER = 1, 2, 4, 6, 7, 8, 11
NOT_AVAILABLE, DEGRADED = 50, 51
CODES: Mapping[type[SlicerError], int] = {
    InvalidError: BAD_CONFIG,
    ExhaustedError: 102,
    ConflictError: 101,
    NotFoundError: 103,
    DeniedError: 104,
    UnavailableError: TRY_LATER,
}
"""Codes from 100 on are ours (documented in docs/reference/cni.md). The first class that matches counts."""
KNOWN_ARGS = {
    "IgnoreUnknown", "K8S_POD_NAMESPACE", "K8S_POD_NAME", "K8S_POD_UID", "K8S_POD_INFRA_CONTAINER_ID", "IP", "MAC",
}  # fmt: skip
_POD_CHECKS: Mapping[str, Callable[[str, str], str]] = {
    "K8S_POD_NAMESPACE": check_label,
    "K8S_POD_NAME": check_subdomain,
}
_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.\-]*\Z")


class CniError(Exception):
    """What goes to stdout with exit code 1."""

    def __init__(self, code: int, message: str, details: str = "") -> None:
        super().__init__(message)
        self.code, self.message, self.details = code, message, details


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One call, checked. What a verb does not need is empty."""

    command: str
    version: str
    container_id: str = ""
    netns: str = ""
    interface: str = ""
    args: Mapping[str, str]
    network: str
    slice: str = ""
    addresses: tuple[Address, ...] = ()
    mac: str | None = None
    bandwidth: Bandwidth | None = None
    previous: Mapping[str, Any] | None = None
    valid: frozenset[tuple[str, str]] | None = None
    """GC: the attachments to keep; None when the runtime did not say (then nothing may be removed)."""


def parse_request(environment: Mapping[str, str], stdin: bytes) -> Request:
    """The call, or the CniError that refuses it."""
    command = environment.get("CNI_COMMAND", "")
    if command not in REQUIRED:
        raise CniError(BAD_ENVIRONMENT, f"unknown CNI_COMMAND: {command}")
    _check_environment(command, environment)
    config = _object(stdin, "the network configuration")
    version = _version(config)
    _check_version(command, version)
    args = _arguments(environment.get("CNI_ARGS", "")) if command != "DEL" else {}
    request = Request(
        command=command,
        version=version,
        container_id=environment.get("CNI_CONTAINERID", ""),
        netns=environment.get("CNI_NETNS", ""),
        interface=environment.get("CNI_IFNAME", ""),
        args=args,
        network=_network(config),
        **_translated(_wishes, config, args) if command in {"ADD", "CHECK", "STATUS"} else {},
        previous=_previous(config, command),
        valid=_valid(config) if command == "GC" else None,
    )
    _refuse_delegation(config, command)
    return request


def code_of(error: SlicerError) -> int:
    """The CNI error code for an error of ours; 999 for one that has none."""
    return next((code for kind, code in CODES.items() if isinstance(error, kind)), 999)


def version_in(stdin: bytes) -> str:
    """The cniVersion to answer with when the call was refused: the caller's where it can be read."""
    try:
        config = json.loads(stdin)
    except (ValueError, RecursionError):
        return SUPPORTED[-1]
    version = config.get("cniVersion") if isinstance(config, dict) else None
    return version if isinstance(version, str) and re.fullmatch(r"\d+\.\d+\.\d+", version) else SUPPORTED[-1]


def _check_environment(command: str, environment: Mapping[str, str]) -> None:
    """libcni sets every variable, unused ones to the empty string: "empty" means "missing"."""
    _refuse_bytes(environment)
    missing = [name for name in REQUIRED[command] if not environment.get(name)]
    if missing:
        raise CniError(BAD_ENVIRONMENT, f"required env variables [{','.join(missing)}] missing")
    checks: tuple[tuple[str, Callable[[str], str]], ...] = (
        ("CNI_CONTAINERID", check_container_id),
        ("CNI_IFNAME", check_interface_name),
    )
    for name, check in checks:
        text = environment.get(name)
        if text and name in REQUIRED[command]:
            _check_text(name, check, text)


def _refuse_bytes(environment: Mapping[str, str]) -> None:
    """Bytes that are no text came in as lone surrogates; nobody could write them into a report."""
    for name, text in sorted(environment.items()):
        if any("\ud800" <= character <= "\udfff" for character in text):
            raise CniError(BAD_ENVIRONMENT, f"{name} {text!r} is not UTF-8")


def _check_text(name: str, check: Callable[[str], str], text: str) -> None:
    try:
        check(text)
    except InvalidError as error:
        raise CniError(BAD_ENVIRONMENT, f"{name}: {error.message}") from None


def _object(text: bytes, what: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CniError(DECODE, f"{what} is not JSON", str(error)) from None
    if not isinstance(value, dict):
        raise CniError(DECODE, f"{what} is not a JSON object", text[:80].decode(errors="replace"))
    return value


def _version(config: Mapping[str, Any]) -> str:
    """A missing cniVersion means 0.1.0 (the reference's decoder)."""
    version = config.get("cniVersion") or "0.1.0"
    if not isinstance(version, str) or not re.fullmatch(r"\d+\.\d+\.\d+", version):
        raise CniError(DECODE, f"cniVersion {version!r} is not a version like 1.1.0")
    return version


def _check_version(command: str, version: str) -> None:
    if version not in SUPPORTED:
        details = f'config is "{version}", plugin supports {json.dumps(SUPPORTED)}'
        raise CniError(INCOMPATIBLE, "incompatible CNI versions", details)
    if tuple(map(int, version.split("."))) < SINCE.get(command, (0, 0, 0)):
        raise CniError(INCOMPATIBLE, f"config version {version} does not allow {command}")


def _network(config: Mapping[str, Any]) -> str:
    name = config.get("name")
    if not name:
        raise CniError(BAD_CONFIG, "the network configuration has no name")
    if not isinstance(name, str) or not _NAME.match(name):
        raise CniError(BAD_CONFIG, f"network name {name!r} may hold only letters, digits, '_', '.' and '-'")
    return name


def _arguments(text: str) -> dict[str, str]:
    """CNI_ARGS, `K=V;K=V`: an unknown key is an error unless IgnoreUnknown is true."""
    found: dict[str, str] = {}
    for pair in filter(None, text.split(";")):
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise CniError(BAD_ENVIRONMENT, f"CNI_ARGS: {pair!r} is not KEY=VALUE")
        found[key] = value
    unknown = sorted(set(found) - KNOWN_ARGS)
    if unknown and found.get("IgnoreUnknown", "").lower() not in {"1", "t", "true"}:
        raise CniError(BAD_ENVIRONMENT, f"CNI_ARGS: unknown args {unknown}; set IgnoreUnknown=1 to allow them")
    for key, check in _POD_CHECKS.items():
        if found.get(key):
            _check_text("CNI_ARGS", partial(check, key), found[key])
    return found


def _translated(parse: Callable[..., dict[str, Any]], *arguments: Any) -> dict[str, Any]:
    try:
        return parse(*arguments)
    except InvalidError as error:
        raise CniError(BAD_CONFIG, error.message) from None


def _wishes(config: Mapping[str, Any], args: Mapping[str, str]) -> dict[str, Any]:
    """Precedence, CONVENTIONS.md: runtimeConfig, then args.cni, then CNI_ARGS."""
    runtime = _folded(config, "runtimeConfig")
    conventional = _folded(_folded(config, "args"), "cni")
    ips = runtime.get("ips") or conventional.get("ips") or [ip for ip in args.get("IP", "").split(",") if ip]
    mac = runtime.get("mac") or conventional.get("mac") or args.get("MAC") or None
    for key in ("portmappings",):
        if runtime.get(key):
            raise CniError(UNSUPPORTED_FIELD, f"runtimeConfig.portMappings: {json.dumps(runtime[key])} cannot be done")
    return {
        "slice": _slice(config),
        "addresses": tuple(_addresses(ips)),
        "mac": check_mac(_text("mac", mac)) if mac else None,
        "bandwidth": _bandwidth(_folded(runtime, "bandwidth")),
    }


def _slice(config: Mapping[str, Any]) -> str:
    section = config.get("slicer")
    if not isinstance(section, dict):
        raise CniError(BAD_CONFIG, 'the network configuration has no section "slicer": {"slice": "<name>"}')
    for key, value in sorted(section.items()):
        if key != "slice":
            raise CniError(UNSUPPORTED_FIELD, f"unsupported field slicer.{key}: {json.dumps(value)}")
    return check_label("slicer.slice", _text("slicer.slice", section.get("slice", "")))


def _text(what: str, value: Any) -> str:
    if not isinstance(value, str):
        raise InvalidError(f"{what} {json.dumps(value)} is not a string")
    return value


def _folded(config: Mapping[str, Any], key: str) -> dict[str, Any]:
    """The object under `key` (any case), its own keys in lower case; empty where there is none."""
    value = next((v for k, v in config.items() if k.lower() == key.lower()), None)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise CniError(DECODE, f"{key} {json.dumps(value)[:80]} is not an object")
    return {k.lower(): v for k, v in value.items()}


def _addresses(texts: Any) -> Iterator[Address]:
    """`ip` or `ip/length`; the length says nothing here (a slice interface always has the full one)."""
    if not isinstance(texts, list):
        raise InvalidError(f"ips {json.dumps(texts)[:80]} is not a list")
    for text in texts:
        try:
            yield ipaddress.ip_interface(_text("ips", text)).ip
        except ValueError:
            raise InvalidError(f"ips: {text!r} is not an address like 10.22.0.5 or 10.22.0.5/24") from None


def _bandwidth(section: Mapping[str, Any]) -> Bandwidth | None:
    """bit/s and bit; Multus sends all four numbers, 0 for those that nobody asked for."""
    values = {
        key: _number(key, section.get(key)) for key in ("ingressrate", "ingressburst", "egressrate", "egressburst")
    }
    if not any(values.values()):
        return None
    for way in ("ingress", "egress"):
        if values[f"{way}burst"] and not values[f"{way}rate"]:
            raise InvalidError(f"bandwidth: {way}Burst {values[f'{way}burst']} is given without {way}Rate")
    return Bandwidth(
        ingress_bps=values["ingressrate"] or None,
        ingress_burst_bits=values["ingressburst"] or None,
        egress_bps=values["egressrate"] or None,
        egress_burst_bits=values["egressburst"] or None,
    )


def _number(what: str, value: Any) -> int:
    if value is None:
        return 0
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise InvalidError(f"bandwidth {what} {json.dumps(value)} is not a number of bits")
    return value


def _previous(config: Mapping[str, Any], command: str) -> Mapping[str, Any] | None:
    previous = config.get("prevResult")
    if previous is None and command == "CHECK":
        raise CniError(BAD_CONFIG, "CHECK needs prevResult, and there is none")
    if previous is not None and not isinstance(previous, dict):
        raise CniError(DECODE, "prevResult is not an object", json.dumps(previous)[:80])
    return previous


def _valid(config: Mapping[str, Any]) -> frozenset[tuple[str, str]] | None:
    """libcni writes the list under both names; an absent one is not an empty one."""
    listed = config.get("cni.dev/valid-attachments", config.get("cni.dev/attachments"))
    if listed is None:
        return None
    if not isinstance(listed, list) or not all(isinstance(item, dict) for item in listed):
        raise CniError(DECODE, "cni.dev/valid-attachments is not a list of objects")
    folded = [{key.lower(): value for key, value in item.items()} for item in listed]
    return frozenset((str(item.get("containerid", "")), str(item.get("ifname", ""))) for item in folded)


def _refuse_delegation(config: Mapping[str, Any], command: str) -> None:
    """Addresses come from the slice; a plugin named in `ipam` would be ignored in silence."""
    kind = _folded(config, "ipam").get("type") if command in {"ADD", "CHECK", "STATUS"} else None
    if kind:
        raise CniError(UNSUPPORTED_FIELD, f"unsupported field ipam.type: {json.dumps(kind)}; the slice has addresses")
