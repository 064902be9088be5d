"""Image archives (OCI image layout in a tar file) without a container builder: layers from files, or ready tar files.

The bytes of an archive depend on what is in it only, never on when or where it was made.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

LAYER = "application/vnd.oci.image.layer.v1.tar"
CONFIGURATION = "application/vnd.oci.image.config.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A symbolic link in an image."""

    to: str


Content = Path | bytes | Link | None
"""A file of this machine, a file's content, a link; None: a directory."""


def render_layer(entries: Mapping[str, Content]) -> bytes:
    """A layer with these entries by absolute path; directories on the way are made, all belongs to root."""
    buffer = io.BytesIO()
    made: set[str] = set()
    with tarfile.open(fileobj=buffer, mode="w") as layer:
        for path, content in sorted(entries.items()):
            name = path.strip("/")
            parents = [str(parent) for parent in reversed(PurePosixPath(name).parents) if str(parent) != "."]
            for directory in [*parents, *([name] if content is None else [])]:
                if directory not in made:
                    made.add(directory)
                    layer.addfile(_directory(directory))
            if content is not None:
                _add(layer, name, content)
    return buffer.getvalue()


def write_archive(
    target: Path, names: Sequence[str], layers: Sequence[bytes | Path], config: Mapping[str, Any]
) -> None:
    """One image under these names. `config`: Entrypoint, Cmd, Env, User … as in the OCI image configuration."""
    fresh = target.with_name(target.name + ".new")
    with tarfile.open(fresh, "w") as archive:
        blobs = [_put_blob(archive, layer, LAYER) for layer in layers]
        platform = {"architecture": ARCHITECTURES[os.uname().machine], "os": "linux"}
        rootfs = {"type": "layers", "diff_ids": [blob["digest"] for blob in blobs]}
        settings = {"Env": [PATH], **config}
        image = _put_blob(archive, _json({**platform, "config": settings, "rootfs": rootfs}), CONFIGURATION)
        manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "config": image, "layers": blobs}
        found = _put_blob(archive, _json(manifest), MANIFEST)
        index = [{**found, "annotations": {"io.containerd.image.name": name}} for name in names]
        _put(archive, "oci-layout", _json({"imageLayoutVersion": "1.0.0"}))
        _put(archive, "index.json", _json({"schemaVersion": 2, "manifests": index}))
    fresh.replace(target)


def _directory(name: str) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type = tarfile.DIRTYPE
    info.mode = 0o1777 if name == "tmp" else 0o755
    return info


def _add(layer: tarfile.TarFile, name: str, content: Path | bytes | Link) -> None:
    info = tarfile.TarInfo(name)
    info.mode = 0o644
    if isinstance(content, Link):
        info.type, info.linkname, info.mode = tarfile.SYMTYPE, content.to, 0o777
        layer.addfile(info)
        return
    if isinstance(content, Path):
        info.mode = 0o755 if os.access(content, os.X_OK) else 0o644
        content = content.read_bytes()
    info.size = len(content)
    layer.addfile(info, io.BytesIO(content))


def _put_blob(archive: tarfile.TarFile, content: bytes | Path, kind: str) -> dict[str, Any]:
    digest, size = _digest(content)
    _put(archive, f"blobs/sha256/{digest}", content)
    return {"mediaType": kind, "digest": f"sha256:{digest}", "size": size}


def _digest(content: bytes | Path) -> tuple[str, int]:
    if isinstance(content, bytes):
        return hashlib.sha256(content).hexdigest(), len(content)
    with open(content, "rb") as source:
        return hashlib.file_digest(source, "sha256").hexdigest(), content.stat().st_size


def _put(archive: tarfile.TarFile, name: str, content: bytes | Path) -> None:
    if name in {member.name for member in archive.getmembers()}:
        return
    info = tarfile.TarInfo(name)
    if isinstance(content, bytes):
        info.size = len(content)
        archive.addfile(info, io.BytesIO(content))
        return
    info.size = content.stat().st_size
    with open(content, "rb") as source:
        archive.addfile(info, source)


def _json(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, sort_keys=True).encode()
