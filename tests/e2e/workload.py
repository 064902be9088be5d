"""What runs in scenarios: one web server that says who asked, as Pod, Deployment or StatefulSet."""

from __future__ import annotations

from tests.e2e.scenario import Json

IMAGE = "slicer.test/tools:1"
SERVER = """
import http.server, os, socket

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        client = self.client_address[0].removeprefix("::ffff:")
        text = f"hello {client}, this is {os.environ['NAME']}\\n".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *words):
        pass

class Server(http.server.ThreadingHTTPServer):
    address_family = socket.AF_INET6

    def server_bind(self):
        self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()

Server(("::", 80), Handler).serve_forever()
"""


def render_pod(namespace: str, name: str, annotation: str, *, node: str = "") -> Json:
    """A pod labelled `app: <name>`; `annotation` empty: it asks for no slice."""
    pod = {"apiVersion": "v1", "kind": "Pod", **_template(name, annotation)}
    pod["metadata"] |= {"name": name, "namespace": namespace}
    if node:
        pod["spec"]["nodeName"] = node
    return pod


def render_deployment(namespace: str, name: str, annotation: str, count: int) -> Json:
    return _controller("apps/v1", "Deployment", namespace, name, {"replicas": count, **_selected(name, annotation)})


def render_statefulset(namespace: str, name: str, annotation: str) -> Json:
    spec = {"replicas": 1, "serviceName": name, **_selected(name, annotation)}
    return _controller("apps/v1", "StatefulSet", namespace, name, spec)


def _controller(version: str, kind: str, namespace: str, name: str, spec: Json) -> Json:
    return {
        "apiVersion": version,
        "kind": kind,
        "metadata": {"name": name, "namespace": namespace, "labels": {"app": name}},
        "spec": spec,
    }


def _selected(name: str, annotation: str) -> Json:
    return {"selector": {"matchLabels": {"app": name}}, "template": _template(name, annotation)}


def _template(name: str, annotation: str) -> Json:
    annotations = {"slicer.io/slices": annotation} if annotation else {}
    container = {
        "name": "server",
        "image": IMAGE,
        "command": ["python3", "-u", "-c", SERVER],
        "env": [{"name": "NAME", "value": name}],
    }
    return {
        "metadata": {"labels": {"app": name}, "annotations": annotations},
        # The server does not listen for SIGTERM.
        "spec": {"terminationGracePeriodSeconds": 0, "containers": [container]},
    }
