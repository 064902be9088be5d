"""The environment and stdin: lines E1 to E16 of the black-box list (STANDARDS of the CNI reference's skel)."""

from __future__ import annotations

import json
import os
import subprocess

import pytest

from tests.conformance.node import Answer, Node, Pod, configuration

pytestmark = pytest.mark.root


def test_E1_without_a_command_people_get_a_text(pod: Pod) -> None:
    """No CNI_COMMAND: exit 0, the about text with the versions on stderr, nothing on stdout."""
    answer = pod.call("", b"").ok()

    assert answer.stdout == b""
    assert b"slicer" in answer.stderr
    assert b"1.1.0" in answer.stderr


def test_E2_unknown_command(pod: Pod) -> None:
    """An unknown command is code 4 and is named."""
    assert pod.call("FOO").error(4) == "unknown CNI_COMMAND: FOO"


def test_E3_all_missing_variables_are_named_at_once(pod: Pod) -> None:
    """Every missing variable is in one message."""
    answer = pod.add(CNI_CONTAINERID=None, CNI_NETNS=None, CNI_IFNAME=None)

    assert answer.error(4) == "required env variables [CNI_CONTAINERID,CNI_NETNS,CNI_IFNAME] missing"


@pytest.mark.parametrize("container", ["-a", "a/b", "a b", "ä", "a:b", "../x", "x" * 201])
def test_E4_bad_container_id(pod: Pod, container: str) -> None:
    """A container id outside the specification's alphabet is code 4 and is shown."""
    assert repr(container) in pod.add(CNI_CONTAINERID=container).error(4)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("a" * 16, id="E5-too-long"),
        pytest.param(".", id="E6-dot"),
        pytest.param("..", id="E7-dotdot"),
        pytest.param("a/b", id="E8-slash"),
        pytest.param("a:b", id="E9-colon"),
        pytest.param("a b", id="E10-space"),
        pytest.param("all", id="no-interface-of-the-kernels-all"),
        pytest.param("default", id="nor-of-its-default"),
    ],
)
def test_E5_to_E10_bad_interface_name(pod: Pod, name: str) -> None:
    """Linux's and the specification's rules for interface names hold; the offending name is shown."""
    assert repr(name) in pod.add(interface=name).error(4)


def test_E11_malformed_pair_in_args(pod: Pod) -> None:
    """CNI_ARGS that are not KEY=VALUE are refused, showing the pair."""
    assert "'K8S_POD_NAME'" in pod.add(CNI_ARGS="IgnoreUnknown=1;K8S_POD_NAME").error(4)


def test_E11_unknown_key_without_ignore(pod: Pod) -> None:
    """An unknown key in CNI_ARGS is an error that names it."""
    assert "FLAVOUR" in pod.add(CNI_ARGS="FLAVOUR=sweet").error(4)


@pytest.mark.parametrize("value", ["1", "true", "True"])
def test_E11_unknown_key_with_ignore(pod: Pod, value: str) -> None:
    """IgnoreUnknown lets unknown keys pass, in any place of the list."""
    pod.add(CNI_ARGS=f"FLAVOUR=sweet;IgnoreUnknown={value}").ok()


def test_E12_empty_means_missing(pod: Pod) -> None:
    """libcni sets unused variables to the empty string: that is missing."""
    assert pod.add(CNI_NETNS="").error(4) == "required env variables [CNI_NETNS] missing"


def test_E13_path_is_optional(pod: Pod) -> None:
    """CNI_PATH is needed only by delegation, which this plugin does not do."""
    pod.add(CNI_PATH=None).ok()


def test_E13_a_delegate_is_refused(pod: Pod) -> None:
    """An address plugin in `ipam` would be ignored in silence: refused with code 2, naming key and value."""
    message = pod.add(configuration(ipam={"type": "host-local"})).error(2)

    assert "ipam.type" in message
    assert "host-local" in message


