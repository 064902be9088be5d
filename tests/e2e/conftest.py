"""One lab for the session: two clusters of two nodes. Each test works in its own namespace with its own slices.

What is under test is run as users run it (slicectl). What only looks or prepares calls the lab's own functions, because
starting Python twice for each look would be most of the time that the tests take.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from slicer.lab import machines, rest, state, workloads
from slicer.model.errors import SlicerError

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "manifests" / "examples"
PATIENCE_S = 20.0
_numbers = itertools.count(1)


def wait_until(condition, what, patience_s=PATIENCE_S):
    """What `condition` returns once that is true; AssertionError with the last thing it returned if it never is."""
    pause = threading.Event()
    deadline = time.monotonic() + patience_s
    while not (value := condition()):
        assert time.monotonic() < deadline, f"still not, after {patience_s:.0f} s: {what} (last seen: {value!r})"
        pause.wait(0.03)
    return value


class Lab:
    """A lab and slicectl on it, as a user has them."""

    def __init__(self, name):
        self.name = name
        self.directory = Path("/run/slicer-lab") / name
        config = str(self.directory / "slicectl.yaml")
        self.env = {**os.environ, "SLICER_CONFIG": config, "SLICER_LAB": name, "NO_COLOR": "1", "COLUMNS": "200"}
        self.slicectl = str(Path(sys.executable).parent / "slicectl")

    def try_(self, *argv, stdin=""):
        """Run slicectl; the finished process, whatever its exit code."""
        argv = [self.slicectl, *map(str, argv)]
        return subprocess.run(argv, input=stdin, capture_output=True, text=True, env=self.env, check=False, timeout=90)

    def ctl(self, *argv, stdin=""):
        """Run slicectl, which must work; its output."""
        done = self.try_(*argv, stdin=stdin)
        assert done.returncode == 0, f"slicectl {' '.join(map(str, argv))}: exit {done.returncode}\n{done.stderr}"
        return done.stdout

    def refused(self, code, *argv, stdin=""):
        """Run slicectl, which must refuse with this exit code; its message, in one line."""
        done = self.try_(*argv, stdin=stdin)
        assert done.returncode == code, f"slicectl {' '.join(map(str, argv))}: exit {done.returncode}\n{done}"
        return " ".join((done.stdout + done.stderr).split())

    def get(self, *argv):
        """A list of objects, as slicectl prints it for programs."""
        return json.loads(self.ctl("get", *argv, "-o", "json"))["items"]

    @property
    def layout(self):
        """Clusters and machines of the lab."""
        return state.load(self.name)

    def exec(self, where, *argv):
        """Run a command in a pod or on a machine; the finished process."""
        argv = workloads.exec_argv(self.layout, where, argv)
        return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=90)

    def pods(self):
        """The full names of all pods, also of those that did not come to run."""
        return [workloads.full_name(self.layout, node, record) for node, record in state.pod_records(self.layout)]

    def delete_pod(self, pod):
        """End a pod."""
        workloads.delete(self.layout, pod)

    def api(self):
        """A client of the hub: with lab.api() as api."""
        return rest.opened(self.layout, self.layout.machine("hub"))

    def reaches(self, pod, target):
        """Whether one echo request from the pod comes back within a second."""
        return self.exec(pod, "ping", "-n", "-c1", "-W1", target).returncode == 0

    def addresses(self, pod):
        """Interface → addresses of a pod as the kernel has them, without link-local ones."""
        found = json.loads(self.exec(pod, "ip", "-json", "address", "show").stdout)
        return {
            link["ifname"]: [a["local"] for a in link["addr_info"] if a["scope"] == "global"]
            for link in found
            if link["ifname"] != "lo"
        }

    def lookup(self, pod, name, kind="A"):
        """(response code, sorted answers) of one DNS question that a pod asks its resolver."""
        text = self.exec(pod, "dig", "+tries=1", "+time=2", "+nosearch", name, kind).stdout
        status = re.search(r"status: (\w+)", text)
        lines = [line.split() for line in text.splitlines() if line and not line.startswith(";")]
        answers = sorted(" ".join(words[4:]) for words in lines if len(words) > 4 and words[3] == kind)
        return (status.group(1) if status else "no answer", answers)

    def pid(self, machine):
        """The process number of a machine's init."""
        return machines.require(self.directory / "machines" / machine).pid

    def view(self, node):
        """The documents of a node's view, as its agent keeps them on disk."""
        return json.loads(Path(f"/proc/{self.pid(node)}/root/var/lib/slicer/view.json").read_text())["documents"]

    def netns_of(self, pod):
        """A pod's network namespace, seen from here: through its node's root directory."""
        node, record = workloads.find(self.layout, pod)
        return f"/proc/{self.pid(node)}/root/run/netns/{record['netns_name']}"


