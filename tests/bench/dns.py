"""DNS answers a second and core: slicer-dns beside dnslib's own server and CoreDNS, the same records, the same run."""

from __future__ import annotations

import tempfile
from pathlib import Path

from tests.bench.dns_servers import COREDNS, DNSLIB, OURS, ask, commands, records, serving, write_inputs
from tests.bench.measure import Goal, Row, Samples, interleave
from tests.bench.outcome import Outcome
from tools.pins import read_pins

NAMES = 1000
WARM_UP_S = 1


def run(*, quick: bool) -> Outcome:
    """Measures; `quick` with one short round and without CoreDNS, which takes minutes to build."""
    rounds, seconds = (1, 1) if quick else (7, 5)
    with tempfile.TemporaryDirectory(prefix="slicer-bench-") as made:
        directory = Path(made)
        write_inputs(directory, NAMES)
        lines = commands(directory, coredns=not quick)
        rates, per_core, memory = Samples(tuple(lines)), Samples(tuple(lines)), Samples(tuple(lines))
        for _, variant in interleave(tuple(lines), rounds):
            with serving(lines[variant], next(iter(records(1)))) as server:
                ask(server, directory / "questions", WARM_UP_S)
                rate, of_core = ask(server, directory / "questions", seconds)
                rates.add(variant, rate)
                per_core.add(variant, of_core)
                memory.add(variant, server.rss_mib())
    return Outcome(
        title="DNS answers",
        how=(
            f"One process on one core, dnsperf on another core of the same machine, {NAMES} names with one A record "
            f"each, 8 clients, {seconds} s a round after {WARM_UP_S} s to warm up, {rounds} rounds, each variant in "
            f"turn in each round. `dnslib.server` answers from a dict; CoreDNS (`{read_pins().coredns}`) with its "
            f"`file` plugin and GOMAXPROCS=1. Processor time is the server's, so that the second row does not depend "
            f"on how fast dnsperf asks."
        ),
        rows=_rows(rates, per_core, memory),
        settings={"names": NAMES, "rounds": rounds, "seconds": seconds},
    )


def _rows(rates: Samples, per_core: Samples, memory: Samples) -> tuple[Row, ...]:
    compared = {DNSLIB: 10.0, COREDNS: 3.0}
    goals = tuple(
        Goal(subject=OURS, against=other, at_least=bound)
        for other, bound in compared.items()
        if other in rates.frozen()
    )
    return (
        Row(name="answers a second", unit="1/s", samples=rates.frozen(), paired=True, goals=goals[:1]),
        Row(name="answers a second of processor time", unit="1/s", samples=per_core.frozen(), paired=True, goals=goals),
        Row(
            name="resident memory after that",
            unit="MiB",
            samples=memory.frozen(),
            goals=(Goal(subject=OURS, at_most=60),),
        ),
    )
