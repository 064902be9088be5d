"""Reading requests: query, headers and bodies, each refused with a message that names the field and shows the text."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request

from slicer.client.codec import FieldError, FieldsError
from slicer.model.errors import InvalidError

BODY_MAX_BYTES = 1 << 20
"""A resource is a few hundred bytes."""
REPORT_MAX_BYTES = 64 << 20
"""The whole report of a large cluster: 25 000 attachments of 600 bytes, four times over."""
PAGE_MAX = 500
_FLAGS: Mapping[str, bool] = {"true": True, "false": False}
_SINCE_MAX = 1 << 53
"""Revisions are exact in every JSON reader up to here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """The parameters of a request; those that a path does not know are refused."""

    watch: bool = False
    since: int | None = None
    epoch: str = ""
    limit: int = 100
    after: str = ""
    """Decoded from `continue`: list what comes after this name."""
    dry_run: bool = False
    force: bool = False
    slice: str = ""
    cluster: str = ""


def parse_query(request: Request, allowed: Collection[str] = ()) -> Query:
    """The parameters of the request; InvalidError for an unknown, repeated or wrong one."""
    pairs = request.query_params.multi_items()
    values: dict[str, Any] = {}
    for name, text in pairs:
        if name not in allowed:
            raise _wrong(name, f"there is no such parameter here; there are {', '.join(sorted(allowed)) or 'none'}")
        field, parse = _PARSERS[name]
        if field in values:
            raise _wrong(name, "given twice")
        values[field] = parse(name, text)
    return Query(**values)


def parse_if_match(request: Request) -> int | None:
    """The revision in `If-Match: "<revision>"` (RFC 9110 section 13.1.1); None if there is none or it is `*`."""
    text = request.headers.get("if-match")
    if text is None or text.strip() == "*":
        return None
    number = text.strip().strip('"')
    if not (number.isascii() and number.isdigit()) or len(number) > 16:
        raise _wrong("If-Match", f'give a revision like "12", not {text!r}')
    return int(number)


async def read_json(request: Request, limit: int = BODY_MAX_BYTES) -> Any:
    """The JSON body; InvalidError if it is too large, none, or not JSON (RFC 8259: no NaN, no lone surrogates)."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise InvalidError(f"the body has more than {limit} bytes", reason="TooLarge")
    try:
        return json.loads(body, parse_constant=_no_constant, parse_float=_number_of)
    except (ValueError, RecursionError) as error:
        raise InvalidError(f"the body is not JSON: {error}") from None


async def read_object(request: Request, fields: Mapping[str, bool], limit: int = BODY_MAX_BYTES) -> dict[str, Any]:
    """The JSON object in the body, with these fields (name → required) and no others."""
    body = await read_json(request, limit)
    if not isinstance(body, dict):
        raise _wrong("", "give a JSON object")
    errors = [FieldError(field=name, message="there is no such field") for name in sorted(body.keys() - fields.keys())]
    missing = [name for name, required in fields.items() if required and name not in body]
    errors += [FieldError(field=name, message="the field is missing") for name in missing]
    if errors:
        raise FieldsError("body", tuple(errors))
    return body


def render_continue(name: str) -> str:
    """The token after which a list goes on: the name, as hex."""
    return name.encode().hex()


def _number_of(text: str) -> float:
    """A number with a point or exponent; `70.0` is the integer 70, as JSON Schema has it (section 6.1.1)."""
    number = float(text)
    return int(number) if number.is_integer() else number


def _no_constant(text: str) -> Any:
    raise ValueError(f"{text} is not a JSON number")


def _wrong(name: str, message: str) -> FieldsError:
    return FieldsError("request", (FieldError(field=name, message=message),))


def _flag(name: str, text: str) -> bool:
    if text not in _FLAGS:
        raise _wrong(name, f"give true or false, not {text[:40]!r}")
    return _FLAGS[text]


def _number(low: int, high: int) -> Callable[[str, str], int]:
    def parse(name: str, text: str) -> int:
        digits = text.isascii() and text.isdigit() and len(text) <= 16
        if not digits or not low <= int(text) <= high:
            raise _wrong(name, f"give a number from {low} to {high}, not {text[:40]!r}")
        return int(text)

    return parse


def _text(_: str, text: str) -> str:
    return text


def _continue(name: str, text: str) -> str:
    try:
        return bytes.fromhex(text).decode(errors="replace")
    except ValueError:
        raise _wrong(name, f"{text[:40]!r} did not come from a list of this controller") from None


_PARSERS: Mapping[str, tuple[str, Callable[[str, str], Any]]] = {
    "watch": ("watch", _flag),
    "since": ("since", _number(0, _SINCE_MAX)),
    "epoch": ("epoch", _text),
    "limit": ("limit", _number(1, PAGE_MAX)),
    "continue": ("after", _continue),
    "dry_run": ("dry_run", _flag),
    "force": ("force", _flag),
    "slice": ("slice", _text),
    "cluster": ("cluster", _text),
}
