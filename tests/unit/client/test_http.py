"""What our processes import with httpx."""

from __future__ import annotations

import subprocess
import sys


def test_no_command_line_is_imported_with_the_client() -> None:
    """click, rich and pygments, which are installed here, stay out of a process that only speaks HTTP."""
    program = "import sys, slicer.client.rest; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    modules = set(done.stdout.split())

    assert "httpx" in modules
    assert not modules & {"click", "rich", "pygments"}
