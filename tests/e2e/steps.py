"""The words of the scenarios. `python -m tests.e2e.steps` lists them.

Words that look return (whether it holds, what was seen); the others do something, or fail.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from tests.e2e.scenario import Json, Play, Step
from tests.e2e.workload import render_deployment, render_pod, render_statefulset

STEPS: list[Step] = []
Seen = tuple[bool, Any]
W = r"(?P<{}>[a-z]/[a-z0-9-]+)"
"""A workload: cluster/name."""


def step(pattern: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Adds a word. In the pattern `<x>` is a workload, `{x}` any word."""
    text = re.sub(r"(?<!\?P)<(\w+)>", lambda m: W.format(m[1]), pattern)
    text = re.sub(r"(?<!\\)\{(\w+)\}", r"(?P<\1>\\S+)", text)

    def add(function: Callable[..., Any]) -> Callable[..., Any]:
        STEPS.append(Step(pattern=re.compile(text), do=function))
        return function

    return add


# What users do.


@step(r"slice {name} {prefixes}( for namespace (?P<only>\S+))?( encrypted (?P<encryption>\S+))?")
def make_slice(play: Play, name: str, prefixes: str, only: str | None, encryption: str | None) -> None:
    real = play.real(name)
    options = [word for prefix in prefixes.split(",") for word in ("--prefix", prefix)]
    options += ["--namespaces", only] if only else []
    options += ["--encryption", encryption] if encryption else []
    play.world.slicectl("create-slice", real, *options)
    play.slices.append(real)


@step(r"pod <where>( at (?P<node>[a-z]-n\d))?( on (?P<on>.+))?")
def run_pod(play: Play, where: str, node: str | None, on: str | None) -> None:
    annotation = play.fill(_on(play, on))
    _apply(play, where, lambda name: render_pod(play.namespace, name, annotation, node=node or ""))


@step(r"deployment <where>( of (?P<count>\d+))?( on (?P<on>.+))?")
def run_deployment(play: Play, where: str, count: str | None, on: str | None) -> None:
    annotation = play.fill(_on(play, on))
    _apply(play, where, lambda name: render_deployment(play.namespace, name, annotation, int(count or 1)))


@step(r"statefulset <where> on (?P<on>.+)")
def run_statefulset(play: Play, where: str, on: str) -> None:
    _apply(play, where, lambda name: render_statefulset(play.namespace, name, play.fill(_on(play, on))))


@step(r"delete <where>( by (?P<force>force))?")
def delete(play: Play, where: str, force: str | None) -> None:
    cluster, _, name = where.partition("/")
    play.world.delete(cluster, play.namespace, name, force=bool(force))


@step(r"export {name} on {slice_}")
def export(play: Play, name: str, slice_: str) -> None:
    words = ("--namespace", play.namespace, "--selector", f"app={name}", "--port", "http:80")
    play.world.slicectl("export", play.real(slice_), name, *words)
    play.exports.append((play.real(slice_), name))


@step(r"<where> joins {slice_}")
def join(play: Play, where: str, slice_: str) -> None:
    cluster, pod = play.pod(where)
    play.world.slicectl("member", "add", play.real(slice_), "--pod", f"{cluster}/{play.namespace}/{pod}")


@step(r"<where> leaves {slice_}")
def leave(play: Play, where: str, slice_: str) -> None:
    cluster, pod = play.pod(where)
    play.world.slicectl("member", "remove", play.real(slice_), "--pod", f"{cluster}/{play.namespace}/{pod}")


@step(r"the namespace joins {slice_} in (?P<cluster>[a-z])")
def namespace_joins(play: Play, slice_: str, cluster: str) -> None:
    where = ("--cluster", cluster, "--namespace", play.namespace)
    play.world.slicectl("member", "add", play.real(slice_), *where)


@step(r"the namespace leaves {slice_} in (?P<cluster>[a-z])")
def namespace_leaves(play: Play, slice_: str, cluster: str) -> None:
    where = ("--cluster", cluster, "--namespace", play.namespace)
    play.world.slicectl("member", "remove", play.real(slice_), *where)


@step(r"(?P<verb>kill|stop|start) (?P<part>[a-z-]+)( on (?P<where>[a-z0-9-]+))?")
def strike(play: Play, verb: str, part: str, where: str | None) -> None:
    what = (part, where or "")
    play.world.strike(verb, *what)
    if verb == "stop":
        play.stopped.append(what)
    elif what in play.stopped:
        play.stopped.remove(what)


