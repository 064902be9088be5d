"""What is said to WireGuard and read from it, by both back ends, without a device."""

from __future__ import annotations

import ipaddress
import json
import socket
from base64 import b64encode
from pathlib import Path

import pytest

from slicer.kernel import wireguard_go
from slicer.kernel.keys import Keys
from slicer.kernel.wireguard import DeviceState, PeerState, PeerWish, Secret
from slicer.kernel.wireguard_choice import choose
from slicer.kernel.wireguard_go import parse_device, render_peers
from slicer.kernel.wireguard_kernel import parse_messages, peer_messages
from slicer.model.errors import ExhaustedError, InvalidError

RAW = bytes(range(32))
KEY, HEX = b64encode(RAW).decode(), RAW.hex()
V4, V6 = ipaddress.ip_network("10.1.0.0/18"), ipaddress.ip_network("fd01::/50")
ENDPOINT = (ipaddress.ip_address("fd00::1"), 51821)

STATE = DeviceState(
    public_key="public",
    port=51820,
    peers=(
        PeerState(
            public_key=KEY,
            endpoint=ENDPOINT,
            allowed_ips=(V4, V6),
            keepalive_s=25,
            handshake_at_s=1700000000,
            rx_bytes=7,
            tx_bytes=9,
        ),
    ),
)


def test_a_peer_is_set_without_touching_others():
    """UAPI: no replace_peers, so that sessions of other peers live on; IPv6 endpoints stand in brackets."""
    wish = PeerWish(public_key=KEY, endpoint=ENDPOINT, allowed_ips=(V4, V6), keepalive_s=25)

    assert render_peers([wish, PeerWish(public_key=KEY, remove=True)]) == (
        f"set=1\npublic_key={HEX}\nendpoint=[fd00::1]:51821\npersistent_keepalive_interval=25\n"
        f"replace_allowed_ips=true\nallowed_ip=10.1.0.0/18\nallowed_ip=fd01::/50\n"
        f"public_key={HEX}\nremove=true\n\n"
    )


def test_the_answer_of_the_daemon_is_read():
    """UAPI: what stands before the first public key is the device's; the private key becomes a public one."""
    answer = (
        f"private_key={'11' * 32}\nlisten_port=51820\n"
        f"public_key={HEX}\npreshared_key={'0' * 64}\nprotocol_version=1\nendpoint=[fd00::1]:51821\n"
        "last_handshake_time_sec=1700000000\nlast_handshake_time_nsec=5\ntx_bytes=9\nrx_bytes=7\n"
        "persistent_keepalive_interval=25\nallowed_ip=fd01::/50\nallowed_ip=10.1.0.0/18\n"
    )

    assert parse_device(answer, lambda _: "public") == STATE


def test_a_fresh_device_has_no_key_and_no_handshake():
    """Zeros mean that there is none yet."""
    answer = f"listen_port=0\npublic_key={HEX}\nlast_handshake_time_sec=0\n"
    state = parse_device(answer, lambda _: "never asked")

    assert (state.public_key, state.port) == ("", 0)
    assert (state.peers[0].handshake_at_s, state.peers[0].endpoint) == (None, None)


class Attributes(dict):
    """Stands for a pyroute2 message."""

    def get_attr(self, name):
        return self.get(name)


def test_the_kernels_messages_are_read():
    """A peer with many allowed addresses comes in pieces; keys come as base64 bytes."""
    piece = {"WGPEER_A_PUBLIC_KEY": KEY.encode(), "WGPEER_A_ALLOWEDIPS": [{"addr": "fd01::/50"}]}
    first = {
        "WGPEER_A_ENDPOINT": {"addr": "fd00::1", "port": 51821},
        "WGPEER_A_LAST_HANDSHAKE_TIME": {"tv_sec": 1700000000, "tv_nsec": 5},
        "WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL": 25,
        "WGPEER_A_RX_BYTES": 7,
        "WGPEER_A_TX_BYTES": 9,
    }
    rest = {**piece, "WGPEER_A_ALLOWEDIPS": [{"addr": "10.1.0.0/18"}]}
    head = {"WGDEVICE_A_PUBLIC_KEY": b"public", "WGDEVICE_A_LISTEN_PORT": 51820}
    messages = [
        Attributes(head | {"WGDEVICE_A_PEERS": [Attributes(piece | first)]}),
        Attributes({"WGDEVICE_A_PEERS": [Attributes(rest)]}),
    ]

    assert parse_messages(messages) == STATE


def test_the_kernel_is_told_in_pieces_that_fit():
    """The first message replaces the allowed addresses, further ones add to them; a removal says nothing else."""
    many = tuple(ipaddress.ip_network((0x0A000000 + 256 * n, 24)) for n in range(501))
    first, second = peer_messages(PeerWish(public_key=KEY, endpoint=ENDPOINT, allowed_ips=many, keepalive_s=25))

    assert first | {"allowed_ips": []} == {
        "public_key": KEY,
        "persistent_keepalive": 25,
        "replace_allowed_ips": True,
        "endpoint_addr": "fd00::1",
        "endpoint_port": 51821,
        "allowed_ips": [],
    }
    assert second == {"public_key": KEY, "update_only": True, "allowed_ips": ["10.1.244.0/24"]}
    assert list(peer_messages(PeerWish(public_key=KEY, remove=True))) == [{"public_key": KEY, "remove": True}]


