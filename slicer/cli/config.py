"""Which server to talk to: the configuration file, the environment, a running lab, or options on the command line.

The file (YAML; relative paths are relative to it; mode 0600 when slicectl writes it):

    current-context: prod
    contexts:
    - name: prod
      server: https://hub.example.org:8443
      ca: ca.pem                 # the hub's CA, a PEM file; without it the system's CAs count
      token-file: admin.token    # or `token: …`
      netns: /run/netns/x        # optional: enter this network namespace before connecting

Order: `--server` alone; else `$SLICER_CONFIG`; else `~/.config/slicer/config.yaml`; else the running lab that
`$SLICER_LAB` names, or the only one. A lab's members have contexts of their own, `<lab>/<cluster>`.
`--context` looks in the file first and then among the running labs.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from slicer.cli.errors import cured
from slicer.model.errors import InvalidError, NotFoundError

LABS = Path("/run/slicer-lab")
CONTEXT_FILE = "slicectl.yaml"


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """How to reach one hub."""

    name: str
    server: str
    ca: Path | None = None
    token: str | None = None
    token_file: Path | None = None
    netns: Path | None = None

    def __repr__(self) -> str:
        """Without the token."""
        return f"Context({self.name!r}, {self.server!r})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """One configuration file."""

    path: Path
    current: str | None = None
    contexts: tuple[Context, ...] = ()

    def context(self, name: str) -> Context | None:
        """The context `name`, if the file has it."""
        return next((context for context in self.contexts if context.name == name), None)


_PATHS = {"ca", "token_file", "netns"}
_KEYS = {field.name.replace("_", "-"): field.name for field in fields(Context)}


def default_path(environ: Mapping[str, str]) -> Path:
    """Where the user's file lies, whether it exists or not."""
    if environ.get("SLICER_CONFIG"):
        return Path(environ["SLICER_CONFIG"])
    home = environ.get("XDG_CONFIG_HOME") or Path(environ.get("HOME") or "/root") / ".config"
    return Path(home) / "slicer" / "config.yaml"


def parse_config(path: Path, text: str) -> Config:
    """The configuration in `text`; InvalidError names the file, the key and the offending text."""
    import yaml

    try:
        document = yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        raise InvalidError(f"{path} is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(document, dict) or not isinstance(document.get("contexts", []), list):
        raise InvalidError(f"{path}: expected `current-context` and a list `contexts`")
    _refuse_unknown(path, document, {"current-context", "contexts"})
    contexts = tuple(_parse_context(path, entry) for entry in document.get("contexts", []))
    names = [context.name for context in contexts]
    if len(set(names)) != len(names):
        raise InvalidError(f"{path}: context names {', '.join(names)} are not unique")
    return Config(path=path, current=document.get("current-context"), contexts=contexts)


def _parse_context(path: Path, entry: Any) -> Context:
    if not isinstance(entry, dict) or not entry.get("name") or not entry.get("server"):
        raise InvalidError(f"{path}: context {entry!r} needs `name` and `server`")
    _refuse_unknown(path, entry, set(_KEYS))
    values = {_KEYS[key]: str(value) for key, value in entry.items() if value is not None}
    paths = {key: path.parent / Path(value).expanduser() for key, value in values.items() if key in _PATHS}
    return Context(**{**values, **paths})  # type: ignore[arg-type]


def _refuse_unknown(path: Path, document: dict[str, Any], known: set[str]) -> None:
    unknown = sorted(set(map(str, document)) - known)
    if unknown:
        raise InvalidError(f"{path}: unknown key {unknown[0]!r}; known are {', '.join(sorted(known))}")


def render_config(config: Config) -> str:
    """The file's text; `parse_config` reads the same configuration back."""
    import yaml

    contexts = [
        {key: str(value) for key, field in _KEYS.items() if (value := getattr(context, field)) is not None}
        for context in config.contexts
    ]
    document = {"current-context": config.current, "contexts": contexts}
    return str(yaml.safe_dump(document, sort_keys=False))


def load(path: Path) -> Config | None:
    """The configuration at `path`; None if there is no such file."""
    try:
        return parse_config(path, path.read_text())
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidError(f"cannot read {path}: {error}") from None


def save(config: Config) -> None:
    """Write `config` to its path, whole or not at all, readable by its owner only."""
    config.path.parent.mkdir(parents=True, exist_ok=True)
    beside = config.path.with_suffix(".new")
    beside.unlink(missing_ok=True)
    with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(render_config(config))
    beside.replace(config.path)


def labs(root: Path = LABS) -> tuple[Context, ...]:
    """The contexts of the labs on this machine whose namespace is alive, sorted by lab."""
    files = map(load, sorted(root.glob(f"*/{CONTEXT_FILE}")))
    return tuple(context for file in files if file for context in file.contexts if _alive(context))


def _hub_of_lab(running: tuple[Context, ...], wanted: str) -> tuple[Context, ...]:
    """The hub of the lab `wanted`; those of all labs if that does not run, or none is wanted."""
    hubs = tuple(context for context in running if "/" not in context.name)
    return tuple(context for context in hubs if context.name == wanted) or hubs


def _alive(context: Context) -> bool:
    return context.netns is None or context.netns.exists()


def choose(
    environ: Mapping[str, str],
    *,
    name: str | None = None,
    server: str | None = None,
    ca: Path | None = None,
    token_file: Path | None = None,
    lab_root: Path = LABS,
) -> Context:
    """The context that the options, the file or a running lab give; errors say what was looked for and the cure."""
    given = {key: value for key, value in (("server", server), ("ca", ca), ("token_file", token_file)) if value}
    if server is not None and name is None:
        context = Context(name="command line", server=server)
    else:
        wanted = name or environ.get("SLICER_CONTEXT") or None
        context = _from_files(default_path(environ), wanted, labs(lab_root), environ.get("SLICER_LAB", ""))
    if token_file is not None:
        context = replace(context, token=None)
    return replace(context, **given)  # type: ignore[arg-type]


def _from_files(path: Path, name: str | None, running: tuple[Context, ...], lab: str) -> Context:
    config = load(path)
    wanted = name or (config.current if config else None)
    if wanted is not None:
        known = (*(config.contexts if config else ()), *running)
        for context in known:
            if context.name == wanted:
                return context
        names = ", ".join(context.name for context in known) or "none"
        raise cured(NotFoundError(f"there is no context {wanted!r}; known are: {names}"), "slicectl config view")
    known = (config.contexts if config else ()) or _hub_of_lab(running, lab)
    return _only(known, path)


def _only(known: tuple[Context, ...], path: Path) -> Context:
    if len(known) == 1:
        return known[0]
    if known:
        names = ", ".join(context.name for context in known)
        cure = f"slicectl --context {known[0].name} …, or: slicectl config use-context {known[0].name}"
        raise cured(InvalidError(f"several contexts are possible: {names}"), cure)
    message = f"no server to talk to: there is no {path} and no lab runs on this machine"
    cure = "slicectl config set-context NAME --server https://HUB:8443 --ca ca.pem --token-file admin.token"
    raise cured(cured(NotFoundError(message), cure), "to try it on this machine: slicectl lab up")
