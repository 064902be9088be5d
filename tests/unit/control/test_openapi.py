"""The OpenAPI document against the application: schemathesis finds nothing, and no route is missing."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import schemathesis
from hypothesis import strategies as st
from schemathesis.config import SchemathesisConfig
from schemathesis.specs.openapi.checks import positive_data_acceptance

from slicer_controller.api.app import make_app
from slicer_controller.api.schemas import ADDRESS_FORMAT, PREFIX_FORMAT
from slicer_controller.running import build_context
from slicer_controller.store.memory import MemoryStore

# 10.0.0.0/8 and fd00::/16: a prefix that is a multicast one, or too small, is refused for its meaning, not its form.
PREFIXES = st.one_of(
    st.integers(0, 255).map(lambda n: f"10.{n}.0.0/16"), st.integers(0, 65535).map(lambda n: f"fd00:{n:x}::/48")
)
schemathesis.openapi.format(PREFIX_FORMAT, PREFIXES)
schemathesis.openapi.format(ADDRESS_FORMAT, st.ip_addresses().map(str))


def application() -> tuple[Any, str]:
    """A hub with things in it, so that some requests find what they name; and its token."""
    directory = Path(tempfile.mkdtemp())
    roles = frozenset({"hub"})
    clock = lambda: 1_800_000_000.0  # noqa: E731
    context = build_context(
        MemoryStore(clock=clock), directory, roles=roles, cluster="", url="https://192.0.2.1:7443", clock=clock
    )
    # A controller that is about to end lets each watch end after what is there: they would be endless otherwise.
    context.closing.set()
    return make_app(context), context.admin_token


APP, TOKEN = application()
ACCEPTED = [200, 201, 204, 401, 403, 404, 409, 410, 412]
CONFIG = SchemathesisConfig.from_dict(
    {
        "auth": {"openapi": {"user": {"bearer": TOKEN}}},
        "checks": {"positive_data_acceptance": {"expected-statuses": ACCEPTED}},
    }
)
SCHEMA = schemathesis.openapi.from_asgi("/openapi.json", APP, config=CONFIG)


def _links_nothing(spec: dict[str, Any]) -> bool:
    """Whether its topology is empty, or speaks of other clusters than the slice may have."""
    topology = spec.get("topology")
    return isinstance(topology, dict) and bool(
        spec.get("clusters") or not (topology.get("hubs") or topology.get("links"))
    )


def _means_nothing(spec: dict[str, Any]) -> bool:
    qos = spec.get("qos")
    rates = [qos.get("guarantee_bps"), qos.get("ceiling_bps")] if isinstance(qos, dict) else []
    numbers = [rate for rate in rates if isinstance(rate, int | float)]
    ports = [p.get("name", "") for p in spec.get("ports") or [] if isinstance(p, dict)] if "ports" in spec else []
    paces = spec["bandwidth"] if isinstance(spec.get("bandwidth"), dict) else {}
    families = [":" in p for p in spec.get("prefixes") or [] if isinstance(p, str)]
    return bool(
        _links_nothing(spec)
        or (len(numbers) == 2 and numbers[0] > numbers[1])
        or len(ports) != len(set(map(str, ports)))
        or len(families) != len(set(families))
        or (spec.get("pod") and spec.get("labels"))
        or ((spec.get("addresses") or spec.get("mac")) and not spec.get("pod"))
        or any(paces.get(f"{way}_burst_bits") and not paces.get(f"{way}_bps") for way in ("ingress", "egress"))
    )


@SCHEMA.parametrize()
@pytest.mark.timeout(300)
@hypothesis.settings(
    max_examples=8, derandomize=True, deadline=None, suppress_health_check=list(hypothesis.HealthCheck)
)
def test_schemathesis_finds_nothing(case: Any) -> None:
    """Every operation does what the document says with right and wrong input, and answers with what it promises."""
    spec = case.body.get("spec") if isinstance(case.body, dict) else None
    # What is well formed and means nothing (rules between fields, which JSON Schema cannot say) may be 422.
    excluded = [positive_data_acceptance] if isinstance(spec, dict) and _means_nothing(spec) else []
    case.call_and_validate(excluded_checks=excluded)


def test_every_route_is_documented() -> None:
    """The application has no path or method that the document does not have, and none is only in the document."""
    routes = {(r.path, m.lower()) for r in APP.routes if hasattr(r, "methods") for m in r.methods}

    documented = {
        (path, method) for path, item in SCHEMA.raw_schema["paths"].items() for method in item if method != "parameters"
    }

    assert documented == routes
