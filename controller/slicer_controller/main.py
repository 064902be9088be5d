"""`slicer-controller`: the command line, and the life of the process. See README.md beside this package."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from slicer.client.identity import Identity, load_or_join
from slicer.model.errors import InvalidError, SlicerError
from slicer.model.names import Prefix, check_label, parse_address, parse_prefix
from slicer.plan.rotation import check_interval
from slicer_controller.logs import log_to_stderr
from slicer_controller.platform import Platform
from slicer_controller.running import Controller
from slicer_controller.store import Store

log = logging.getLogger("slicer-controller")


@dataclass(frozen=True, slots=True, kw_only=True)
class KubernetesOptions:
    """What `--store kubernetes` needs to know."""

    kubeconfig: Path | None
    """None: the pod's service account."""
    namespace: str
    """Empty: the pod's own."""
    service: str
    probes: tuple[str, int] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The command line."""

    roles: frozenset[str]
    state: Path
    host: str
    port: int
    advertise: str
    cluster: str
    cidrs: tuple[Prefix, ...]
    join_token_file: Path | None
    serve_as: tuple[str, ...] = ()
    kubernetes: KubernetesOptions | None = None
    rotate_every_s: int = 0


def parse_options(arguments: Sequence[str]) -> Options:
    """The options; InvalidError (and argparse's exit 2) for those that make no sense."""
    given = _parser().parse_args(arguments)
    roles = frozenset(given.role)
    if "member" in roles and not given.cluster:
        raise InvalidError("--role member needs --cluster NAME")
    if roles == {"hub"} and (given.cluster or given.cidr):
        raise InvalidError("--cluster and --cidr are for --role member")
    if given.cluster:
        check_label("cluster name", given.cluster)
    if given.rotate_keys_every_s and "hub" not in roles:
        raise InvalidError("--rotate-keys-every-s is for --role hub")
    host, port = parse_listen(given.listen)
    advertise = given.advertise or f"https://{given.listen}"
    if urlsplit(advertise).scheme != "https" or not urlsplit(advertise).hostname:
        raise InvalidError(f"--advertise {advertise!r} is not a URL like https://192.0.2.1:7443")
    return Options(
        roles=roles,
        state=Path(given.state),
        host=host,
        port=port,
        advertise=advertise.rstrip("/"),
        cluster=given.cluster or "",
        cidrs=tuple(parse_prefix("--cidr", text) for texts in given.cidr for text in texts.split(",") if text),
        join_token_file=Path(given.join_token_file) if given.join_token_file else None,
        serve_as=tuple(given.serve_as),
        kubernetes=_kubernetes(given) if given.store == "kubernetes" else None,
        rotate_every_s=check_interval(given.rotate_keys_every_s),
    )


def _kubernetes(given: argparse.Namespace) -> KubernetesOptions:
    return KubernetesOptions(
        kubeconfig=Path(given.kubeconfig) if given.kubeconfig else None,
        namespace=given.namespace,
        service=given.service,
        probes=parse_listen(given.probe_listen, "--probe-listen") if given.probe_listen else None,
    )


def parse_listen(text: str, flag: str = "--listen") -> tuple[str, int]:
    """Address and port of `192.0.2.1:7443` or `[2001:db8::1]:7443`."""
    host, _, port = text.rpartition(":")
    if not (port.isascii() and port.isdigit() and int(port) <= 65535):
        raise InvalidError(f"{flag} {text!r} is not IP:PORT")
    host = host.removeprefix("[").removesuffix("]")
    parse_address(f"{flag} address", host)
    return host, int(port)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="slicer-controller", description="The controller of Slicer.")
    parser.add_argument("--role", action="append", choices=["hub", "member"], required=True, help="may be given twice")
    parser.add_argument("--state", required=True, metavar="DIR", help="store, CA and identity; made if missing")
    parser.add_argument("--listen", required=True, metavar="IP:PORT")
    parser.add_argument("--advertise", metavar="https://IP:PORT", help="how others reach it (default: --listen)")
    parser.add_argument("--cluster", metavar="NAME", help="the member's cluster")
    parser.add_argument(
        "--cidr", action="append", default=[], metavar="PREFIX", help="of the cluster's own network; with commas"
    )
    parser.add_argument("--join-token-file", metavar="FILE", help="a hub's join token, for the first start")
    parser.add_argument("--serve-as", action="append", default=[], metavar="NAME", help="more names in the certificate")
    parser.add_argument("--store", default="sqlite", choices=["sqlite", "kubernetes"], help="where its memory is")
    parser.add_argument("--kubeconfig", metavar="FILE", help="outside of a pod: how to reach the API server")
    parser.add_argument("--namespace", default="", help="of the controller's own objects (default: the pod's)")
    parser.add_argument("--service", default="slicer-controller", metavar="NAME", help="the Service that leads here")
    parser.add_argument("--probe-listen", metavar="IP:PORT", help="plain HTTP: /healthz and /readyz, also on standby")
    parser.add_argument(
        "--rotate-keys-every-s",
        type=int,
        default=0,
        metavar="SECONDS",
        help="new tunnel keys this often (hub; 0: never)",
    )
    parser.add_argument("--log-level", default="info", choices=["debug", "info", "warning", "error"])
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until SIGTERM or SIGINT. 0: ended as asked; 1: could not start; 2: the command line is wrong."""
    arguments = sys.argv[1:] if arguments is None else arguments
    level = _parser().parse_known_args(arguments)[0].log_level
    log_to_stderr(level)
    try:
        options = parse_options(arguments)
    except InvalidError as error:
        log.error("command line refused", extra={"error": error.message})  # noqa: TRY400  # the message is all
        return 2
    try:
        asyncio.run(_run(options))
    except (SlicerError, OSError) as error:
        log.error("cannot run", extra={"error": str(error)})  # noqa: TRY400  # the message is all
        return 1
    return 0


async def _run(options: Options) -> None:
    os.umask(0o077)
    options.state.mkdir(mode=0o700, parents=True, exist_ok=True)
    if options.kubernetes is not None:
        # Only then: the API client and kopf take memory and half a second.
        from slicer_controller.kube.running import run_in_kubernetes

        await run_in_kubernetes(options, options.kubernetes)
        return
    controller = make_controller(options, load_identity(options))
    stop_on_signals(controller.stop)
    await controller.run()


def load_identity(options: Options) -> Identity | None:
    """A member's identity; joins at the first start. None for a hub."""
    if options.roles != {"member"}:
        return None
    token = options.join_token_file.read_text() if options.join_token_file else None
    return load_or_join(options.state / "identity", token, expect=f"slicer://cluster/{options.cluster}")


def make_controller(
    options: Options, identity: Identity | None, store: Store | None = None, platform: Platform | None = None
) -> Controller:
    """The controller that the command line asks for."""
    return Controller(
        roles=options.roles,
        directory=options.state,
        host=options.host,
        port=options.port,
        advertise=options.advertise,
        cluster=options.cluster,
        cidrs=options.cidrs,
        identity=identity,
        clock=time.time,
        hosts=frozenset(options.serve_as),
        store=store,
        platform=platform,
        rotate_every_s=options.rotate_every_s,
    )


def stop_on_signals(stop: Callable[[], None]) -> None:
    """SIGTERM and SIGINT call `stop` in the running loop."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)


if __name__ == "__main__":
    sys.exit(main())
