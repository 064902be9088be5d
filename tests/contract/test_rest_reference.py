"""docs/reference/rest.md against a real controller: every example runs, every path and reason is there."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs/reference/rest.md").read_text()
EXAMPLES = [
    line for block in re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL) for line in block.splitlines() if "curl" in line
]

DRAIN = next(line for line in EXAMPLES if "$HUB/v1/drains -d" in line)
"""The first example that needs what a member allocates by itself, a little after the slice was made."""
PLANS = ("allocation", "draining", "rotation")


def test_every_example_works(plane: Any, make_attachment: Any) -> None:
    """Run one after another by a shell, with curl, against a hub with clusters a and b: all succeed."""
    for name in "ab":
        plane.member(name)
    agent = plane.agent("a", "a-n1")
    agent.report(make_attachment("a", "a-n1", "web-0", "10.7.4.5"))
    with plane.hub.api() as api:
        for line in api.watch("attachments"):
            if line["type"] == "put":
                break
    script = "\n".join(f"{example} --fail-with-body --silent --show-error >>out || exit 9" for example in EXAMPLES)
    gateways = 'curl --silent --cacert $CA -H "Authorization: Bearer $TOKEN" $HUB/v1/gateways'
    script = f"wait_for_gateway() {{ until {gateways} | grep -q a-n1; do :; done; }}\n" + script.replace(
        "\n" + DRAIN, "\nwait_for_gateway\n" + DRAIN, 1
    )
    environment = os.environ | {
        "HUB": plane.hub.url,
        "CA": str(plane.hub.directory / "ca.pem"),
        "TOKEN": (plane.hub.directory / "admin.token").read_text().strip(),
    }

    done = subprocess.run(
        ["sh", "-xc", script], env=environment, cwd=plane.directory, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr[-2000:] + (plane.directory / "out").read_text()[-500:]
    assert len(EXAMPLES) > 30
    assert "+ wait_for_gateway\n" in done.stderr


def test_every_path_is_in_the_reference() -> None:
    """Each path of the OpenAPI document is named, and users' paths have an example for each method."""
    from slicer_controller.api.openapi import openapi_document

    examples = "\n".join(EXAMPLES)
    for path, item in openapi_document({"hub", "member"})["paths"].items():
        pattern = re.sub(r"\{\w+\}", r"[\\w{}-]+", path)
        assert re.search(pattern, TEXT), path
        if path.startswith(("/v1/slices", "/v1/clusters", "/v1/memberships", "/v1/exports", "/v1/pings", "/v1/drains")):
            for method in {"get", "put", "patch", "delete"} & item.keys():
                verb = "" if method == "get" else f"-X {method.upper()} "
                assert re.search(verb + r'"?\$HUB' + pattern + r'(["? ]|$)', examples, re.MULTILINE), (method, path)


def test_every_reason_is_in_the_reference() -> None:
    """No `reason` in the controller's or the model's source is missing from the table of errors.

    Those of the Kubernetes side are conditions of objects too, which have a table of their own.
    """
    kube = ROOT / "controller/slicer_controller/kube"
    sources = [path for path in (ROOT / "controller").rglob("*.py") if not path.is_relative_to(kube)]
    sources += [ROOT / "slicer/model/errors.py", *(ROOT / f"slicer/plan/{name}.py" for name in ("validation", *PLANS))]
    conditions = (ROOT / "docs/reference/custom-resources.md").read_text()

    assert missing_reasons(sources, TEXT) == set()
    assert missing_reasons(list(kube.glob("*.py")), TEXT + conditions) == set()


def missing_reasons(sources: list[Path], text: str) -> set[str]:
    """Those that the sources give and the text does not name."""
    reasons = {r for path in sources for r in re.findall(r'reason\s*=\s*"([A-Za-z]+)"', path.read_text())}
    assert reasons
    return {reason for reason in reasons - {"Error"} if f"`{reason}`" not in text}
