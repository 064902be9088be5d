"""Which hub slicectl talks to."""

from __future__ import annotations

from pathlib import Path

import pytest

from slicer.cli import config
from slicer.cli.config import Config, Context, choose, parse_config, render_config
from slicer.model.errors import InvalidError, NotFoundError

TEXT = """
current-context: one
contexts:
- name: one
  server: https://one:8443
  ca: ca.pem
  token-file: /etc/token
- name: two
  server: https://two:8443
  token: secret
"""


def written(path: Path, text: str = TEXT) -> dict[str, str]:
    """An environment whose configuration file holds `text`."""
    path.write_text(text)
    return {"SLICER_CONFIG": str(path)}


def lab(root: Path, name: str, netns: str = "/proc/self/ns/net") -> None:
    """A running lab's context file."""
    (root / name).mkdir()
    context = f"- name: {name}\n  server: https://198.18.0.10:8443\n  netns: {netns}\n"
    (root / name / "slicectl.yaml").write_text(f"current-context: {name}\ncontexts:\n{context}")


def test_relative_paths_are_relative_to_the_file() -> None:
    """Absolute ones stay."""
    one = parse_config(Path("/x/y/config.yaml"), TEXT).contexts[0]

    assert (one.ca, one.token_file) == (Path("/x/y/ca.pem"), Path("/etc/token"))


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    """render_config and parse_config are inverse; the file is its owner's only."""
    before = Config(
        path=tmp_path / "sub" / "config.yaml",
        current="two",
        contexts=(Context(name="two", server="https://h:1", token="s", netns=Path("/run/netns/x")),),
    )
    config.save(before)

    assert config.load(before.path) == before
    assert parse_config(before.path, render_config(before)) == before
    assert before.path.stat().st_mode & 0o777 == 0o600
    assert [p.name for p in before.path.parent.iterdir()] == ["config.yaml"]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[", "is not YAML"),
        ("- a", "expected `current-context` and a list"),
        ("contexts: {}", "expected `current-context` and a list"),
        ("context: x", "unknown key 'context'; known are contexts, current-context"),
        ("contexts: [{name: a}]", "needs `name` and `server`"),
        ("contexts: [a]", "needs `name` and `server`"),
        ("contexts: [{name: a, server: b, tokn: c}]", "unknown key 'tokn'"),
        ("contexts: [{name: a, server: b}, {name: a, server: b}]", "context names a, a are not unique"),
    ],
)
def test_a_wrong_file_is_refused_by_name(text: str, why: str) -> None:
    """The message names the file and what is wrong in it."""
    with pytest.raises(InvalidError, match=why) as refused:
        parse_config(Path("/etc/x.yaml"), text)

    assert refused.value.message.startswith("/etc/x.yaml")


def test_a_token_does_not_print_itself() -> None:
    """Neither in a context nor in a whole configuration."""
    parsed = parse_config(Path("/x.yaml"), TEXT)

    assert "secret" not in repr(parsed)


def test_the_current_context_is_used(tmp_path: Path) -> None:
    """Until --context or SLICER_CONTEXT names another."""
    environ = written(tmp_path / "c.yaml")

    assert choose(environ, lab_root=tmp_path).name == "one"
    assert choose(environ, name="two", lab_root=tmp_path).name == "two"
    assert choose({**environ, "SLICER_CONTEXT": "two"}, lab_root=tmp_path).name == "two"


def test_single_values_are_replaced(tmp_path: Path) -> None:
    """--ca and --token-file change the context; a token file takes the place of a token."""
    found = choose(
        written(tmp_path / "c.yaml"), name="two", ca=Path("/o.crt"), token_file=Path("/t"), lab_root=tmp_path
    )

    assert (found.server, found.ca, found.token, found.token_file) == (
        "https://two:8443",
        Path("/o.crt"),
        None,
        Path("/t"),
    )


def test_a_server_alone_needs_no_file(tmp_path: Path) -> None:
    """The file's contexts do not count then, whatever stands in it."""
    found = choose(written(tmp_path / "c.yaml", "["), server="https://h:1", ca=Path("/ca"), lab_root=tmp_path)

    assert found == Context(name="command line", server="https://h:1", ca=Path("/ca"))


def test_the_only_running_lab_is_found(tmp_path: Path) -> None:
    """Without a file; a lab whose machines are gone does not count."""
    lab(tmp_path, "lab1")
    lab(tmp_path, "dead", netns="/proc/0/ns/net")

    assert choose({"HOME": str(tmp_path)}, lab_root=tmp_path).name == "lab1"


def test_two_labs_are_a_question(tmp_path: Path) -> None:
    """The error lists them; --context answers it, also past the file."""
    lab(tmp_path, "lab1")
    lab(tmp_path, "lab2")

    with pytest.raises(InvalidError, match="several contexts are possible: lab1, lab2"):
        choose({"HOME": str(tmp_path)}, lab_root=tmp_path)
    assert choose(written(tmp_path / "c.yaml"), name="lab2", lab_root=tmp_path).name == "lab2"


def test_slicer_lab_says_which_of_several_labs(tmp_path: Path) -> None:
    """As for the lab's own commands; a file, a name that does not run and --context go before it."""
    lab(tmp_path, "lab1")
    lab(tmp_path, "lab2")
    home = {"HOME": str(tmp_path)}

    assert choose({**home, "SLICER_LAB": "lab2"}, lab_root=tmp_path).name == "lab2"
    assert choose({**home, "SLICER_LAB": "lab2"}, name="lab1", lab_root=tmp_path).name == "lab1"
    assert choose({**written(tmp_path / "c.yaml"), "SLICER_LAB": "lab2"}, lab_root=tmp_path).name == "one"
    with pytest.raises(InvalidError, match="several contexts are possible: lab1, lab2"):
        choose({**home, "SLICER_LAB": "lab3"}, lab_root=tmp_path)


def test_a_labs_members_are_no_question(tmp_path: Path) -> None:
    """Commands go to the hub unless a member is named."""
    lab(tmp_path, "lab1")
    path = tmp_path / "lab1" / "slicectl.yaml"
    path.write_text(path.read_text() + "- name: lab1/a\n  server: https://198.18.1.10:8443\n")
    home = {"HOME": str(tmp_path)}

    assert choose(home, lab_root=tmp_path).name == "lab1"
    assert choose(home, name="lab1/a", lab_root=tmp_path).server == "https://198.18.1.10:8443"


def test_nothing_at_all_says_what_to_do(tmp_path: Path) -> None:
    """The error names the file that was looked for and both ways out."""
    with pytest.raises(NotFoundError, match=f"there is no {tmp_path}/.config/slicer/config.yaml") as refused:
        choose({"HOME": str(tmp_path)}, lab_root=tmp_path)

    assert [note.split(" --")[0] for note in refused.value.__notes__] == [
        "slicectl config set-context NAME",
        "to try it on this machine: slicectl lab up",
    ]


def test_an_unknown_context_is_refused_with_those_there_are(tmp_path: Path) -> None:
    """Those of the file and the running labs."""
    lab(tmp_path, "lab1")

    with pytest.raises(NotFoundError, match="there is no context 'three'; known are: one, two, lab1"):
        choose(written(tmp_path / "c.yaml"), name="three", lab_root=tmp_path)
