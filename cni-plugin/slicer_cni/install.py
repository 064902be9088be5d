"""Writes the shim as the executable `slicer` into a CNI directory: `python -m slicer_cni.install --bin-dir D`."""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

DEFAULT_BIN_DIR = Path("/opt/cni/bin")
DEFAULT_INTERPRETER = "/usr/bin/python3"
"""The system's own Python starts quickest; a virtual environment's adds the search for its home."""


def install(bin_dir: Path, interpreter: str = DEFAULT_INTERPRETER) -> Path:
    """The installed executable. It replaces an older one in one step: a call meanwhile finds one of the two."""
    here = Path(__file__)
    rare, shim = here.with_name("rare.py").read_text(), here.with_name("shim.py").read_text()
    text = shim.replace('RARE = ""', f"RARE = {rare!r}", 1)
    bin_dir.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=bin_dir, prefix=".slicer-")
    with os.fdopen(handle, "w") as file:
        # -I: no environment, no user site; -S: no site at all. Both for speed, and so that nobody's PYTHONPATH gets in.
        file.write(f"#!{interpreter} -IS\n{text}")
        os.fchmod(file.fileno(), 0o755)
    target = bin_dir / "slicer"
    Path(temporary).rename(target)
    return target


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bin-dir", type=Path, default=DEFAULT_BIN_DIR)
    parser.add_argument("--interpreter", default=DEFAULT_INTERPRETER, help="a Python 3.11 or newer on the node")
    given = parser.parse_args()
    print(install(given.bin_dir, given.interpreter))


if __name__ == "__main__":
    main()