@step(r"remember <where>")
def remember(play: Play, where: str) -> None:
    """What the pod's network and process look like, for `is as remembered`."""
    play.memory[where] = _primary(play, where)


@step(r"remember the addresses of <where>")
def remember_addresses(play: Play, where: str) -> None:
    play.memory[f"addresses of {where}"] = addresses(play, where)


@step(r"<source> starts pinging <target>")
def start_ping(play: Play, source: str, target: str) -> None:
    """Five times a second until `has lost no packet` is asked."""
    log = _ping_log(play, source)
    address = addresses(play, target)["net1"][0]
    done = play.exec(source, "sh", "-c", f"ping -n -i 0.2 {address} >{log} 2>&1 & echo $! >{log}.pid")
    assert done.returncode == 0, done.stderr


# What must then be true.


@step(r"<source> has lost no packet")
def lost_none(play: Play, source: str) -> Seen:
    """Ends the ping; a request whose answer was still under way does not count as lost."""
    log = _ping_log(play, source)
    end = f"kill -INT $(cat {log}.pid); while ! grep -q transmitted {log}; do sleep 0.1; done; cat {log}; rm {log}*"
    text = play.exec(source, "sh", "-c", end).stdout
    match = re.search(r"(\d+) packets transmitted, (\d+) received", text)
    assert match, text
    sent, received = int(match[1]), int(match[2])
    return sent > 1 and sent - received <= 1, f"{sent} sent, {received} received"


@step(r"<where> runs")
def runs(play: Play, where: str) -> Seen:
    return True, play.pod(where)


@step(r"<where> has interfaces (?P<interfaces>[a-z0-9 ]+)")
def has_interfaces(play: Play, where: str, interfaces: str) -> Seen:
    found = addresses(play, where)
    return sorted(found) == sorted(interfaces.split()) and all(found.values()), found


@step(r"<where> has the address {address} on {interface}")
def has_address(play: Play, where: str, address: str, interface: str) -> Seen:
    found = addresses(play, where)
    return address in found.get(interface, []), found


@step(r"<where> has the addresses remembered")
def has_same_addresses(play: Play, where: str) -> Seen:
    found = addresses(play, where)
    return found == play.memory[f"addresses of {where}"], found


@step(r"<where> has (?P<count>\d) addresses on {interface}")
def has_many(play: Play, where: str, count: str, interface: str) -> Seen:
    found = addresses(play, where).get(interface, [])
    return len(found) == int(count), found


@step(r"<source> reaches <target>( on {interface})?")
def reaches(play: Play, source: str, target: str, interface: str | None) -> Seen:
    """Every address of the target's slice interface answers one echo request."""
    wanted = addresses(play, target).get(interface or "net1", [])
    return bool(wanted) and all(_ping(play, source, address) for address in wanted), wanted


@step(r"<source> does not reach <target>( on {interface})?")
def reaches_not(play: Play, source: str, target: str, interface: str | None) -> Seen:
    wanted = addresses(play, target).get(interface or "net1", [])
    return bool(wanted) and not any(_ping(play, source, address) for address in wanted), wanted


@step(r"<source> resolves {name} on {slice_} to <target>")
def resolves(play: Play, source: str, name: str, slice_: str, target: str) -> Seen:
    found = _lookup(play, source, _fqdn(play, name, slice_))
    return found == [a for a in addresses(play, target).get("net1", []) if "." in a], found


@step(r"<source> resolves {name} on {slice_} to (?P<count>\d+) addresses")
def resolves_count(play: Play, source: str, name: str, slice_: str, count: str) -> Seen:
    found = _lookup(play, source, _fqdn(play, name, slice_))
    return len(found) == int(count), found


@step(r"<source> resolves the cluster's own names")
def resolves_own(play: Play, source: str) -> Seen:
    found = _lookup(play, source, "kubernetes.default.svc.cluster.local")
    return found == ["10.96.0.1"], found


@step(r"<source> gets a page from {name} on {slice_}")
def gets_page(play: Play, source: str, name: str, slice_: str) -> Seen:
    """The server saw the client's own slice address: there is no NAT."""
    url = f"http://{_fqdn(play, name, slice_)}/"
    done = play.exec(source, "curl", "--silent", "--show-error", "--max-time", "5", url)
    own = addresses(play, source).get("net1", [])
    return any(done.stdout.startswith(f"hello {a}, this is {name}") for a in own), done.stdout + done.stderr


