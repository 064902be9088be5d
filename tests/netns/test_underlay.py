"""What an agent reads off the network that its node is on."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = pytest.mark.root

ASK = (
    "from slicer.agent.settings import parse_command_line, parse_settings\n"
    "import sys\n"
    "print(parse_settings(parse_command_line(['--node', 'n1', *sys.argv[1:]])).underlay_mtu)"
)


@pytest.mark.parametrize(
    ("device_mtu", "options", "mtu"),
    [
        (1460, (), 1460),
        (9000, (), 1500),
        (9000, ("--underlay-mtu", "9000"), 9000),
        (1460, ("--underlay-mtu", "1400"), 1400),
    ],
)
@pytest.mark.parametrize(("address", "length"), [("198.18.1.11", 24), ("fd00:198:18::11", 64)])
def test_the_underlays_mtu_is_that_of_the_nodes_interface(address, length, device_mtu, options, mtu):
    """At most 1500, unless somebody says; another interface's does not count."""
    setup = (
        "ip link add other type veth peer name peer mtu 1300; ip link set other up;"
        f" ip link add eth0 mtu {device_mtu} type veth peer name far mtu {device_mtu};"
        f" ip link set eth0 up; ip addr add {address}/{length} dev eth0"
    )
    words = [sys.executable, "-c", ASK, "--address", address, *options]
    done = subprocess.run(
        ["unshare", "--net", "sh", "-ec", f'{setup}; exec "$@"', "sh", *words],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.stdout.strip() == str(mtu), done.stderr


def test_an_address_that_no_interface_has_says_nothing():
    """Then the usual MTU holds; VXLAN and WireGuard say what is wrong with the address."""
    words = [sys.executable, "-c", ASK, "--address", "198.18.1.99"]
    done = subprocess.run(["unshare", "--net", *words], capture_output=True, text=True, timeout=60, check=False)

    assert done.stdout.strip() == "1500", done.stderr
