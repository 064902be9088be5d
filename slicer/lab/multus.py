"""Calls the CNI executables of a node as Multus does: same order, same environment, same stdin, same undo.

Runs inside the node (slicer.lab.kubelet). What is said in a call is planned by `slicer.plan.pods`.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from slicer.model.errors import NotFoundError, SlicerError
from slicer.plan import pods

CNI_PATH = "/opt/cni/bin"
TIMEOUT_S = 30.0

Json = dict[str, Any]


def prepare_all(
    pod: pods.PodIdentity, requests: Sequence[pods.AttachRequest], networks: Mapping[str, Json]
) -> list[Json]:
    """What ADD and DEL need of each network, as in Multus' cache: network, plugins (stdin of each), environment.

    `networks` maps `namespace/name` to the NetworkAttachmentDefinition.
    """
    return [_prepare(pod, request, networks) for request in requests]


def add_all(pod: pods.PodIdentity, netns: str, prepared: Sequence[Json]) -> None:
    """ADD every network in order and put its `result` in; if one fails, DEL it and the earlier ones, and raise."""
    for number, network in enumerate(prepared, start=1):
        try:
            _add(network, netns)
        except SlicerError as error:
            left = delete_all(pod, netns, prepared[:number])
            raise SlicerError("\n".join([error.message, *left])) from None


def delete_all(pod: pods.PodIdentity, netns: str, attached: Sequence[Json]) -> list[str]:
    """DEL every network, last first, each plugin, last first; the messages of those that failed.

    Without a namespace there is no `prevResult` either: so the second DEL of containerd comes.
    """
    errors = []
    for network in reversed(attached):
        for stdin in reversed(network["plugins"]):
            result = network.get("result") if netns else None
            env = {**network["environment"], "CNI_COMMAND": "DEL", "CNI_NETNS": netns}
            try:
                _call({**stdin, "prevResult": result} if result else stdin, env)
            except SlicerError as error:
                errors.append(f"pod {pod.namespace}/{pod.name}: DEL {network['network']}: {error.message}")
    return errors


def _prepare(pod: pods.PodIdentity, request: pods.AttachRequest, networks: Mapping[str, Json]) -> Json:
    key = f"{request.namespace}/{request.name}"
    if key not in networks:
        raise NotFoundError(f"pod {pod.namespace}/{pod.name}: cannot find a NetworkAttachmentDefinition {key!r}")
    config = pods.network_config(networks[key])
    common = {name: config[name] for name in ("cniVersion", "name") if name in config}
    plugins = [{**common, **plugin} for plugin in config["plugins"]] if "plugins" in config else [config]
    return {
        "network": key,
        "plugins": [pods.render_stdin(plugin, request) for plugin in plugins],
        "environment": pods.render_environment("ADD", pod, request, "", CNI_PATH),
        "interface": request.interface,
    }


def _add(attached: Json, netns: str) -> None:
    result: Json | None = None
    for stdin in attached["plugins"]:
        env = {**attached["environment"], "CNI_NETNS": netns}
        result = json.loads(_call({**stdin, "prevResult": result} if result else stdin, env))
        attached["result"] = result


def _call(stdin: Json, env: Mapping[str, str]) -> str:
    """Run the plugin that `stdin` names; its stdout. SlicerError with the message of its error object."""
    program = Path(CNI_PATH, stdin["type"])
    if not program.exists():
        raise NotFoundError(f"failed to find plugin {stdin['type']!r} in path [{CNI_PATH}]")
    done = subprocess.run(
        [program],
        input=json.dumps(stdin),
        env={"PATH": os.environ.get("PATH", ""), **env},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    if done.returncode != 0:
        raise SlicerError(_message(done))
    return done.stdout


def _message(done: subprocess.CompletedProcess[str]) -> str:
    """What libcni makes of a failed call: the error object on stdout, else stderr."""
    try:
        value = json.loads(done.stdout)
        return f"CNI error {value['code']}: {value['msg']}" + (f" ({value['details']})" if value.get("details") else "")
    except (ValueError, KeyError, TypeError):
        return f"exit {done.returncode}: {done.stderr.strip() or done.stdout.strip() or 'no message'}"
