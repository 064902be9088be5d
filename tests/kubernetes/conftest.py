"""The clusters of the session. Slicer is installed into them once, by the two commands that users give."""

from __future__ import annotations

import pytest

from tests.kubernetes.lab.cluster import Options, make_lab
from tests.kubernetes.lab.control import running_apiserver
from tests.kubernetes.traces import traces
from tests.kubernetes.world import KubernetesWorld
from tools import images
from tools.run import ROOT

IMAGES = ROOT / "dist/images"
"""Made of this clone by `make test-kubernetes`: that needs the network, which the sandbox of the tests has not."""


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
def world(clusters, before):
    """Slicer in both clusters: images of this clone, one `slicectl install` for each cluster."""
    archives = [IMAGES / f"{image.name}.tar" for image in images.IMAGES]
    missing = [str(archive) for archive in archives if not archive.exists()]
    assert not missing, f"missing: {' '.join(missing)}; run `python -m tools.images`"
    for archive in archives:
        clusters.load(archive)
    found = KubernetesWorld(clusters)
    found.install()
    return found


@pytest.fixture
def apiserver():
    """A fresh API server on loopback, without controllers and nodes."""
    with running_apiserver() as server:
        yield server
