"""The CNI executable `slicer`: hands one CNI call to the agent's socket and its answer back to the runtime.

Started once a call, so: two built-in modules, an end by `_exit` (`import json` alone would double its run time), and no
more source than the usual case needs. What is rare (`rare.py`) is put in here by the installer as one string, RARE,
which is compiled only when it is wanted; so the whole is one file.
"""

import _socket
import posix

RARE = ""
SOCKET = b"/run/slicer/cni.sock"
TIMEOUT_S = 90.0
"""Longer than anything that the agent does; only a stopped agent lets a call run into it."""


def main() -> int:
    """Exit code of the call; everything for the runtime has been written."""
    env = posix.environ
    command = env.get(b"CNI_COMMAND", b"")
    stdin = answer = b""
    why = "it ended during the call"
    try:
        if command:
            stdin = read(posix.read, 0)
    except OSError as error:
        return rare("no_stdin", str(error))
    if command in (b"", b"VERSION"):
        return rare("about", command, stdin)
    try:
        answer = call(env, stdin)
    except OSError as error:
        why = str(error)
    if answer[:1] not in (b"0", b"1"):
        return rare("without_agent", env, command, stdin, why)
    written = 1
    while written < len(answer):
        written += posix.write(1, answer[written:])
    return answer[0] - 48


def call(env: "dict[bytes, bytes]", stdin: bytes) -> bytes:
    """The agent's whole answer: the exit code as a digit, then the bytes for stdout."""
    names = [name for name in env if name[:4] == b"CNI_"]
    link = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    link.settimeout(TIMEOUT_S)
    link.connect(env.get(b"SLICER_CNI_SOCKET", SOCKET))
    link.sendall(b"".join([name + b"=" + env[name] + b"\0" for name in names]) + b"\0" + stdin)
    link.shutdown(_socket.SHUT_WR)
    return read(_socket.socket.recv, link)


def read(receive, source) -> bytes:  # type: ignore[no-untyped-def]  # noqa: ANN001  # naming the types costs an import
    """Everything up to the end of the source."""
    data: bytes = receive(source, 65536)
    piece = data
    while piece:
        piece = receive(source, 65536)
        data += piece
    return data


def rare(function: str, *arguments: object) -> int:
    """The exit code of one of the functions of `rare.py`."""
    names: dict[str, object] = {"__name__": "slicer_cni.rare"}
    exec(RARE, names)  # noqa: S102  # our own text, part of this file
    return names[function](*arguments)  # type: ignore[operator,no-any-return]


if __name__ == "__main__":
    try:
        status = main()
    except BaseException as error:
        status = rare("failed", repr(error))
    posix._exit(status)  # noqa: SLF001  # the public name of it is os._exit; `os` is too dear here
