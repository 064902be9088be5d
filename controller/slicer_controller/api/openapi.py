"""The OpenAPI document."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any


def openapi_document(roles: Collection[str]) -> dict[str, Any]:
    """OpenAPI 3.1."""
    return {"openapi": "3.1.0", "info": {"title": "Slicer", "version": "1"}, "paths": {}, "x-roles": sorted(roles)}
