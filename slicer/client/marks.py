"""Names in a Kubernetes cluster that both the controller and slicectl look for: of objects, annotations, labels."""

from __future__ import annotations

NAMESPACE = "slicer-system"
"""Where everything of ours is, unless told otherwise."""
STATE_SECRET = "slicer-controller-state"  # noqa: S105 (the name of the object, not what is in it)
"""Files of the controller that must outlive its pod."""
JOIN_SECRET = "slicer-join"  # noqa: S105 (the name of the object, not what is in it)
"""The hub's join token, for a member's controller."""
CA_MAP = "slicer-ca"
"""ConfigMap with the CA of the controller, for agents, name servers and users."""
WEBHOOK = "slicer-pods"
"""MutatingWebhookConfiguration."""
FINALIZER = "slicer.io/finalizer"
FORCE = "slicer.io/force-delete"
"""Annotation: delete the object although it is in use."""
ATTACHMENTS = "slicer.io/attachments"
"""Annotation of a pod: what it has now, as JSON."""
MANAGED_BY = "app.kubernetes.io/managed-by"
"""Label, with the value MANAGER_NAME, of what the controller makes outside of its own kinds."""
MANAGER_NAME = "slicer"
