"""The lab's command line: what belongs to the lab and what to the command that `exec` runs."""

from __future__ import annotations

import pytest

from slicer.lab import layout, state
from slicer.lab.__main__ import _parse


@pytest.mark.parametrize(
    ("line", "name", "where", "command"),
    [
        ("exec web -- id", "only", "web", ["id"]),
        ("exec web --name x -- id --name y", "x", "web", ["id", "--name", "y"]),
        ("exec --name x web -- ping -c 2 -- z", "x", "web", ["ping", "-c", "2", "--", "z"]),
        ("exec web id", "only", "web", ["id"]),
    ],
)
def test_what_follows_the_first_dashes_is_the_command(line, name, where, command, monkeypatch):
    """Options before `--` are the lab's, wherever they stand; nothing behind it is touched."""
    monkeypatch.setattr(state, "names", lambda: ["only"])
    monkeypatch.delenv("SLICER_LAB", raising=False)
    given = _parse(line.split())

    assert (name, where, command) == (given.name, given.where, given.argv)


@pytest.mark.parametrize("command", ["up", "down", "demo"])
def test_what_makes_or_ends_a_lab_never_guesses_its_name(command, monkeypatch):
    """A lab that happens to be the only one is not ended by a `down` that named none."""
    monkeypatch.setattr(state, "names", lambda: ["somebodys"])
    monkeypatch.delenv("SLICER_LAB", raising=False)

    assert _parse([command]).name == layout.DEFAULT_NAME


def test_an_unknown_option_of_another_command_is_refused(capsys):
    """Only `exec` takes words that the lab does not know."""
    with pytest.raises(SystemExit):
        _parse(["status", "--colour"])

    assert "--colour" in capsys.readouterr().err
