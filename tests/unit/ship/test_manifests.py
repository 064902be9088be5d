"""What the manifests promise: rights, Pod Security, probes, references. What they render to is in tests/kubernetes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from slicer.cli.install import manifests, plan
from slicer.cli.install.cluster import KINDS
from slicer.cli.install.manifests import CLUSTER_SCOPED, Object, Patch, apply_patch, build, containers
from slicer.cli.install.plan import Wish
from slicer.model.errors import InvalidError, NotFoundError
from tools.images import IMAGES, version
from tools.run import ROOT

ROOT_OF = ROOT / "manifests"
OVERLAYS = sorted(path.name for path in (ROOT_OF / "overlays").iterdir())
RESTRICTED = ("slicer-controller", "slicer-dns")


def objects() -> list[Object]:
    """Everything of a hub, and what cleans up."""
    return build(ROOT_OF / "overlays/hub") + build(ROOT_OF / "cleanup")


def pod_of(name: str) -> Object:
    """The pod template's spec of a Deployment or DaemonSet."""
    return next(
        found["spec"]["template"]["spec"]
        for found in objects()
        if found["metadata"]["name"] == name and found["kind"] in {"Deployment", "DaemonSet"}
    )


def rules() -> Iterator[tuple[str, Object]]:
    """(name of the role, rule) of all roles."""
    for found in objects():
        for rule in found.get("rules", ()):
            yield found["metadata"]["name"], rule


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_object_once(overlay: str) -> None:
    """Each overlay renders; no two objects have the same kind and name; namespaced ones are in our namespace."""
    found = build(ROOT_OF / "overlays" / overlay)
    names = [(one["kind"], one["metadata"]["name"]) for one in found]

    assert len(names) == len(set(names)) > 20
    assert {one["metadata"].get("namespace") for one in found if one["kind"] not in CLUSTER_SCOPED} == {"slicer-system"}
    assert {one["kind"] for one in found} <= set(KINDS)


def test_no_wildcard_in_any_right() -> None:
    """No API group, resource, verb or name of a rule is a wildcard."""
    words = [word for _, rule in rules() for part in rule.values() for word in part]

    assert len(words) > 50
    assert "*" not in "".join(words)


RIGHTS = {
    "create": "configmaps, events, leases, network-attachment-definitions, secrets, slices, sliceclusters, "
    "slicerrecords, subjectaccessreviews, tokenreviews",
    "get": "configmaps, leases, mutatingwebhookconfigurations, pods, secrets, slices, sliceclusters, slicerrecords",
    "list": "namespaces, network-attachment-definitions, nodes, pods, qosprofiles, slices, sliceclusters, "
    "slicememberships, slicerrecords",
    "watch": "namespaces, network-attachment-definitions, nodes, pods, qosprofiles, slices, sliceclusters, "
    "slicememberships",
    "update": "configmaps, leases, mutatingwebhookconfigurations, secrets, slices, sliceclusters, slicerrecords",
    "patch": "pods, pods/status, qosprofiles/status, slices, slices/status, sliceclusters, sliceclusters/status, "
    "slicememberships/status",
    "delete": "network-attachment-definitions, slices, sliceclusters, slicerrecords",
}
"""What the controller asks the API server: each verb stands where a call of slicer_controller.kube makes it."""
OF_THE_NAMESPACE = {"secrets", "configmaps", "leases", "slicerrecords"}


def test_the_controller_has_the_rights_that_it_uses() -> None:
    """No right more: a call that is made no more takes its line here along. Real clusters show that these suffice."""
    found: dict[str, set[str]] = {}
    for name, rule in rules():
        for verb in rule["verbs"] if name == "slicer-controller" else ():
            found.setdefault(verb, set()).update(rule["resources"])
    own = [one for one in objects() if (one["kind"], one["metadata"]["name"]) == ("Role", "slicer-controller")]
    inside = {resource for rule in own[0]["rules"] for resource in rule["resources"]}

    assert {verb: ", ".join(sorted(names)) for verb, names in found.items()} == {
        verb: ", ".join(sorted(names.split(", "))) for verb, names in RIGHTS.items()
    }
    assert inside == OF_THE_NAMESPACE | {"pods"}


