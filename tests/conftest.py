"""For all tests: what a missing tool means (a failure, never a skip), and Hypothesis without clocks."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import hypothesis
import pytest
from _pytest.runner import runtestprotocol

E2E = Path(__file__).parent / "e2e"
ROOT_TOOLS = ("ip", "tc", "nft", "unshare", "nsenter", "ping")
"""What tests marked `root` call; tools/versions.toml names the packages."""
TRIES = 3
"""Of a test marked `counts_losses`."""

# A slow machine is no failure: nothing in the tests depends on how long something takes.
hypothesis.settings.register_profile("slicer", deadline=None, print_blob=True)
hypothesis.settings.load_profile("slicer")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """A test marked `root` fails, with the cure, where root or a tool is missing."""
    if item.get_closest_marker("root") is None:
        return
    missing = [tool for tool in ROOT_TOOLS if shutil.which(tool) is None]
    if os.geteuid() != 0 or missing:
        pytest.fail(f"needs root and {' '.join(missing) or 'nothing else'}: run `sudo make test`", pytrace=False)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    """A test marked `counts_losses` has three tries.

    wireguard-go and the counting programs drop packets where they get no processor time. What loses packets by itself
    loses them each time.
    """
    if item.get_closest_marker("counts_losses") is None:
        return None
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    reports = runtestprotocol(item, log=False, nextitem=nextitem)
    for attempt in range(2, TRIES + 1):
        if not any(report.failed for report in reports):
            break
        print(f"\n{item.nodeid} failed; try {attempt}: {reports[1].longreprtext.splitlines()[-1:]}")
        item._initrequest()  # type: ignore[attr-defined]  # pytest has no public way to run an item again
        reports = runtestprotocol(item, log=False, nextitem=nextitem)
    for report in reports:
        item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The tests in the lab come last: the lab that they share runs beside no others then. Within, order is random."""
    items.sort(key=lambda item: item.path.is_relative_to(E2E))
