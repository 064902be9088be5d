"""The JSON form of the model's values: the one definition that REST, views, reports and files share.

Called wherever a value crosses a boundary. Strict: unknown fields, text for a number and the like are refused, naming
the field and the offending text. Label sets (`labels`, `selector`) are JSON objects; everything else is the dataclass
field by field, addresses and prefixes as text.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import ConfigDict, TypeAdapter, ValidationError

from slicer.model.documents import Document, Documents, kind_of
from slicer.model.errors import InvalidError

T = TypeVar("T")
LABEL_SETS = ("labels", "selector")
"""Fields that are pairs in the model and objects in JSON."""
_ADAPTERS: dict[type, TypeAdapter[Any]] = {}
_TEXT_MAX = 80
"""Characters of an offending text that a message shows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldError:
    """One thing that is wrong with an input; `field` is a dotted path, empty for the whole."""

    field: str
    message: str


class FieldsError(InvalidError):
    """An input with wrong fields; `errors` has all of them, the message the first."""

    def __init__(self, what: str, errors: tuple[FieldError, ...]) -> None:
        first = errors[0]
        place = f"{what} {first.field}" if first.field else what
        more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
        super().__init__(f"{place}: {first.message}{more}")
        self.errors = errors


def adapter(type_: type) -> TypeAdapter[Any]:
    """The pydantic adapter for lists of `type_`: only a list passes its strictness on to a plain dataclass."""
    if type_ not in _ADAPTERS:
        _ADAPTERS[type_] = _make_adapter(type_)
    return _ADAPTERS[type_]


def _make_adapter(type_: Any) -> TypeAdapter[Any]:
    return TypeAdapter(list[type_], config=ConfigDict(extra="forbid", strict=True))


def encode(value: object) -> Any:
    """`value` (a value of the model) as JSON-able dicts, lists and texts."""
    data = adapter(type(value)).dump_python([value], mode="json")[0]
    if isinstance(data, dict):
        for name in LABEL_SETS:
            if name in data:
                data[name] = dict(data[name])
    return data


def decode(type_: type[T], data: Any) -> T:
    """The value of `type_` that `data` writes; FieldsError (an InvalidError) if it writes none."""
    data = _pairs(type_, data)
    try:
        values: list[T] = adapter(type_).validate_json(json.dumps([data]))
    except ValidationError as error:
        raise FieldsError(type_.__name__, tuple(_field_errors(error, data))) from None
    except (RecursionError, UnicodeEncodeError) as error:
        raise InvalidError(f"{type_.__name__}: {error}") from None
    return values[0]


def encode_documents(documents: Documents) -> dict[str, Any]:
    """A view or a report as JSON."""
    return {key: encode(value) for key, value in documents.items()}


def decode_documents(data: Mapping[str, Any]) -> dict[str, Document]:
    """The documents that `data` writes; the kind in the key tells the type."""
    return {key: decode_document(key, value) for key, value in data.items()}


def decode_document(key: str, data: Any) -> Document:
    """The value under `key`; InvalidError for an unknown kind or a wrong value."""
    return decode(kind_of(key), data)


def _pairs(type_: type, data: Any) -> Any:
    if not isinstance(data, Mapping):
        return data
    fields = getattr(type_, "__dataclass_fields__", {})
    changed = {name: _pairs_of(name, data[name]) for name in LABEL_SETS if name in data and name in fields}
    return {**data, **changed}


def _pairs_of(name: str, labels: Any) -> list[list[Any]]:
    if isinstance(labels, Mapping):
        return [[key, value] for key, value in sorted(labels.items())]
    error = FieldError(field=name, message=f"give an object of label names and values, not {_shown(labels)}")
    raise FieldsError("field", (error,))


def _field_errors(error: ValidationError, data: Any) -> Iterator[FieldError]:
    seen = set()
    for item in error.errors(include_url=False):
        path = tuple(part for part in item["loc"][1:] if isinstance(part, int) or part.isidentifier())
        if _other_family(item):
            continue
        field = ".".join(map(str, path)) or _unknown_name(item["loc"])
        if field in seen and path:
            continue
        seen.add(field)
        yield FieldError(field=field, message=_message(item, whole=item["input"] == data))


def _other_family(item: Any) -> bool:
    """Whether this is IPv4's complaint about a text that means IPv6: pydantic tries both and tells both."""
    return isinstance(item["input"], str) and ":" in item["input"] and "v4" in str(item["loc"][-1:])


def _unknown_name(loc: tuple[int | str, ...]) -> str:
    """The text of an unknown field's name that is no identifier."""
    return str(loc[-1])[:_TEXT_MAX] if len(loc) > 1 else ""


def _message(item: Any, *, whole: bool) -> str:
    cause = item.get("ctx", {}).get("error")
    if isinstance(cause, InvalidError):
        return cause.message
    if item["type"] == "unexpected_keyword_argument":
        return "there is no such field"
    if item["type"] in {"missing", "missing_argument", "missing_keyword_only_argument"}:
        return "the field is missing"
    text = str(cause) if cause is not None else str(item["msg"])
    return text if whole else f"{text} (given: {_shown(item['input'])})"


def _shown(value: Any) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= _TEXT_MAX else text[: _TEXT_MAX - 1] + "…"