def test_only_the_controller_has_rights() -> None:
    """Every binding is for the controller's account; its secrets and its lease are limited by name."""
    bound = {one["name"] for found in objects() for one in found.get("subjects", ())}
    named = [rule for name, rule in rules() if name == "slicer-controller" and "get" in rule["verbs"]]
    secrets = [rule for rule in named if "secrets" in rule["resources"]]

    assert bound == {"slicer-controller"}
    assert [rule["resourceNames"] for rule in secrets] == [["slicer-controller-state"]]
    assert not any("list" in rule["verbs"] for rule in secrets)


@pytest.mark.parametrize("name", ["slicer-agent", "slicer-dns", "slicer-cleanup"])
def test_no_account_token_but_ours(name: str) -> None:
    """Agents and name servers get no token that the API server would take."""
    pod = pod_of(name)
    audiences = [
        source["serviceAccountToken"]["audience"]
        for volume in pod["volumes"]
        for source in volume.get("projected", {}).get("sources", ())
    ]

    assert pod["automountServiceAccountToken"] is False
    assert set(audiences) <= {"slicer"}


@pytest.mark.parametrize("name", RESTRICTED)
def test_pod_security_restricted(name: str) -> None:
    """Controller and name server meet the level `restricted` (Pod Security Standards), with a read-only root."""
    pod = pod_of(name)

    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not any(pod.get(key) for key in ("hostNetwork", "hostPID", "hostIPC"))
    assert not any("hostPath" in volume for volume in pod["volumes"])
    for container in pod["containers"]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert all(port["containerPort"] > 1023 and "hostPort" not in port for port in container["ports"])