def test_keys_and_ports_are_made_once(tmp_path):
    """The same tunnel has the same key and port for ever; a new one gets the next free port."""
    first = Keys(tmp_path, 51820).ensure({(0, 0, 0, 0)})
    both = Keys(tmp_path, 51820).ensure({(0, 1, 0, 0), (0, 0, 0, 0)})

    assert both[0] == first[0]
    assert [tunnel.port for tunnel in both] == [51820, 51821]
    assert both[0].public_key != both[1].public_key
    assert Keys(tmp_path, 40000).ensure({(0, 1, 0, 0)}) == both[1:]


def test_another_generation_has_a_key_and_a_port_of_its_own(tmp_path):
    """The old one keeps its key beside it, until it is not kept any more: then key and port are free."""
    keys = Keys(tmp_path, 51820)
    old, new = keys.ensure({(0, 0, 0, 0), (0, 0, 1, 0)})

    assert (old.device, new.device) == ("w0.0", "w0.0.1")
    assert (old.port, new.port) == (51820, 51821)
    assert old.public_key != new.public_key
    assert keys.keep({(0, 0, 1, 0)}) == ((0, 0, 0, 0),)
    assert [path.name for path in (tmp_path / "keys").iterdir()] == ["0-0-1.key"]
    assert keys.keep({(0, 0, 1, 0)}) == ()
    assert keys.ensure({(0, 0, 1, 0), (0, 0, 2, 0)}) == (new, *keys.ensure({(0, 0, 2, 0)}))
    assert keys.all() == ((0, 0, 1, 0), (0, 0, 2, 0))


def test_each_parallel_tunnel_has_a_key_and_a_port_of_its_own(tmp_path):
    """The first keeps what it had; the file of the ports says of it what it said before there were others."""
    first = Keys(tmp_path, 51820).ensure({(0, 0, 0, 0), (0, 1, 0, 0)})
    before = json.loads((tmp_path / "tunnels.json").read_text())
    more = Keys(tmp_path, 51820).ensure({(0, index, 0, lane) for index in (0, 1) for lane in (0, 1)})
    after = json.loads((tmp_path / "tunnels.json").read_text())

    assert before == [[0, 0, 51820, 0], [0, 1, 51821, 0]]
    assert set(first) < set(more)
    assert [(tunnel.device, tunnel.port) for tunnel in more if tunnel.lane] == [("w0.0b", 51822), ("w0.1b", 51823)]
    assert [row for row in after if len(row) == 4] == before
    assert sorted(path.name for path in (tmp_path / "keys").iterdir()) == ["0-0.key", "0-0b.key", "0-1.key", "0-1b.key"]
    assert Keys(tmp_path, 51820).keep(tunnel.key for tunnel in first) == ((0, 0, 0, 1), (0, 1, 0, 1))
    assert json.loads((tmp_path / "tunnels.json").read_text()) == before


def test_keys_of_a_set_that_is_gone_are_deleted(tmp_path):
    """Also those that no port is known of."""
    keys = Keys(tmp_path, 51820)
    keys.ensure({(0, 0, 0, 0), (1, 0, 0, 0)})
    (tmp_path / "keys" / "9-9.key").write_text("left over")

    assert keys.keep({(0, 0, 0, 0)}) == ((1, 0, 0, 0),)
    assert [path.name for path in (tmp_path / "keys").iterdir()] == ["0-0.key"]


def test_ports_of_an_earlier_version_are_kept(tmp_path):
    """Its file has no generations: all are of the first."""
    (tmp_path / "tunnels.json").write_text("[[0, 0, 51999]]")

    assert [tunnel.port for tunnel in Keys(tmp_path, 51820).ensure({(0, 0, 0, 0)})] == [51999]


def test_keys_are_written_for_root_only(tmp_path):
    """Mode 0600 from the first moment, in a directory of 0700."""
    Keys(tmp_path, 51820).ensure({(3, 1, 0, 0)})

    assert (tmp_path / "keys" / "3-1.key").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "keys").stat().st_mode & 0o777 == 0o700


def test_the_ports_can_run_out(tmp_path):
    """The range is named."""
    with pytest.raises(ExhaustedError, match="no UDP port is free between 65535 and 65535"):
        Keys(tmp_path, 65535).ensure({(0, 0, 0, 0), (0, 1, 0, 0)})


def test_a_secret_does_not_print_itself():
    """Neither str nor repr shows a private key."""
    assert "hush" not in f"{Secret(text='hush')} {Secret(text='hush')!r}"


def test_an_unknown_back_end_is_refused(tmp_path):
    """The message names the choices."""
    with pytest.raises(InvalidError, match="'boringtun' is none of auto, kernel, wireguard-go"):
        choose("boringtun", lambda _: "", tmp_path)


def test_sockets_of_dead_daemons_are_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sockets of our devices that nobody serves are removed; one that is served and one of somebody else stay."""
    monkeypatch.setattr(wireguard_go, "SOCKETS", tmp_path)
    for name in ("w0.0", "w10.13", "w0.1.3", "wg0", "wa.1"):
        (tmp_path / f"{name}.sock").touch()
    with socket.socket(socket.AF_UNIX) as served:
        served.bind(str(tmp_path / "w1.0.sock"))
        served.listen()
        wireguard_go.forget_dead()

        assert {path.name for path in tmp_path.iterdir()} == {"w1.0.sock", "wg0.sock", "wa.1.sock"}
