"""The controller's side of Kubernetes: custom resources, store, watching, leader election, pods.

Nothing outside this package imports the kubernetes client or kopf; without `--store kubernetes` neither is loaded.
"""
