"""The clusters of the session. Slicer is installed into them once, by the two commands that users give."""

from __future__ import annotations

import pytest

from tests.kubernetes.lab.cluster import Options, make_lab
from tests.kubernetes.lab.control import running_apiserver
from tests.kubernetes.traces import traces
from tests.kubernetes.world import KubernetesWorld
from tools import images


@pytest.fixture(scope="session")
def clusters():
    """Clusters a and b without Slicer, of two nodes each, with Multus; taken down at the end of the session."""
    lab = make_lab(Options())
    try:
        lab.up()
        yield lab
    finally:
        lab.down()


@pytest.fixture(scope="session")
def before(clusters):
    """What the clusters looked like before Slicer came."""
    return traces(clusters)


@pytest.fixture(scope="session")
def world(clusters, before, tmp_path_factory):
    """Slicer in both clusters: images of this clone, one `slicectl install` for each cluster."""
    directory = tmp_path_factory.mktemp("images")
    for archive in images.build(directory):
        clusters.load(archive)
    found = KubernetesWorld(clusters)
    found.install()
    return found


@pytest.fixture
def apiserver():
    """A fresh API server on loopback, without controllers and nodes."""
    with running_apiserver() as server:
        yield server
