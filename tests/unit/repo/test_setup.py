"""The planning of `make setup`, the pins, the YAML check."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools import plugin
from tools.gomodule import cached
from tools.manifests import check_yaml
from tools.pins import parse_pins, plan_packages, read_pins
from tools.run import ToolError
from tools.setup import lock_digest

COMMANDS = {"ip": "iproute2", "tc": "iproute2", "nft": "nftables"}


def test_each_missing_package_is_planned_once() -> None:
    """Two missing commands of one package ask for it once; what is found asks for nothing."""
    assert plan_packages(COMMANDS, lambda _: None) == ("iproute2", "nftables")
    assert plan_packages(COMMANDS, lambda command: command != "nft") == ("nftables",)
    assert plan_packages(COMMANDS, lambda _: "/usr/bin/x") == ()


def test_the_pins_of_the_clone_name_exact_versions() -> None:
    """Everything outside uv.lock is pinned to one version."""
    pins = read_pins()

    assert all(part.isdecimal() for part in pins.uv.split("."))
    assert "@v" in pins.wireguard_go
    assert "@v" in pins.cni_plugins


def test_a_missing_pin_is_an_error() -> None:
    """A pins file without uv's version is refused, naming it."""
    with pytest.raises(KeyError, match="uv"):
        parse_pins("[python]\n")


def test_built_programs_are_kept_by_version() -> None:
    """Another version of a module is another file in the cache."""
    one, two = (cached(f"example.org/m@v{version}", "prog") for version in (1, 2))

    assert one.name.startswith("prog-v1-")
    assert one != two


def test_the_environment_is_made_anew_when_the_lock_file_changes(tmp_path: Path) -> None:
    """The digest follows uv.lock and pyproject.toml and nothing else."""
    for name in ("uv.lock", "pyproject.toml"):
        (tmp_path / name).write_text("1")
    before = lock_digest(tmp_path)
    (tmp_path / "other").write_text("2")
    assert lock_digest(tmp_path) == before
    (tmp_path / "uv.lock").write_text("2")

    assert lock_digest(tmp_path) != before


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("manifests/a.yaml", "a: [", "manifests/a.yaml: not YAML"),
        ("manifests/a.yaml", "a: 1", "manifests/a.yaml: document 0 has no apiVersion and no kind"),
        ("manifests/a.yaml", "apiVersion: v1", "manifests/a.yaml: document 0 has no kind"),
        ("manifests/a.yaml", "---\n", "manifests/a.yaml: holds no object"),
    ],
)
def test_bad_manifests_are_named(name: str, text: str, problem: str) -> None:
    """A manifest that does not parse, or is no object, is a problem."""
    (found,) = check_yaml({name: text})

    assert found.startswith(problem)


def test_good_manifests_are_fine() -> None:
    """Objects pass, empty documents between them too; other YAML files need only parse."""
    assert check_yaml({"manifests/a.yaml": "apiVersion: v1\nkind: Pod\n---\n", "x.yaml": "a: 1"}) == []


def test_without_a_compiler_the_cni_executable_names_the_cure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing half-built is kept, and whoever has an older one loses it: the lab's nodes use a script instead."""
    older = tmp_path / "bin/slicer-cni"
    older.parent.mkdir()
    older.write_bytes(b"of another shim")
    monkeypatch.setattr("tools.plugin.PROGRAM", older)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("tools.plugin._library", lambda: tmp_path)
    monkeypatch.setenv("PATH", "/nowhere")

    with pytest.raises(ToolError, match="missing: build-essential"):
        plugin.build()
    assert not plugin.provide()

    assert not older.exists()
    assert list((tmp_path / "cache/slicer").iterdir()) == []


def test_a_missing_compiler_and_missing_keys_are_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is fetched or compiled."""
    asked: list[str] = []
    monkeypatch.setattr("tools.apt.install", asked.extend)
    monkeypatch.setattr("tools.debian_root.KEYS", tmp_path / "none")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    with pytest.raises(ToolError, match="apt-get install debian-archive-keyring"):
        plugin.build()
    monkeypatch.setattr("tools.plugin._library", lambda: tmp_path)
    (tmp_path / "usr/lib/python3.11/config-x").mkdir(parents=True)
    (tmp_path / "usr/lib/python3.11/config-x/libpython3.11.a").touch()
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(FileNotFoundError, match="cc"):
        plugin.build()

    assert asked == ["debian-archive-keyring", "build-essential"]


def test_the_cni_executable_is_compiled_by_the_python_that_it_contains(monkeypatch: pytest.MonkeyPatch) -> None:
    """Code of another minor version would not run in it."""
    monkeypatch.setattr("tools.plugin.VERSION", (3, 12))

    with pytest.raises(ToolError, match=r"compiled by Python 3\.12, this is 3\.11"):
        plugin.build()
