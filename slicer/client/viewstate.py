"""What a client knows of a view, line by line: the epoch rule, without sockets.

"A source not heard of means keep the last": a document that is missing from a whole view is removed only if the view is
of the epoch from which the client had the document; one from an earlier epoch goes only by its own `removed` line.
"""

from __future__ import annotations

import json
from typing import Any


class ViewState:
    """The documents of a view as JSON, the place in the stream, and the whole view that is just coming in."""

    def __init__(
        self,
        epoch: str = "",
        revision: int = 0,
        documents: dict[str, Any] | None = None,
        inherited: frozenset[str] = frozenset(),
    ) -> None:
        self.epoch, self.revision = epoch, revision
        self.documents: dict[str, Any] = documents or {}
        self.inherited = set(inherited)
        """Keys of documents that the present epoch has never named: kept, whatever a whole view lacks."""
        self._coming: dict[str, Any] | None = None
        self._coming_epoch = ""

    @classmethod
    def parse(cls, data: bytes | None) -> ViewState:
        """The state that `render` wrote; an empty one if there is none or it is damaged (then the server is asked)."""
        try:
            kept = json.loads(data or b"")
            return cls(kept["epoch"], kept["revision"], kept["documents"], frozenset(kept["inherited"]))
        except (ValueError, KeyError, TypeError):
            return cls()

    def render(self) -> bytes:
        """The state as it lies on disk."""
        kept = {
            "epoch": self.epoch,
            "revision": self.revision,
            "documents": dict(self.documents),
            "inherited": sorted(self.inherited),
        }
        return json.dumps(kept).encode()

    def resume_params(self) -> dict[str, str]:
        """What to ask the server for: the changes since the last line that was applied."""
        self._coming = None
        return {"since": str(self.revision), "epoch": self.epoch} if self.epoch else {}

    def apply(self, line: dict[str, Any]) -> bool:
        """Take one line of the stream; whether the documents are other ones now."""
        if "epoch" in line:
            self._begin(line)
            return False
        if line.get("synced"):
            return self._end(line)
        changed = self._change(line) if "key" in line else False
        if self._coming is None:
            self.revision = line["revision"]
        return changed

    def _begin(self, line: dict[str, Any]) -> None:
        self._coming_epoch = line["epoch"]
        self._coming = None if line.get("resumed") else {}

    def _change(self, line: dict[str, Any]) -> bool:
        key = line["key"]
        if line.get("removed"):
            if self._coming is not None:
                self._coming.pop(key, None)
            self.inherited.discard(key)
            return self.documents.pop(key, None) is not None
        if self._coming is not None:
            self._coming[key] = line["value"]
            return False
        self.inherited.discard(key)
        return self._put(key, line["value"])

    def _put(self, key: str, value: Any) -> bool:
        if self.documents.get(key) == value:
            return False
        self.documents = {**self.documents, key: value}
        return True

    def _end(self, line: dict[str, Any]) -> bool:
        """The whole view is there: it takes the old one's place, but for what may only go by name."""
        changed = self.epoch == ""
        if self._coming is not None:
            known = self._known_to_stay()
            self.inherited = known.keys() - self._coming.keys()
            whole = known | {key: self._keep_same(key, value) for key, value in self._coming.items()}
            changed = changed or whole != self.documents
            self.documents, self._coming = whole, None
        self.epoch, self.revision = self._coming_epoch or self.epoch, line["revision"]
        return changed

    def _known_to_stay(self) -> dict[str, Any]:
        if self._coming_epoch != self.epoch:
            return dict(self.documents)
        return {key: value for key, value in self.documents.items() if key in self.inherited}

    def _keep_same(self, key: str, value: Any) -> Any:
        """The object already held if it is equal, so that nothing is decoded again."""
        held = self.documents.get(key)
        return held if held == value else value
