"""What outlives the controller's pod: the files in the Secret, and the CA that agents and name servers read."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from slicer.model.errors import UnavailableError
from slicer_controller.kube.keepsakes import Keepsakes
from tests.unit.kube.fake_api import FakeApi

SECRET = "/api/v1/namespaces/system/secrets/slicer-controller-state"
CONFIG_MAP = "/api/v1/namespaces/system/configmaps/slicer-ca"


def files(directory: Path, ca: str) -> Path:
    """A state directory with a CA."""
    directory.mkdir(exist_ok=True)
    (directory / "ca.key").write_text(f"key of {ca}")
    (directory / "ca.pem").write_text(ca)
    (directory / "server.key").write_text("made anew at each start")
    return directory


def secret(api: FakeApi) -> dict[str, str]:
    return {key: base64.b64decode(text).decode() for key, text in api.get(SECRET)["data"].items()}


def test_the_files_outlive_their_directory(tmp_path: Path) -> None:
    """Kept once and restored into an empty directory, secrets readable by their owner only; others are not kept."""
    api = FakeApi()
    for _ in range(2):
        Keepsakes(api, "system", files(tmp_path / "old", "one")).keep()
    assert api.writes == [("create", SECRET), ("create", CONFIG_MAP)]
    assert secret(api) == {"ca.key": "key of one", "ca.pem": "one"}

    Keepsakes(api, "system", tmp_path / "new").restore()

    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["ca.key", "ca.pem"]
    assert (tmp_path / "new" / "ca.key").stat().st_mode & 0o777 == 0o600


def test_a_kill_between_secret_and_config_map_is_mended(tmp_path: Path) -> None:
    """Agents could never join without the ConfigMap: the next start makes it, although the Secret has everything."""

    class Killed(FakeApi):
        def create(self, path: str, body: object) -> object:
            if path.endswith("configmaps") and not self.away:
                self.away = True
                raise UnavailableError("the end of this process")
            return super().create(path, body)

    api = Killed()
    with pytest.raises(UnavailableError):
        Keepsakes(api, "system", files(tmp_path, "one")).keep()
    assert (SECRET in api.objects, CONFIG_MAP in api.objects) == (True, False)

    after = FakeApi()
    after.objects = api.objects
    keepsakes = Keepsakes(after, "system", tmp_path)
    keepsakes.restore()
    keepsakes.keep()

    assert after.get(CONFIG_MAP)["data"] == {"ca.pem": "one"}


def test_what_somebody_removed_or_changed_comes_back(tmp_path: Path) -> None:
    """The same process looks again; labels and the like of others stay."""
    api = FakeApi()
    keepsakes = Keepsakes(api, "system", files(tmp_path, "one"))
    keepsakes.keep()

    api.delete(CONFIG_MAP)
    api.merge(SECRET, {"metadata": {"labels": {"backup": "yes"}}, "data": {"ca.key": "", "stray": "eA=="}})
    keepsakes.keep()

    assert api.get(CONFIG_MAP)["data"] == {"ca.pem": "one"}
    assert secret(api) == {"ca.key": "key of one", "ca.pem": "one"}
    assert api.get(SECRET)["metadata"]["labels"]["backup"] == "yes"


def test_the_secret_wins_over_an_old_directory(tmp_path: Path) -> None:
    """A node's directory of another time must not bring back a CA that nobody believes; what was never kept stays."""
    api = FakeApi()
    Keepsakes(api, "system", files(tmp_path / "now", "two")).keep()
    old = files(tmp_path / "old", "one")
    (old / "admin.token").write_text("not kept yet")

    keepsakes = Keepsakes(api, "system", old)
    keepsakes.restore()
    keepsakes.keep()

    assert {name: (old / name).read_text() for name in ("ca.key", "ca.pem", "admin.token")} == {
        "ca.key": "key of two",
        "ca.pem": "two",
        "admin.token": "not kept yet",
    }
    assert secret(api)["admin.token"] == "not kept yet"
    assert api.get(CONFIG_MAP)["data"] == {"ca.pem": "two"}
