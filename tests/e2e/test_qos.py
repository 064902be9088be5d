"""Bandwidth: a slice's ceiling between the clusters, a pod's own rates, what is set in the kernel for a guarantee."""

from __future__ import annotations

import json
import re

import pytest

pytestmark = pytest.mark.root
HEADERS = 0.80
"""At least this share of a rate arrives as payload: IP and TCP headers take 4 %, and the run is short."""


def measured_bps(lab, pod, address, above):
    """TCP payload in bit/s that arrives at an iperf3 server; the first second (slow start, bursts) is left out.

    The highest of at most three tries, until it is `above`: a busy machine starves the sender at times. Reno asks for
    all that it can get; BBR, some machines' default, for what it once measured.
    """
    best = 0.0
    for _ in range(3):
        done = lab.exec(pod, "iperf3", "-c", address, "-C", "reno", "-O", "1", "-t", "3", "-J")
        assert done.returncode == 0, done.stdout
        best = max(best, json.loads(done.stdout)["end"]["sum_received"]["bits_per_second"])
        if best > above:
            break
    return best


def test_the_ceiling_holds_and_changes_live(lab, scope, until):
    """What a pod can send to the other cluster stays below its slice's ceiling, also after `qos set`."""
    red = scope.slice("--ceiling", "20M")
    (speed,) = scope.example("speed-red.yaml", "b", red)
    client = scope.pod("a", "client", red)
    address = lab.addresses(speed)["net1"][0]
    until(lambda: lab.reaches(client, address), "the way to the other cluster")

    assert HEADERS * 20e6 < measured_bps(lab, client, address, HEADERS * 20e6) <= 20e6

    lab.ctl("qos", "set", red, "--ceiling", "5M")
    until(lambda: classes(lab, "a", "5Mbit"), "the new ceiling in the kernel")

    assert HEADERS * 5e6 < measured_bps(lab, client, address, HEADERS * 5e6) <= 5e6


def test_a_guarantee_is_the_rate_of_the_slices_class(lab, scope, until):
    """Guarantee and ceiling are the rate and ceil of the slice's HTB class on the gateways, and change live."""
    scope.slice("--guarantee", "7M", "--ceiling", "31M", "--priority", "2")

    found = until(lambda: classes(lab, "a", "31Mbit"), "the class")
    assert re.search(r"prio 2 .*rate 7Mbit ceil 31Mbit", found[0])

    lab.ctl("qos", "set", scope.slices[0], "--guarantee", "9M")

    until(lambda: any("rate 9Mbit ceil 31Mbit" in line for line in classes(lab, "a", "31Mbit")), "the new guarantee")


def test_a_pods_own_rates_hold_both_ways(lab, scope, until):
    """`bandwidth` of the annotation limits what the pod receives and what it sends, on its node."""
    red = scope.slice()
    (limited,) = scope.example("rate-limited.yaml", "a", red)
    (speed,) = scope.example("speed-red.yaml", "b", red)
    address = lab.addresses(speed)["net1"][0]
    until(lambda: lab.reaches(limited, address), "the way to the other cluster")

    assert HEADERS * 4e6 < measured_bps(lab, limited, address, HEADERS * 4e6) <= 4e6


def classes(lab, cluster, ceiling):
    """The HTB classes with this ceiling in the tunnel namespaces of a cluster's nodes."""
    script = "for n in $(ls /run/netns | grep ^t-); do tc -n $n class show dev ifb0; done"
    lines = [line for n in (1, 2) for line in lab.exec(f"{cluster}-n{n}", "sh", "-c", script).stdout.splitlines()]
    return [line for line in lines if f"ceil {ceiling} " in line]
