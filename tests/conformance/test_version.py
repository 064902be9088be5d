"""Version negotiation: lines V1 to V6 of the black-box list (V7 is in test_result.py)."""

from __future__ import annotations

import pytest

from tests.conformance.node import VERSIONS, Pod, configuration

pytestmark = pytest.mark.root


def test_V1_version_with_empty_stdin(pod: Pod) -> None:
    """VERSION needs nothing on stdin."""
    assert pod.call("VERSION", b"").ok().json["cniVersion"] == "1.1.0"


def test_V2_exact_keys(pod: Pod) -> None:
    """VERSION says the caller's version and the supported ones, and nothing else."""
    answer = pod.call("VERSION", b'{"cniVersion": "1.0.0"}', interface="dummy", CNI_NETNS="dummy").ok()

    assert answer.json == {"cniVersion": "1.0.0", "supportedVersions": list(VERSIONS)}


def test_V2_needs_no_agent(pod: Pod) -> None:
    """VERSION is answered while the agent is down."""
    pod.node.stop()

    assert pod.call("VERSION", b"").ok().json["supportedVersions"] == list(VERSIONS)


@pytest.mark.parametrize("version", ["0.1.0", "0.2.0", "2.0.0", "1.2.0"])
def test_V3_unsupported_version(pod: Pod, version: str) -> None:
    """A version that we do not speak is code 1; the details name it and all that we do."""
    answer = pod.add(configuration(version))

    answer.error(1)
    assert f'config is "{version}"' in answer.json["details"]
    assert all(supported in answer.json["details"] for supported in VERSIONS)


def test_V4_missing_version(pod: Pod) -> None:
    """A missing cniVersion means 0.1.0, which is not supported: code 1."""
    answer = pod.add({key: value for key, value in configuration().items() if key != "cniVersion"})

    answer.error(1)
    assert '"0.1.0"' in answer.json["details"]


@pytest.mark.parametrize("version", ["1.x.y", "one", 1, "1.1.0.0"])
def test_V5_unparsable_version(pod: Pod, version: object) -> None:
    """A cniVersion that is no version is code 6 and is shown."""
    assert repr(version) in pod.add(configuration(version)).error(6)


def test_V6_check_before_0_4_0(pod: Pod) -> None:
    """CHECK does not exist before 0.4.0: code 1."""
    pod.call("CHECK", configuration("0.3.1", prevResult={})).error(1)


@pytest.mark.parametrize("command", ["GC", "STATUS"])
def test_V6_gc_and_status_before_1_1_0(pod: Pod, command: str) -> None:
    """GC and STATUS do not exist before 1.1.0: code 1."""
    pod.call(command, configuration("1.0.0")).error(1)
