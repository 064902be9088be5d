"""The files of the state directory that must outlive the pod, in a Secret; and the CA, for everybody, in a ConfigMap.

The directory may then be an empty one at each start. Files are restored before anything is made, and kept whenever they
differ from what is there (a member's certificate is renewed by itself).
"""

from __future__ import annotations

import base64
import binascii
import logging
from pathlib import Path
from typing import Any

from slicer.client.files import read_if_there, write_atomic
from slicer.client.kube_api import Api
from slicer.client.marks import CA_MAP, MANAGED_BY, MANAGER_NAME, STATE_SECRET
from slicer.model.errors import InvalidError

log = logging.getLogger(__name__)
FILES = (
    "ca.key",
    "ca.pem",
    "admin.token",
    "identity/key.pem",
    "identity/certificate.pem",
    "identity/ca.pem",
    "identity/server.json",
)
Json = dict[str, Any]


class Keepsakes:
    """The files of one controller."""

    def __init__(self, api: Api, namespace: str, directory: Path) -> None:
        self._api, self._directory = api, directory
        self._secrets = f"/api/v1/namespaces/{namespace}/secrets"
        self._config_maps = f"/api/v1/namespaces/{namespace}/configmaps"

    def restore(self) -> None:
        """Write the files that were kept over what lies in the directory: that may be of another time.

        A file that was never kept stays: a kill came before `keep`.
        """
        secret = self._api.find(f"{self._secrets}/{STATE_SECRET}")
        for key, text in ((secret or {}).get("data") or {}).items():
            path, content = self._directory / _path(key), _decoded(key, text)
            if _path(key) in FILES and read_if_there(path) != content:
                path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                write_atomic(path, content)

    def keep(self) -> None:
        """Make the Secret hold the files, then the ConfigMap the CA: nobody is told of a CA that could be lost.

        Both are compared with what is there, not with what was written: a kill came in between, or somebody removed
        one.
        """
        files = {name: content for name in FILES if (content := read_if_there(self._directory / name)) is not None}
        data = {_key(name): base64.b64encode(content).decode() for name, content in files.items()}
        if self._write(self._secrets, STATE_SECRET, {"kind": "Secret", "type": "Opaque", "data": data}):
            log.info("files kept", extra={"secret": STATE_SECRET, "files": sorted(files)})
        if "ca.pem" in files:
            config_map: Json = {"kind": "ConfigMap", "data": {"ca.pem": files["ca.pem"].decode()}}
            if self._write(self._config_maps, CA_MAP, config_map):
                log.info("CA published", extra={"config_map": CA_MAP})

    def _write(self, collection: str, name: str, content: Json) -> bool:
        """Whether anything had to be written."""
        found = self._api.find(f"{collection}/{name}")
        if found is None:
            metadata = {"name": name, "labels": {MANAGED_BY: MANAGER_NAME}}
            self._api.create(collection, {"apiVersion": "v1", "metadata": metadata, **content})
        elif (found.get("data") or {}) != content["data"]:
            self._api.replace(f"{collection}/{name}", {**found, "data": content["data"]})
        else:
            return False
        return True


def _key(name: str) -> str:
    """Keys of a Secret have no slash."""
    return name.replace("/", "..")


def _path(key: str) -> str:
    return key.replace("..", "/")


def _decoded(key: str, text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error):
        raise InvalidError(f"Secret {STATE_SECRET}: {key} is not base64") from None
