"""Frames as they are on the wire (slicer.lab.capture)."""

from __future__ import annotations

import ipaddress
import socket
import struct

import pytest

from slicer.lab.capture import Heard, Packet, parse_frame

MACS = bytes(12)
WIREGUARD = b"\x04\x00\x00\x00" + bytes(28)


def ipv4(payload, protocol=17, options=b""):
    header = struct.pack(
        ">BBHHHBBH4s4s",
        0x40 | (5 + len(options) // 4),
        0,
        20 + len(options) + len(payload),
        0,
        0,
        64,
        protocol,
        0,
        socket.inet_aton("198.18.1.11"),
        socket.inet_aton("198.18.2.11"),
    )
    return MACS + b"\x08\x00" + header + options + payload


def ipv6(payload, protocol=17):
    ends = socket.inet_pton(socket.AF_INET6, "fd00::1") + socket.inet_pton(socket.AF_INET6, "fd00::2")
    return MACS + b"\x86\xdd" + struct.pack(">IHBB", 6 << 28, len(payload), protocol, 64) + ends + payload


def udp(payload, ports=(51820, 51821)):
    return struct.pack(">HHHH", *ports, 8 + len(payload), 0) + payload


@pytest.mark.parametrize("frame", [ipv4(udp(WIREGUARD)), ipv4(udp(WIREGUARD), options=bytes(8))])
def test_an_ipv4_frame_is_read_to_its_payload(frame):
    """parse_frame() finds addresses, ports and payload, also behind IP options."""
    assert parse_frame(frame) == Packet(
        source=ipaddress.ip_address("198.18.1.11"),
        destination=ipaddress.ip_address("198.18.2.11"),
        protocol=17,
        ports=(51820, 51821),
        payload=WIREGUARD,
    )


def test_an_ipv6_frame_is_read_to_its_payload():
    """parse_frame() reads IPv6 likewise."""
    packet = parse_frame(ipv6(udp(b"hello")))

    assert packet == Packet(
        source=ipaddress.ip_address("fd00::1"),
        destination=ipaddress.ip_address("fd00::2"),
        protocol=17,
        ports=(51820, 51821),
        payload=b"hello",
    )


@pytest.mark.parametrize("frame", [b"", MACS, MACS + b"\x08\x06" + bytes(28), MACS + b"\x08\x00" + bytes(10)])
def test_what_is_not_ip_is_no_packet(frame):
    """parse_frame() gives None for ARP and for what is cut short."""
    assert parse_frame(frame) is None


@pytest.mark.parametrize(
    ("frame", "expected"),
    [
        (ipv4(udp(WIREGUARD)), True),
        (ipv4(udp(b"\x01\x00\x00\x00")), True),
        (ipv4(udp(b"\x05\x00\x00\x00")), False),
        (ipv4(udp(b"\x04\x00\x00\x01")), False),
        (ipv4(udp(b"\x04\x00")), False),
        (ipv4(b"\x04\x00\x00\x00" + bytes(40), protocol=6), False),
        (ipv4(udp(b"GET / HTTP/1.1")), False),
    ],
)
def test_wireguard_is_told_from_everything_else(frame, expected):
    """A WireGuard message is UDP and starts with its type and three zero bytes."""
    packet = parse_frame(frame)

    assert packet is not None
    assert packet.is_wireguard is expected


def test_a_text_is_found_wherever_it_stands_in_a_frame():
    """holding() looks at whole frames."""
    heard = Heard(frames=[ipv4(udp(b"a marker b")), ipv4(udp(b"nothing"))])

    assert heard.holding(b"marker") == 1
    assert len(heard.packets(lambda packet: b"nothing" in packet.payload)) == 1