def test_E14_closed_stdin(pod: Pod, node: Node) -> None:
    """Stdin that cannot be read is code 5."""
    process = subprocess.run(
        ["/bin/sh", "-c", 'exec "$0" <&-', node.executable],
        env=pod.environment("ADD"),
        capture_output=True,
        check=False,
    )

    Answer(process.returncode, process.stdout, process.stderr).error(5)


def test_E14_unreadable_stdin(pod: Pod, node: Node) -> None:
    """A file that is open for writing only is code 5, too."""
    unreadable = os.open(node.run / "file", os.O_WRONLY | os.O_CREAT)
    process = subprocess.run(
        [node.executable], env=pod.environment("ADD"), stdin=unreadable, capture_output=True, check=False
    )
    os.close(unreadable)

    Answer(process.returncode, process.stdout, process.stderr).error(5)


@pytest.mark.parametrize("variable", ["CNI_CONTAINERID", "CNI_IFNAME", "CNI_NETNS", "CNI_ARGS"])
def test_text_that_is_not_utf8(pod: Pod, variable: str) -> None:
    """Bytes that are no text are code 4, naming the variable: they would keep the whole report from being sent."""
    answer = pod.add(**{variable: os.fsdecode(b"K8S_POD_NAME=\xff\xfe")})

    assert variable in answer.error(4)


@pytest.mark.parametrize("pair", ["K8S_POD_NAME=A B", "K8S_POD_NAME=" + "x" * 254, "K8S_POD_NAMESPACE=../shop"])
def test_a_pod_that_kubernetes_could_not_have(pod: Pod, pair: str) -> None:
    """The pod's name and namespace go into reports and DNS names: others than Kubernetes allows are code 4, shown."""
    key, _, value = pair.partition("=")
    message = pod.add(CNI_ARGS=f"IgnoreUnknown=1;{pair}").error(4)

    assert key in message
    assert value in message


@pytest.mark.parametrize("kind", ["mnt", "uts"])
def test_a_namespace_of_another_kind(pod: Pod, kind: str) -> None:
    """A path to a mount or UTS namespace is code 8, at once."""
    assert f"/proc/self/ns/{kind}" in pod.add(CNI_NETNS=f"/proc/self/ns/{kind}").error(8)


def test_a_namespace_of_ours(pod: Pod, node: Node) -> None:
    """A slice's own namespace is no pod's: code 8, also when its path is written otherwise."""
    name = node.slice_netns()

    assert name in pod.add(CNI_NETNS=f"/run/netns/{name}").error(8)
    assert name in pod.add(CNI_NETNS=f"/run/../run/netns/{name}").error(8)


@pytest.mark.parametrize("command", ["ADD", "CHECK", "GC", "STATUS"])
def test_json_too_deep_to_read(pod: Pod, command: str) -> None:
    """A configuration nested beyond what can be read is code 6, not silence."""
    pod.call(command, b"[" * 200_000).error(6)


@pytest.mark.parametrize("text", [b'{"cniVersion":"1.1.0","name":"x"', b"", b"[]", b"nonsense", b'"text"', b"\xff"])
def test_E15_not_a_configuration(pod: Pod, text: bytes) -> None:
    """Truncated JSON, and JSON that is no object, is code 6."""
    pod.add(text).error(6)


def test_E16_no_name(pod: Pod) -> None:
    """A configuration without a name is code 7."""
    pod.add(configuration(name=None)).error(7)


@pytest.mark.parametrize("name", ["-x", "a b", "a/b", 5])
def test_E16_bad_name(pod: Pod, name: object) -> None:
    """A name outside the specification's alphabet is code 7 and is shown."""
    assert repr(name) in pod.add(configuration(name=name)).error(7)


@pytest.mark.parametrize("command", ["ADD", "DEL", "CHECK", "GC", "STATUS"])
def test_every_refusal_is_one_json_document_on_stdout(pod: Pod, command: str) -> None:
    """Whatever is refused, stdout holds one error object of the caller's version, and stderr nothing."""
    answer = pod.call(command, json.dumps({"cniVersion": "1.1.0"}).encode())

    assert answer.code == 1
    assert answer.json["cniVersion"] == "1.1.0"
    assert answer.stderr == b""
