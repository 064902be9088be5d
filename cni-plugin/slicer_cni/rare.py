"""What the shim says without the agent: VERSION, the text for people, errors, and the tombstone of a DEL.

Compiled by the shim only when it is wanted; imports built-in modules only. Each function returns the exit code, after
everything for the runtime has been written.
"""

import posix

TOMBSTONES = b"/var/lib/slicer/tombstones"
VERSIONS = '"0.3.0","0.3.1","0.4.0","1.0.0","1.1.0"'
LATEST = "1.1.0"
FORBIDDEN = b"/ \t\n:"


def about(command: bytes, stdin: bytes) -> int:
    """VERSION's answer on stdout; without any command, a text for people on stderr."""
    if command:
        return write(1, f'{{"cniVersion":"{version(stdin)}","supportedVersions":[{VERSIONS}]}}\n', 0)
    versions = VERSIONS.replace('"', "").replace(",", ", ")
    return write(2, f"CNI plugin slicer (https://slicer.io)\nCNI versions supported: {versions}\n", 0)


def no_stdin(details: str) -> int:
    """Code 5, CNI specification 1.1.0: "I/O failure. For example, failed to read network config bytes from stdin"."""
    return fail(b"", 5, "cannot read the network configuration from stdin", details)


def failed(details: str) -> int:
    """A fault of the shim itself: runtimes read an error object, not a traceback."""
    return fail(b"", 999, "the CNI plugin slicer failed", details)


def without_agent(env: dict[bytes, bytes], command: bytes, stdin: bytes, why: str) -> int:
    """A DEL is noted for the agent and succeeds (runtimes repeat it for ever); all else is to be tried again."""
    if command == b"DEL":
        return bury(env, stdin)
    code = 50 if command == b"STATUS" else 11
    return fail(stdin, code, "the Slicer agent of this node does not answer; try again later", why)


def bury(env: dict[bytes, bytes], stdin: bytes) -> int:
    """Leave a tombstone, which the agent honours when it starts; nothing is written for a name that CNI forbids."""
    container, interface = env.get(b"CNI_CONTAINERID", b""), env.get(b"CNI_IFNAME", b"")
    if not container or not interface or any(byte in FORBIDDEN for byte in container + interface):
        return fail(stdin, 4, "CNI_CONTAINERID or CNI_IFNAME is missing or malformed", "")
    directory = env.get(b"SLICER_CNI_TOMBSTONES", TOMBSTONES)
    flags = posix.O_WRONLY | posix.O_CREAT | posix.O_CLOEXEC | posix.O_NOFOLLOW
    try:
        if not exists(directory):
            posix.mkdir(directory, 0o700)
        posix.close(posix.open(directory + b"/" + container + b":" + interface, flags, 0o600))
    except OSError as error:
        return fail(stdin, 11, "the Slicer agent of this node does not answer, and the DEL cannot be noted", str(error))
    return 0


def exists(path: bytes) -> bool:
    """Whether there is something at `path`."""
    try:
        posix.stat(path)
    except OSError:
        return False
    return True


def version(stdin: bytes) -> str:
    """The configuration's cniVersion, for the answer; the latest where it cannot be read."""
    text = stdin.partition(b'"cniVersion"')[2].partition(b'"')[2].partition(b'"')[0]
    return text.decode() if text and not text.strip(b"0123456789.") else LATEST


def fail(stdin: bytes, code: int, message: str, details: str) -> int:
    """Exit code 1, after an error object on stdout (CNI specification 1.1.0, section 4, "Error")."""
    safe = "".join(c for c in details if c.isprintable() and c not in '"\\')
    return write(1, f'{{"cniVersion":"{version(stdin)}","code":{code},"msg":"{message}","details":"{safe}"}}\n', 1)


def write(descriptor: int, text: str, code: int) -> int:
    """`code`, after all of `text` went out."""
    data = text.encode()
    while data:
        data = data[posix.write(descriptor, data) :]
    return code
