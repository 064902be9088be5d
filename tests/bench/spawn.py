"""Runs CNI executables as a runtime does, and measures from posix_spawn to exit."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Plugin:
    """One CNI plugin with its network configuration."""

    name: str
    executable: Path
    directory: Path
    """CNI_PATH: where its IPAM plugin is found."""
    config: Path
    """A file with the configuration: what the plugin reads on stdin."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """What it gets besides the usual."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pod:
    """A network namespace and what the runtime says of it."""

    container_id: str
    netns: Path
    args: str
    """CNI_ARGS."""
    interface: str = "net1"


class PluginError(Exception):
    """A plugin failed; the message has its output, `code` the CNI error code in it (0 if there is none)."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


def call(plugin: Plugin, command: str, pod: Pod) -> float:
    """Milliseconds from posix_spawn to exit; PluginError if the plugin failed or an ADD gave no address."""
    output = os.memfd_create("stdout")
    started = time.perf_counter_ns()
    pid = _spawn(plugin, command, pod, output)
    _, status = os.waitpid(pid, 0)
    ended = time.perf_counter_ns()
    _check(plugin, command, status, output)
    return (ended - started) / 1e6


def call_all(plugin: Plugin, command: str, pods: Sequence[Pod]) -> float:
    """Milliseconds from the first posix_spawn to the last exit of as many plugins at once as there are pods."""
    outputs = {os.memfd_create("stdout"): pod for pod in pods}
    started = time.perf_counter_ns()
    running = {_spawn(plugin, command, pod, output): output for output, pod in outputs.items()}
    ended = {pid: os.waitpid(pid, 0)[1] for pid in running}
    elapsed = time.perf_counter_ns() - started
    for pid, status in ended.items():
        _check(plugin, command, status, running[pid])
    return elapsed / 1e6


def environment(plugin: Plugin, command: str, pod: Pod) -> dict[str, str]:
    """What a runtime puts into the environment of a call."""
    return {
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        "CNI_COMMAND": command,
        "CNI_CONTAINERID": pod.container_id,
        "CNI_NETNS": str(pod.netns),
        "CNI_IFNAME": pod.interface,
        "CNI_ARGS": pod.args,
        "CNI_PATH": str(plugin.directory),
        **plugin.environment,
    }


def _spawn(plugin: Plugin, command: str, pod: Pod, output: int) -> int:
    actions = (
        (os.POSIX_SPAWN_OPEN, 0, str(plugin.config), os.O_RDONLY, 0),
        (os.POSIX_SPAWN_DUP2, output, 1),
        (os.POSIX_SPAWN_DUP2, output, 2),
    )
    program = str(plugin.executable)
    return os.posix_spawn(program, [program], environment(plugin, command, pod), file_actions=actions)


def _check(plugin: Plugin, command: str, status: int, output: int) -> None:
    os.lseek(output, 0, os.SEEK_SET)
    with open(output, "rb") as file:
        text = file.read().decode(errors="replace")
    code = os.waitstatus_to_exitcode(status)
    if code != 0 or (command == "ADD" and not _addresses(text)):
        said = f"{plugin.name} {command}: exit {code}: {text.strip() or 'no output'}"
        raise PluginError(said, int(_answer(text).get("code", 0)))


def _addresses(text: str) -> list[Any]:
    return list(_answer(text).get("ips", []))


def _answer(text: str) -> dict[str, Any]:
    try:
        answer = json.loads(text)
    except ValueError:
        return {}
    return answer if isinstance(answer, dict) else {}
