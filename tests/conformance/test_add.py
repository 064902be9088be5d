"""ADD, list 1.9 of the black-box rules: A1 to A16."""


def test_A1_interface(pod, node):
    """ADD makes the interface with the exact name, MAC and MTU in the sandbox, up."""
    result = pod.add().ok().json

    link = pod.contents().link("net1")

    assert result["interfaces"][1] == {"name": "net1", "mac": link.mac, "mtu": 1420, "sandbox": pod.path}
    assert link.up
    assert pod.delete().ok().stdout == b""