@step(r"<where> is as remembered")
def as_remembered(play: Play, where: str) -> Seen:
    """Same process, same default route, same eth0, same resolv.conf."""
    found = _primary(play, where)
    return found == play.memory[where], found


@step(r"<where> has default route and resolver like <other>")
def like(play: Play, where: str, other: str) -> Seen:
    """The same resolv.conf, and one default route each, through eth0 (its next hop depends on the node)."""
    mine, its = _primary(play, where), _primary(play, other)
    ways = [[device for _, device in each["default"]] for each in (mine, its)]
    return ways == [["eth0"], ["eth0"]] and mine["resolver"] == its["resolver"], (mine, its)


@step(r"<where> shows {count} in network-status with its address")
def network_status(play: Play, where: str, count: str) -> Seen:
    """Multus' annotation names exactly the pod's interfaces, with their addresses and MACs."""
    cluster, _, app = where.partition("/")
    statuses = play.world.network_statuses(cluster, play.namespace, app)
    assert statuses, f"{where} has no running pod"
    status = statuses[0]
    told = {each["interface"]: sorted(each.get("ips", [])) for each in status}
    return len(status) == int(count) and told == addresses(play, where), status


@step(r"<where> has (?P<count>\d+) pods with addresses of their own")
def distinct(play: Play, where: str, count: str) -> Seen:
    """As Multus tells it: asking each pod would take as long as starting them."""
    cluster, _, app = where.partition("/")
    statuses = play.world.network_statuses(cluster, play.namespace, app)
    found = [ip for status in statuses for each in status if not each.get("default") for ip in each.get("ips", [])]
    return len(found) == len(set(found)) == int(count), f"{len(found)} addresses, {len(set(found))} different"


@step(r"slice {name} holds (?P<count>\d+) attachments?")
def holds(play: Play, name: str, count: str) -> Seen:
    listed = json.loads(play.world.slicectl("get", "attachments", "--slice", play.real(name), "-o", "json"))["items"]
    return len(listed) == int(count), [f"{a['spec']['cluster']}/{a['spec']['pod']}" for a in listed]


def addresses(play: Play, where: str) -> dict[str, list[str]]:
    """Interface → global addresses as the pod's kernel has them, sorted."""
    done = play.exec(where, "ip", "-json", "address", "show")
    assert done.returncode == 0, done.stderr
    return {
        link["ifname"]: sorted(a["local"] for a in link["addr_info"] if a["scope"] == "global")
        for link in json.loads(done.stdout)
        if link["ifname"] != "lo"
    }


def _primary(play: Play, where: str) -> Json:
    routes = json.loads(play.exec(where, "ip", "-json", "route", "show", "default").stdout)
    started = play.exec(where, "cat", "/proc/1/stat").stdout.rpartition(")")[2].split()[19:20]
    return {
        "default": [(route.get("gateway"), route["dev"]) for route in routes],
        "eth0": addresses(play, where).get("eth0"),
        "resolver": play.exec(where, "cat", "/etc/resolv.conf").stdout,
        "started": started,
    }


def _ping(play: Play, source: str, address: str) -> bool:
    return play.exec(source, "ping", "-n", "-c1", "-W1", address).returncode == 0


def _ping_log(play: Play, source: str) -> str:
    """The lab's pods share one /tmp."""
    return f"/tmp/ping-{play.namespace}-{source.replace('/', '-')}"


def _lookup(play: Play, source: str, name: str) -> list[str]:
    text = play.exec(source, "dig", "+short", "+tries=1", "+time=2", "+nosearch", name, "A").stdout
    return sorted(line for line in text.splitlines() if line[:1].isdigit())


def _fqdn(play: Play, name: str, slice_: str) -> str:
    return f"{name}.{play.namespace}.svc.{play.real(slice_)}.slice.local"


def _on(play: Play, on: str | None) -> str:
    """The annotation: names of slices, or JSON with `$red` in it."""
    if on is None or on.startswith("["):
        return on or ""
    return ",".join(play.real(name.strip()) for name in on.split(","))


def _apply(play: Play, where: str, render: Callable[[str], Json]) -> None:
    cluster, _, name = where.partition("/")
    play.world.apply(cluster, [render(name)])


if __name__ == "__main__":
    for each in STEPS:
        print(each.do.__name__.replace("_", " "), "  ", each.pattern.pattern)