def test_the_agent_has_six_capabilities() -> None:
    """It is not privileged; all capabilities are dropped but six, and its installer has none at all."""
    pod = pod_of("slicer-agent")
    (agent,) = pod["containers"]
    (installer,) = pod["initContainers"]

    assert not any("privileged" in one["securityContext"] for one in (agent, installer))
    assert agent["securityContext"]["capabilities"] == {
        "drop": ["ALL"],
        "add": ["NET_ADMIN", "NET_RAW", "SYS_ADMIN", "SYS_PTRACE", "SYS_CHROOT", "SYS_NICE"],
    }
    assert installer["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert all(one["securityContext"]["readOnlyRootFilesystem"] for one in (agent, installer))


def test_every_container_asks_for_what_it_needs() -> None:
    """CPU and memory are requested, memory is limited; images carry the project's version and are pulled once."""
    found = list(containers(objects()))
    images = {f"slicer.io/slicer-{image.name}:{version()}" for image in IMAGES}

    assert {container["image"] for container in found} == images
    for container in found:
        assert set(container["resources"]["requests"]) == {"cpu", "memory"}
        assert set(container["resources"]["limits"]) == {"memory"}
        assert container["imagePullPolicy"] == "IfNotPresent"


@pytest.mark.parametrize("name", ["slicer-controller", "slicer-dns", "slicer-agent"])
def test_alive_is_not_ready(name: str) -> None:
    """What restarts a container is another question than what takes it out of its Service."""
    (container,) = pod_of(name)["containers"]
    asked = [
        {key: value for key, value in container[probe].items() if key in {"httpGet", "exec"}}
        for probe in ("livenessProbe", "readinessProbe")
    ]

    assert asked[0] != asked[1]


def test_probes_of_the_agent_are_files_of_its_image() -> None:
    """The probe's path in the image is that of the module in the package."""
    (agent,) = pod_of("slicer-agent")["containers"]
    path = agent["readinessProbe"]["exec"]["command"][2]
    inside = path.removeprefix("/usr/lib/python3/dist-packages/")

    assert (ROOT / inside).is_file()


def test_everything_that_is_mounted_is_there() -> None:
    """Each volume mount names a volume of its pod, and each volume is mounted."""
    for name in ("slicer-controller", "slicer-dns", "slicer-agent", "slicer-cleanup"):
        pod = pod_of(name)
        mounted = {
            mount["name"]
            for container in (*pod.get("initContainers", ()), *pod["containers"])
            for mount in container.get("volumeMounts", ())
        }

        assert mounted == {volume["name"] for volume in pod["volumes"]}


def test_services_and_policies_select_pods() -> None:
    """Every selector of a Service, NetworkPolicy and PodDisruptionBudget fits the pods of one of our workloads."""
    labels = [
        found["spec"]["template"]["metadata"]["labels"]
        for found in objects()
        if found["kind"] in {"Deployment", "DaemonSet"}
    ]
    selectors: list[dict[str, str]] = []
    for found in objects():
        spec: Any = found.get("spec", {})
        if found["kind"] == "Service":
            selectors.append(spec["selector"])
        if found["kind"] in {"NetworkPolicy", "PodDisruptionBudget"}:
            selectors.append(spec.get("podSelector", spec.get("selector"))["matchLabels"])

    assert len(selectors) == 6
    assert all(any(selector.items() <= one.items() for one in labels) for selector in selectors)


def test_webhook_never_stops_a_pod() -> None:
    """It is asked only about pods that ask for a slice, and pods start without its answer."""
    (hook,) = next(found for found in objects() if found["kind"] == "MutatingWebhookConfiguration")["webhooks"]

    assert hook["failurePolicy"] == "Ignore"
    assert [condition["name"] for condition in hook["matchConditions"]] == ["asks-for-a-slice"]
    assert "slicer-system" in str(hook["namespaceSelector"])


@pytest.mark.parametrize("platform", plan.PLATFORMS)
@pytest.mark.parametrize("service", plan.SERVICES)
def test_slicectl_renders_what_kustomize_renders(platform: str, service: str) -> None:
    """The objects of `slicectl install` are those of the components; only settings, ports and images differ."""
    wish = Wish(cluster="x", hub=True, service=service, platform=platform)
    found = {(one["kind"], one["metadata"]["name"]) for one in plan.render(wish)}
    hub = {("Service", "slicer-hub")} if service != "none" else set()
    base = {(one["kind"], one["metadata"]["name"]) for one in build(ROOT_OF / "base")}

    assert base | hub <= found
    assert ("Service", "slicer-hub") in found or not hub
    assert "--role=hub" in str([one for one in plan.render(wish) if one["kind"] == "Deployment"])


def test_the_cleanup_knows_every_place_of_the_agent() -> None:
    """Each directory of the host that is the agent's alone is removed; shared ones its own cleanup empties."""
    hosts = {volume["hostPath"]["path"] for volume in pod_of("slicer-agent")["volumes"] if "hostPath" in volume}
    files = pod_of("slicer-cleanup")["initContainers"][1]["args"]
    cleaned = {word.partition("=")[2] for word in files}
    shared_with_others = {"/run", "/run/netns", "/run/wireguard"}

    assert hosts - shared_with_others <= cleaned


def test_a_patch_must_fit() -> None:
    """A patch whose target is missing, or whose operation is unknown, is refused."""
    found = [{"kind": "A", "metadata": {"name": "a"}, "x/y": [1]}]

    with pytest.raises(InvalidError, match="A b, which is not there"):
        apply_patch(found, Patch(kind="A", name="b", operations=()))
    with pytest.raises(InvalidError, match="'move' is not"):
        apply_patch(found, Patch(kind="A", name="a", operations=({"op": "move", "path": "/x"},)))

    apply_patch(found, Patch(kind="A", name="a", operations=({"op": "add", "path": "/x~1y/0", "value": 0},)))

    assert found[0]["x/y"] == [0, 1]


def test_a_kustomization_that_is_not_understood_is_refused(tmp_path: Path) -> None:
    """Nothing that kustomize would do is silently left out."""
    (tmp_path / "kustomization.yaml").write_text("kind: Kustomization\nnamePrefix: x-\n")

    with pytest.raises(InvalidError, match="namePrefix"):
        build(tmp_path)
    with pytest.raises(NotFoundError, match="kustomization"):
        build(tmp_path / "none")


def test_the_manifests_are_found() -> None:
    """A checkout's manifests are found without being told where."""
    assert manifests.directory() == ROOT_OF


def test_ports_stand_once() -> None:
    """The URL of the controller that agents and name servers dial is the one of its Service."""
    text = "".join(path.read_text() for path in (ROOT_OF / "base").glob("*.yaml"))

    assert set(re.findall(r"https://\S+?:\d+", text)) == {plan.INSIDE}