class Scope:
    """What one test makes; all of it is removed at its end."""

    def __init__(self, lab):
        self.lab = lab
        self.number = next(_numbers)
        self.namespace = f"t{self.number}"
        self.slices = []
        self.exports = []
        self.pods = []
        self.members = []

    def slice(self, *options, name="", prefix="", wait=True):
        """Make a slice with a prefix of its own; its name."""
        name = name or f"s{self.number}-{len(self.slices) + 1}"
        prefix = prefix or f"10.{20 + self.number}.{64 * len(self.slices)}.0/18"
        self.lab.ctl("create-slice", name, "--prefix", prefix, *options, *(["--wait"] if wait else []))
        self.slices.append(name)
        return name

    def manifest(self, name, slices="", labels=None, command=("sleep", "infinity"), annotations=None):
        """An ordinary Pod manifest."""
        annotations = {**(annotations or {}), **({"slicer.io/slices": slices} if slices else {})}
        return {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": name,
                "namespace": self.namespace,
                "labels": labels or {"app": name},
                "annotations": annotations,
            },
            "spec": {"containers": [{"name": "c", "image": "x", "command": list(command)}]},
        }

    def pod(self, cluster, name, slices="", *, node="", **more):
        """Start a pod; its full name."""
        return self._run(cluster, json.dumps(self.manifest(name, slices, **more)), node)[0]

    def example(self, file, cluster, slice_="", node=""):
        """Start the pods of an example in this test's namespace, its slice replaced; their full names."""
        text = re.sub(r"namespace: shop\b", f"namespace: {self.namespace}", (EXAMPLES / file).read_text())
        for example in ("red", "blue", "violet"):
            text = text.replace(f"slices: {example}", f"slices: {slice_}")
            text = text.replace(f'"slice": "{example}"', f'"slice": "{slice_}"')
        return self._run(cluster, text, node)

    def _run(self, cluster, text, node):
        pods, networks = workloads.parse_manifests([("test", text)])
        records = workloads.run(self.lab.layout, cluster, pods, networks, node)
        names = [f"{cluster}/{record['namespace']}/{record['name']}" for record in records]
        self.pods += names
        return names

    def export(self, slice_, name, *options):
        """Export a service of this test's namespace; its full name."""
        self.lab.ctl("export", slice_, name, "--namespace", self.namespace, *options)
        self.exports.append((slice_, name))
        return f"{name}.{self.namespace}.svc.{slice_}.slice.local"

    def delete(self, pod):
        """End a pod."""
        self.lab.delete_pod(pod)
        self.pods.remove(pod)

    def close(self):
        """Remove everything, and report all that could not be removed."""
        failures = []
        with self.lab.api() as api:
            steps = [
                *((self.lab.delete_pod, pod) for pod in self.pods),
                *((api.delete, "exports", f"{slice_}/{self.namespace}/{name}") for slice_, name in self.exports),
                *((lambda name: api.delete("slices", name, force=True), name) for name in self.slices),
            ]
            for do, *what in steps:
                try:
                    do(*what)
                except SlicerError as error:
                    failures.append(f"{what}: {error.message}")
        assert not failures, "\n".join(failures)


@contextmanager
def running_ping(lab, pod, target, interval_s=0.02):
    """A ping that runs while the block does; yields a dict that holds `sent` and `received` after it."""
    script = f"ping -n -i {interval_s} {target} & p=$!; read -r _; kill -INT $p; wait $p"
    argv = workloads.exec_argv(lab.layout, pod, ["sh", "-c", script])
    counts = {}
    with subprocess.Popen(argv, stdin=-1, stdout=-1, stderr=-2, text=True) as process:
        first = [process.stdout.readline() for _ in range(3)]
        assert "bytes from" in first[-1], f"ping {target} from {pod} got no answer: {first}"
        yield counts
        text, _ = process.communicate("stop\n")
    match = re.search(r"(\d+) packets transmitted, (\d+) received", text)
    assert match, text
    # The last request may be under way when ping is stopped: then its answer does not count as lost.
    counts.update(sent=int(match[1]), received=int(match[2]), lost=max(0, int(match[1]) - int(match[2]) - 1))


@pytest.fixture(scope="session")
def lab():
    """The lab of this session, taken down at its end."""
    found = Lab(f"e2e-{os.getpid()}")
    try:
        subprocess.run([found.slicectl, "lab", "up"], check=True, env=found.env, stdout=subprocess.DEVNULL)
        yield found
    finally:
        subprocess.run([found.slicectl, "lab", "down"], check=True, env=found.env, stdout=subprocess.DEVNULL)


@pytest.fixture
def scope(lab):
    """This test's slices, exports and pods."""
    made = Scope(lab)
    yield made
    made.close()


@pytest.fixture
def until():
    """Wait for a condition: until(condition, what)."""
    return wait_until


@pytest.fixture
def pinging():
    """A ping that runs while a block does: with pinging(lab, pod, target) as counts."""
    return running_ping


@pytest.fixture
def pair(lab, scope, until):
    """A pod on the first node of each cluster on one slice; they reach each other."""
    scope.red = scope.slice()
    scope.here = scope.pod("a", "here", scope.red, node="a-n1")
    scope.there = scope.pod("b", "there", scope.red, node="b-n1")
    scope.target = lab.addresses(scope.there)["net1"][0]
    until(lambda: lab.reaches(scope.here, scope.target), "the way to the other cluster")
    return scope
