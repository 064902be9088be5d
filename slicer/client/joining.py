"""Where a process gets its first proof of identity from: a join token in a file, or what Kubernetes gives a pod.

In Kubernetes nobody hands out tokens: a projected service account token (audience `slicer`) says which pod, and so
which node, is asking, and the controller's CA lies in a ConfigMap.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

from slicer.model.errors import InvalidError, UnavailableError


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceJoin:
    """How a pod joins."""

    url: str
    """The controller's."""
    ca_file: Path
    account_file: Path

    def token(self) -> str:
        """A join token of now: Kubernetes renews the file. UnavailableError while the files are not there yet."""
        # Not at the top: whoever only parses a command line need not carry TLS and certificates.
        from slicer.client.identity import SERVICE_ACCOUNT, JoinToken, fingerprint, render_token

        try:
            ca, secret = self.ca_file.read_text(), self.account_file.read_text().strip()
        except OSError as error:
            raise UnavailableError(f"cannot join yet: {error}") from None
        return render_token(JoinToken(url=self.url, ca_sha256=fingerprint(ca), id=SERVICE_ACCOUNT, secret=secret))


def add_join_arguments(parser: argparse.ArgumentParser) -> None:
    """The three flags of a pod."""
    parser.add_argument("--join", metavar="URL", help="in a pod: the controller, instead of a join token")
    parser.add_argument("--join-ca", type=Path, metavar="FILE", help="with --join: the controller's CA")
    parser.add_argument("--join-service-account", type=Path, metavar="FILE", help="with --join: the pod's token")


def parse_join(given: argparse.Namespace) -> ServiceJoin | None:
    """What the three flags say; InvalidError unless all are given, or none."""
    flags = (given.join, given.join_ca, given.join_service_account)
    if flags == (None, None, None):
        return None
    if None in flags:
        raise InvalidError("--join, --join-ca and --join-service-account belong together; give all three")
    if not given.join.startswith("https://"):
        raise InvalidError(f"--join {given.join!r} is not a URL like https://192.0.2.1:7443")
    return ServiceJoin(url=given.join.rstrip("/"), ca_file=given.join_ca, account_file=given.join_service_account)
