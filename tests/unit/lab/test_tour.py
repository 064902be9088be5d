"""A demonstration says only what holds (slicer.lab.tour)."""

from __future__ import annotations

import pytest

from slicer.lab.tour import WIDTH, ClaimError, Tour


def test_a_claim_that_does_not_hold_ends_the_tour():
    """claim() raises with what was seen instead, and prints nothing that looks like success."""
    with pytest.raises(ClaimError, match="does not hold: water is dry\n  seen instead: wet"):
        Tour(color=False).claim("water is dry", False, "wet")


def test_a_claim_that_holds_is_said_and_counted(capsys):
    """claim() prints the sentence with a check mark."""
    tour = Tour(color=False)

    tour.claim("water is wet", True)

    assert capsys.readouterr().out == "  ✔ water is wet\n"
    assert tour.claims == 1


def test_a_command_is_shown_as_typed_with_its_output(capsys):
    """run() prints the command line, quoted for a shell, and its output, and gives the output back."""
    output = Tour(color=False).run("echo", "two words", "--", "x")

    assert output == "two words -- x\n"
    assert capsys.readouterr().out == "  $ echo 'two words' -- x\n    two words -- x\n"


@pytest.mark.parametrize(("argv", "fails"), [(["false"], False), (["true"], True)])
def test_a_command_that_ends_otherwise_than_expected_ends_the_tour(argv, fails):
    """run() wants success, or failure where that is the point."""
    with pytest.raises(ClaimError, match="expected this to"):
        Tour(color=False).run(*argv, fails=fails)


def test_nothing_is_wider_than_the_terminal(capsys):
    """Sentences, claims and chapters are wrapped or filled to WIDTH."""
    tour = Tour(color=False)

    tour.chapter("A chapter")
    tour.tell("word " * 60)
    tour.claim("word " * 60, True)

    assert max(len(line) for line in capsys.readouterr().out.splitlines()) <= WIDTH
