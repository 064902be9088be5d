"""The executable that starts the shim on a host without Python: an ELF file of some hundred bytes, written here.

A host may have neither Python nor a shell, and a `#!` line passes one argument only, while our own loader needs several
(which libraries, which program, its flags). So the file is one `execve` with a fixed argument list; the environment is
passed on as it is. It needs no library, and starts in the time that the kernel takes to map one page.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from slicer_cni.rare import LATEST

_BASE = 0x400000
_EHDR, _PHDR = 64, 56
"""Sizes of the ELF header and of a program header (System V ABI, 64 bit)."""
_EM_X86_64 = 62
_FAILED = (
    f'{{"cniVersion":"{LATEST}","code":999,"msg":"the CNI plugin slicer is damaged: its interpreter does not start",'
    f'"details":"install it again: restart the Slicer agent of this node"}}\n'
)


def render_launcher(argv: Sequence[str]) -> bytes:
    """An x86-64 executable that becomes `argv` (its first word is the path), with its own environment.

    If that fails it writes a CNI error object to stdout and ends with code 1.
    """
    texts = [word.encode() + b"\0" for word in argv]
    failed = _FAILED.encode()
    code_at = _BASE + _EHDR + _PHDR
    table_at = code_at + len(_code(0, 0, 0, len(failed)))
    texts_at = table_at + 8 * (len(texts) + 1)
    places = [texts_at + sum(map(len, texts[:index])) for index in range(len(texts))]
    failed_at = texts_at + sum(map(len, texts))
    code = _code(places[0], table_at, failed_at, len(failed))
    body = code + struct.pack(f"<{len(places) + 1}Q", *places, 0) + b"".join(texts) + failed
    return _headers(code_at, _EHDR + _PHDR + len(body)) + body


def _code(path: int, table: int, failed: int, failed_size: int) -> bytes:
    """The instructions. At the start the stack holds argc, argv, a null, the environment (System V ABI, 3.4.1)."""
    return b"".join((
        b"\x48\x8b\x0c\x24",  # mov rcx, [rsp]              argc
        b"\x48\x8d\x54\xcc\x10",  # lea rdx, [rsp+rcx*8+16]     the environment
        b"\xbf" + struct.pack("<I", path),  # mov edi, path
        b"\xbe" + struct.pack("<I", table),  # mov esi, table
        b"\xb8" + struct.pack("<I", 59),  # mov eax, SYS_execve
        b"\x0f\x05",  # syscall                     comes back only if it fails
        b"\xbf" + struct.pack("<I", 1),  # mov edi, 1                  stdout
        b"\xbe" + struct.pack("<I", failed),  # mov esi, failed
        b"\xba" + struct.pack("<I", failed_size),  # mov edx, failed_size
        b"\xb8" + struct.pack("<I", 1),  # mov eax, SYS_write
        b"\x0f\x05",  # syscall
        b"\xbf" + struct.pack("<I", 1),  # mov edi, 1
        b"\xb8" + struct.pack("<I", 60),  # mov eax, SYS_exit
        b"\x0f\x05",  # syscall
    ))  # fmt: skip


def _headers(entry: int, size: int) -> bytes:
    """ELF header and one program header: the whole file, readable and executable, at _BASE."""
    identity = b"\x7fELF" + bytes((2, 1, 1)) + bytes(9)
    header = struct.pack("<HHIQQQIHHHHHH", 2, _EM_X86_64, 1, entry, _EHDR, 0, 0, _EHDR, _PHDR, 1, 0, 0, 0)
    segment = struct.pack("<IIQQQQQQ", 1, 5, 0, _BASE, _BASE, size, size, 0x1000)
    return identity + header + segment
