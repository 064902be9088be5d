"""The clusters themselves: what the other tests take for granted about them."""

from __future__ import annotations

import json
import subprocess

import pytest

pytestmark = [pytest.mark.root, pytest.mark.timeout(600)]


def test_an_apiserver_alone_stores_and_forgets_nothing(apiserver):
    """What was written is there after both programs were killed and started again."""
    apiserver.kubectl("create", "configmap", "note", "--from-literal=text=kept")
    apiserver.stop()
    with pytest.raises(subprocess.CalledProcessError):
        apiserver.kubectl("get", "configmap", "note", "--request-timeout=2s")
    apiserver.start()

    assert json.loads(apiserver.kubectl("get", "configmap", "note", "-o", "json"))["data"] == {"text": "kept"}
