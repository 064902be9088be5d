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
    """A failure of a test marked `counts_losses` counts only if the machine itself dropped nothing meanwhile.

    All namespaces of a machine share one short queue a processor (net.core.netdev_max_backlog), and whoever floods it
    makes the kernel drop everybody's packets. It counts these: then there is another try.
    """
    if item.get_closest_marker("counts_losses") is None:
        return None
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    for attempt in range(1, TRIES + 1):
        before = _dropped()
        reports = runtestprotocol(item, log=False, nextitem=nextitem)
        failed, dropped = [report for report in reports if report.failed], _dropped() - before
        if not failed or not dropped or attempt == TRIES:
            break
        print(f"\n{item.nodeid}, try {attempt}: the kernel's queue dropped {dropped} packets; {failed[0].longreprtext}")
        item._initrequest()  # type: ignore[attr-defined]  # pytest has no public way to run an item again
    for report in reports:
        item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True


def _dropped() -> int:
    """Packets that the machine's processors have dropped so far, their queues being full."""
    return sum(int(line.split()[1], 16) for line in Path("/proc/net/softnet_stat").read_text().splitlines())


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The tests in the lab come last: the lab that they share runs beside no others then. Within, order is random."""
    items.sort(key=lambda item: item.path.is_relative_to(E2E))
