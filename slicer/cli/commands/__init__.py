"""The commands, one module a topic; `slicer.cli.main` gives them their names."""
