"""An agent's attaching half that kills itself (SIGKILL) just before its n-th effect: `mortal.py STATE RUN VIEW N`.

Effects are what outlives the process: a file written, renamed or removed, a batch sent to the kernel. N = 0 never dies.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from slicer.agent.service import AttachService
from slicer.client.codec import decode_documents
from slicer.kernel.rtnl import Channel


def main() -> None:
    """Serve until killed; says `ready` when it serves, and only effects after that count."""
    state, run, view = map(Path, sys.argv[1:4])
    documents = decode_documents(json.loads(view.read_text()))
    AttachService(state=state, run=run, cluster="a", node="a-n1", view=lambda: documents, patience_s=0.2)
    arm(int(sys.argv[4]))
    print("ready", flush=True)
    threading.Event().wait()


def arm(fatal: int) -> None:
    """Count effects from now on, and die before the fatal one."""
    done = 0
    lock = threading.Lock()

    def mortal(effect: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            nonlocal done
            with lock:
                done += 1
                if done == fatal:
                    os.kill(os.getpid(), signal.SIGKILL)
            return effect(*arguments, **options)

        return call

    Channel.run = mortal(Channel.run)  # type: ignore[method-assign]
    for name in ("rename", "unlink"):
        setattr(Path, name, mortal(getattr(Path, name)))
    os.write = mortal(os.write)


if __name__ == "__main__":
    main()
