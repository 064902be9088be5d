"""The measuring part of the attach benchmark, run on one node: `python -m tests.bench.attach_worker`, a job on stdin.

    {"plugins": [{"name", "executable", "directory", "config": {…}, "environment": {…}}],
     "echo_socket": PATH, "sequential": N, "parallel": N, "rounds": N, "warm_up": N}

Prints {"<ADD|DEL>/<one|all>": {plugin: [ms, …]}}. Every pod is a network namespace with its sandbox record, as the
kubelet makes them; only the plugin's run is timed. Everything made is removed again.
"""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.bench.measure import Samples, interleave
from tests.bench.spawn import Plugin, PluginError, Pod, call, call_all

NETNS = Path("/run/netns")
SANDBOXES = Path("/run/slicer/sandboxes")
WORK = Path("/run/bench")
NAMESPACE = "bench"
NOT_YET = {11, 102, 103}
"""CNI codes of a node that still grows its pool, or has not heard of the slice yet: right during the warm-up."""
PATIENCE_S = 60.0

Results = dict[str, Samples]


def main() -> None:
    """Does the job on stdin."""
    job = json.load(sys.stdin)
    WORK.mkdir(parents=True, exist_ok=True)
    plugins = {value["name"]: _plugin(value) for value in job["plugins"]}
    results = {f"{verb}/{how}": Samples(list(plugins)) for verb in ("ADD", "DEL") for how in ("one", "all")}
    with _echo_agent(job["echo_socket"]):
        for plugin in plugins.values():
            _warm_up(plugin, job["warm_up"])
        _sequential(plugins, job["sequential"], results)
        _parallel(plugins, job["parallel"], job["rounds"], results)
    print(json.dumps({name: samples.frozen() for name, samples in results.items()}))


@contextmanager
def _echo_agent(path: str) -> Iterator[None]:
    argv = (sys.executable, "-m", "tests.bench.echo_agent", path)
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield  # leaving the process closes its stdin, which ends it


def _sequential(plugins: dict[str, Plugin], count: int, results: Results) -> None:
    with _pods(count * len(plugins)) as pods:
        turns = [(plugins[name], pods[number]) for number, (_, name) in enumerate(interleave(list(plugins), count))]
        for verb in ("ADD", "DEL"):
            for plugin, pod in turns:
                results[f"{verb}/one"].add(plugin.name, call(plugin, verb, pod))


def _parallel(plugins: dict[str, Plugin], count: int, rounds: int, results: Results) -> None:
    for _, name in interleave(list(plugins), rounds):
        with _pods(count) as pods:
            for verb in ("ADD", "DEL"):
                results[f"{verb}/all"].add(name, call_all(plugins[name], verb, pods))


def _warm_up(plugin: Plugin, count: int) -> None:
    """As many attachments at once as the run will need, so that the node has its address blocks before it is timed."""
    with _pods(count) as pods:
        for pod in pods:
            _patiently(plugin, pod)
        for pod in pods:
            call(plugin, "DEL", pod)


def _patiently(plugin: Plugin, pod: Pod) -> None:
    end = time.monotonic() + PATIENCE_S
    while True:
        try:
            call(plugin, "ADD", pod)
        except PluginError as error:
            if error.code not in NOT_YET or time.monotonic() > end:
                raise
            time.sleep(0.02)
        else:
            return


@contextmanager
def _pods(count: int) -> Iterator[Sequence[Pod]]:
    SANDBOXES.mkdir(parents=True, exist_ok=True)
    pods = [_new_pod(number) for number in range(count)]
    try:
        subprocess.run(("ip", "-batch", "-"), input=_batch("add", pods), text=True, check=True)
        for number, pod in enumerate(pods):
            _record(pod, number)
        yield pods
    finally:
        for pod in pods:
            _sandbox(pod).unlink(missing_ok=True)
        subprocess.run(("ip", "-force", "-batch", "-"), input=_batch("del", pods), text=True, check=True)


def _batch(verb: str, pods: Sequence[Pod]) -> str:
    return "".join(f"netns {verb} {pod.netns.name}\n" for pod in pods)


def _new_pod(number: int) -> Pod:
    container = secrets.token_hex(32)
    args = f"IgnoreUnknown=1;K8S_POD_NAMESPACE={NAMESPACE};K8S_POD_NAME=pod-{number};K8S_POD_UID={container[:32]}"
    return Pod(container_id=container, netns=NETNS / f"bench-{container[:12]}", args=args)


def _record(pod: Pod, number: int) -> None:
    record = {"id": pod.container_id, "namespace": NAMESPACE, "name": f"pod-{number}", "uid": pod.container_id[:32]}
    text = json.dumps({**record, "labels": {}, "netns": str(pod.netns)})
    fresh = _sandbox(pod).with_suffix(".new")
    fresh.write_text(text)
    fresh.replace(_sandbox(pod))


def _sandbox(pod: Pod) -> Path:
    return SANDBOXES / f"{pod.container_id}.json"


def _plugin(value: dict[str, Any]) -> Plugin:
    config = WORK / f"{value['name'].replace(' ', '-')}.conf"
    config.write_text(json.dumps(value["config"]))
    directory = Path(value["directory"])
    return Plugin(
        name=value["name"],
        executable=Path(value["executable"]),
        directory=directory,
        config=config,
        environment=value["environment"],
    )


if __name__ == "__main__":
    main()
