"""Installing Slicer in a Kubernetes cluster and taking it out again: what `slicectl install` and `uninstall` do."""
