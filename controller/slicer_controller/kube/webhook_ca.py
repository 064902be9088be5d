"""Tells the API server which CA our webhook's certificate comes from: the controller's own, made at its first start."""

from __future__ import annotations

import base64
import logging

from slicer.client.kube_api import Api
from slicer.client.marks import WEBHOOK

log = logging.getLogger(__name__)
_PATH = f"/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/{WEBHOOK}"


def fill_ca(api: Api, pem: str) -> None:
    """Write the CA into our webhook's configuration, if that is installed and says something else."""
    found = api.find(_PATH)
    bundle = base64.b64encode(pem.encode()).decode()
    if found is None or all(hook["clientConfig"].get("caBundle") == bundle for hook in found.get("webhooks", [])):
        return
    for hook in found["webhooks"]:
        hook["clientConfig"]["caBundle"] = bundle
    api.replace(_PATH, found)
    log.info("webhook's CA filled in", extra={"configuration": WEBHOOK})
