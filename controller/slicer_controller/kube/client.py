"""How the controller reaches the API server, and which namespace it is in. Requests: slicer.client.kube_api."""

from __future__ import annotations

from pathlib import Path

from kubernetes.client import Configuration
from kubernetes.config import ConfigException, load_incluster_config, load_kube_config

from slicer.client.marks import NAMESPACE
from slicer.model.errors import InvalidError

NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


def load_configuration(kubeconfig: Path | None) -> Configuration:
    """How to reach the API server: the pod's service account, or a kubeconfig file."""
    configuration = Configuration()
    try:
        if kubeconfig is None:
            load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
        else:
            load_kube_config(  # type: ignore[no-untyped-call]
                str(kubeconfig), client_configuration=configuration, persist_config=False
            )
    except (ConfigException, OSError) as error:
        source = kubeconfig or "the pod's service account"
        raise InvalidError(f"no way to the Kubernetes API server from {source}: {error}") from None
    return configuration


def own_namespace() -> str:
    """The namespace of the pod that this process runs in; `slicer-system` outside of one."""
    try:
        return NAMESPACE_FILE.read_text().strip()
    except OSError:
        return NAMESPACE
