"""The Helm chart, made from the manifests that kustomize uses: `python -m tools.chart` writes manifests/helm/slicer.

The base's objects become templates by putting values where the base has its defaults; so the chart cannot say anything
else than the base. tests/kubernetes/test_manifests.py compares what `helm template` and `kubectl kustomize` render.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping

import yaml

from slicer.cli.install.manifests import Object, build, set_namespace  # the chart is the same text, read the same way
from tools.images import version
from tools.run import ROOT, finish, say

MANIFESTS = ROOT / "manifests"
CHART = MANIFESTS / "helm/slicer"
MADE = "# Made by `python -m tools.chart` from manifests/{source}; change that instead.\n"
VALUES: Mapping[str, str] = {
    "/opt/cni/bin": "{{ .Values.agent.cniBinDir }}",
    "/opt/slicer": "{{ .Values.agent.home }}",
    **{
        f"slicer.io/slicer-{name}:{version()}": (
            f"{{{{ .Values.image.registry }}}}/slicer-{name}:{{{{ .Values.image.tag | default .Chart.AppVersion }}}}"
        )
        for name in ("controller", "agent", "dns")
    },
    "nodePort: 30443": "nodePort: {{ .Values.hub.service.nodePort }}",
    "type: NodePort": "type: {{ .Values.hub.service.type }}",
}
"""Text of the base, and what stands for it in the templates."""
SETTINGS = {
    "cluster": '{{ required "set cluster: the name of this cluster among those of the hub" .Values.cluster }}',
    "advertise": "{{ .Values.advertise }}",
    "cidrs": '{{ join "," .Values.cidrs }}',
    "resolvers": '{{ join "," .Values.resolvers }}',
}
HUB_ROLE = "- --role=member\n"
AGENT_FLAGS = "- --join-service-account=/etc/slicer/account/token\n"
SECRET = """{{- if .Values.join.token }}
apiVersion: v1
kind: Secret
metadata:
  name: slicer-join
  namespace: slicer-system
stringData:
  token: {{ .Values.join.token | quote }}
{{- end }}
"""


def main() -> int:
    """Writes the chart anew."""
    shutil.rmtree(CHART / "templates", ignore_errors=True)
    shutil.rmtree(CHART / "crds", ignore_errors=True)
    for name, text in render().items():
        path = CHART / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    say(f"written: {CHART.relative_to(ROOT)}")
    return 0


def render() -> dict[str, str]:
    """All made files of the chart by their path in it; values.yaml is written by hand."""
    base = yaml.safe_load((MANIFESTS / "base/kustomization.yaml").read_text())
    files = {"Chart.yaml": _head()}
    for name in base["resources"]:
        if name.startswith(".."):
            continue
        objects = list(yaml.safe_load_all((MANIFESTS / "base" / name).read_text()))
        set_namespace(objects, base["namespace"])
        files[f"templates/{name}"] = MADE.format(source=f"base/{name}") + _template(objects)
    hub = list(yaml.safe_load_all((MANIFESTS / "components/hub/service.yaml").read_text()))
    source = MADE.format(source="components/hub/service.yaml")
    port = "    nodePort: {{ .Values.hub.service.nodePort }}\n"
    fixed = f'{{{{- if eq .Values.hub.service.type "NodePort" }}}}\n{port}{{{{- end }}}}\n'
    text = _template(hub).replace(port, fixed)
    files["templates/hub.yaml"] = f"{source}{{{{- if .Values.hub.enabled }}}}\n{text}{{{{- end }}}}\n"
    files["templates/join.yaml"] = SECRET
    for one in build(MANIFESTS / "crds"):
        files[f"crds/{one['spec']['names']['plural']}.yaml"] = _dump([one])
    return files


def _template(objects: list[Object]) -> str:
    for one in objects:
        if (one["kind"], one["metadata"]["name"]) == ("ConfigMap", "slicer"):
            one["data"] = SETTINGS
    text = _dump(objects)
    for old, new in VALUES.items():
        text = text.replace(old, new)
    return _with_flags(text)


def _with_flags(text: str) -> str:
    """The conditional flags: after a line of the base, at its indentation."""
    lines: list[str] = []
    daemon_set = False
    for line in text.splitlines(keepends=True):
        daemon_set = line == "kind: DaemonSet\n" or (daemon_set and not line.startswith("kind:"))
        lines.append(line)
        indent = line[: len(line) - len(line.lstrip())]
        if line.lstrip() == HUB_ROLE:
            lines += ["{{- if .Values.hub.enabled }}\n", f"{indent}- --role=hub\n", "{{- end }}\n"]
        if daemon_set and line.lstrip() == AGENT_FLAGS:
            lines += ["{{- range .Values.agent.flags }}\n", f"{indent}- {{{{ . | quote }}}}\n", "{{- end }}\n"]
    return "".join(lines)


def _head() -> str:
    chart = {
        "apiVersion": "v2",
        "name": "slicer",
        "description": "A second network interface for chosen pods, on a private network that spans clusters.",
        "type": "application",
        "version": version(),
        "appVersion": version(),
        "kubeVersion": ">=1.30.0-0",
    }
    return MADE.format(source="base") + str(yaml.safe_dump(chart, sort_keys=False))


def _dump(objects: list[Object]) -> str:
    return str(yaml.safe_dump_all(objects, sort_keys=False, width=1000))


if __name__ == "__main__":
    finish(main)
