"""The epoch rule: what is not heard of is kept, unless the memory that told of it is asked and lacks it."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from slicer.client.viewstate import ViewState


def feed(state: ViewState, epoch: str, revision: int, *lines: dict[str, Any], resumed: bool = False) -> bool:
    """One connection up to `synced`; whether the documents are other ones."""
    changed = state.apply({"epoch": epoch, "revision": revision, "resumed": resumed})
    for line in lines:
        changed |= state.apply({"revision": revision, **line})
    return changed | state.apply({"synced": True, "revision": revision})


def put(key: str, value: Any = 1) -> dict[str, Any]:
    """A document's line."""
    return {"key": key, "value": value}


def test_a_whole_view_of_the_same_epoch_replaces_the_last() -> None:
    """What the same memory does not name any more is gone."""
    state = ViewState()
    feed(state, "e1", 2, put("a"), put("b"))

    assert feed(state, "e1", 5, put("b", 2), put("c"))

    assert state.documents == {"b": 2, "c": 1}
    assert state.resume_params() == {"since": "5", "epoch": "e1"}


def test_a_whole_view_of_another_epoch_removes_nothing() -> None:
    """A server that lost its memory adds and changes, and only its `removed` lines remove."""
    state = ViewState()
    feed(state, "e1", 9, put("a"), put("b"), put("c"))

    feed(state, "e2", 1, put("b", 2), {"key": "c", "removed": True})

    assert state.documents == {"a": 1, "b": 2}


def test_what_another_epoch_told_outlives_later_whole_views() -> None:
    """A document that the new memory never named is kept until it does; then it is like all others."""
    state = ViewState()
    feed(state, "e1", 9, put("a"), put("b"))
    feed(state, "e2", 1)
    state = ViewState.parse(state.render())

    feed(state, "e2", 2, put("b"))
    assert state.documents == {"a": 1, "b": 1}
    feed(state, "e2", 3)

    assert state.documents == {"a": 1}
    state.apply({"key": "a", "revision": 4, "removed": True})
    assert state.documents == {}


def test_a_resumed_stream_only_changes() -> None:
    """After `resumed` nothing is removed but by name, and the revision moves on with each line."""
    state = ViewState()
    feed(state, "e1", 2, put("a"), put("b"))

    feed(state, "e1", 3, put("b", 2), resumed=True)
    state.apply({"keepalive": True, "revision": 7})

    assert state.documents == {"a": 1, "b": 2}
    assert state.revision == 7


def test_a_stream_that_breaks_before_synced_changes_nothing() -> None:
    """Half of a whole view is not a view."""
    state = ViewState()
    feed(state, "e1", 2, put("a"))
    state.apply({"epoch": "e1", "revision": 9, "resumed": False})
    state.apply({"key": "b", "revision": 9, "value": 1})

    assert state.resume_params() == {"since": "2", "epoch": "e1"}
    assert state.documents == {"a": 1}
    feed(state, "e1", 10, put("c"))
    assert state.documents == {"c": 1}


def test_the_first_view_is_a_change_even_if_it_is_empty() -> None:
    """Having a view of nothing is different from having no view."""
    assert feed(ViewState(), "e1", 0)


def test_a_damaged_file_is_like_none() -> None:
    """The server is asked for everything then."""
    for data in (None, b"", b"{", b"[]", b'{"epoch": "e"}'):
        state = ViewState.parse(data)
        assert (state.documents, state.resume_params()) == ({}, {})


DOCUMENTS = st.dictionaries(st.sampled_from("abcd"), st.integers(0, 2))


@given(st.lists(st.tuples(st.sampled_from(["e1", "e2"]), DOCUMENTS), min_size=1, max_size=6))
def test_after_any_history_the_last_view_is_in_it(history: Any) -> None:
    """Whatever came before: the documents of the last whole view are there with its values, over restarts too."""
    state = ViewState()
    for revision, (epoch, documents) in enumerate(history):
        feed(state, epoch, revision, *(put(key, value) for key, value in documents.items()))
        state = ViewState.parse(state.render())

        assert documents.items() <= state.documents.items()
        extra = state.documents.keys() - documents.keys()
        assert extra == state.inherited
        if revision == 0:
            assert not extra
