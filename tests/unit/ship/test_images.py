"""What the images are made of, without making one: tests/kubernetes makes and runs them."""

from __future__ import annotations

import re

import pytest

from tools.images import IMAGES, PACKAGES, Image, config_of
from tools.pins import read_pins
from tools.run import ROOT

CONTAINERFILE = (ROOT / "manifests/images/Containerfile").read_text()


def stage(image: Image) -> str:
    """The lines of an image's last stage."""
    return CONTAINERFILE.partition(f"FROM scratch AS {image.name}\n")[2].partition("\nFROM ")[0]


@pytest.mark.parametrize("image", IMAGES, ids=lambda image: image.name)
def test_containerfile_says_the_same(image: Image) -> None:
    """The Containerfile's target runs the same program as the same user in the same environment as the archive."""
    config = config_of(image)
    words = ", ".join(f'"{word}"' for word in config["Entrypoint"])

    assert f"ENTRYPOINT [{words}]" in stage(image)
    assert f"USER {config['User']}" in stage(image)
    assert f"ENV {' '.join(config['Env'])}" in stage(image)
    assert f"COPY --from=build /roots/{image.name} /" in stage(image)


def test_containerfile_pins_the_same_uv() -> None:
    """The Containerfile installs the version of uv that versions.toml pins."""
    assert re.findall(r"uv==(\S+)", CONTAINERFILE) == [read_pins().uv]


def test_only_the_agent_is_root() -> None:
    """Controller and name server run as nobody; the agent cannot."""
    assert [image.name for image in IMAGES if image.user.startswith("0")] == ["agent"]


def test_no_shell_and_no_package_manager() -> None:
    """No package that brings a shell or installs others goes into an image."""
    text = PACKAGES.read_text()

    assert '"libc6"' in text
    assert not [name for name in ("bash", "dash", "busybox", "apt", "dpkg", "coreutils") if f'"{name}"' in text]
