"""CPU time per request of Lumi's front end beside that of `vllm serve`, measured in one run: see README.md."""

import argparse
import os
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import report
from cases import CASES, TURNS, Case, Request
from images import Album
from samples import WrongAnswer, idle_rates, sample
from servers import Server, StartFailed, both, shipped_model

WARM_UP = TURNS  # requests of each case; one conversation


def main(arguments: Sequence[str]) -> int:
    """Measure and print; the exit code is 1 where the servers' answers differ or one is wrong."""
    settings = _parse(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # an exception, so that the servers are ended
    cases = [case for case in CASES if not settings.only or case.name in settings.only]
    load = os.getloadavg()[0]
    album = Album()
    try:
        with tempfile.TemporaryDirectory(prefix="front-end-") as directory:
            model = shipped_model(Path(directory))
            _progress("starting both servers")
            with both(model, Path(directory)) as servers:
                rates, results = _measure(servers, cases, album, settings)
    except (WrongAnswer, StartFailed) as fault:
        print(fault, file=sys.stderr)
        return 1
    print(report.table(results), report.notes(rates, load, album.sizes()), report.machine(), sep="\n\n")
    print(f"\n`{report.command(arguments)}`")
    return 0


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9, help="pairs of samples of each column (default: 9)")
    parser.add_argument("--requests", type=int, default=20, help="requests of a sample (default: 20)")
    parser.add_argument("--tokens", type=int, default=8, help="tokens of every answer (default: 8)")
    parser.add_argument("--only", action="append", help="a column to measure, in place of all; may be repeated")
    settings = parser.parse_args(arguments)
    names = [case.name for case in CASES]
    if unknown := set(settings.only or ()) - set(names):
        parser.error(f"no column is called {', '.join(unknown)}; there are: {'; '.join(names)}")
    if settings.rounds < 1 or settings.requests < TURNS or settings.requests % TURNS:
        parser.error(f"--rounds is at least 1, --requests a multiple of {TURNS}: whole conversations")
    return settings


def _measure(
    servers: tuple[Server, Server], cases: Sequence[Case], album: Album, settings: argparse.Namespace
) -> tuple[list[float], dict[str, list[report.Pair]]]:
    """The idle rates, and the pairs of each column."""
    for case in cases:
        _progress(f"warming up: {case.name}")
        _pair(servers, case, case.requests(album, WARM_UP, settings.tokens), (0.0, 0.0))
    rates = idle_rates(servers)
    results: dict[str, list[report.Pair]] = {case.name: [] for case in cases}
    for number in range(settings.rounds):
        for case in cases:
            requests = case.requests(album, settings.requests, settings.tokens)
            theirs, ours = pair = _pair(servers, case, requests, rates, swapped=number % 2 == 1)
            results[case.name].append(pair)
            _progress(f"{number + 1}/{settings.rounds} {case.name}: {theirs.cpu:.2f} {ours.cpu:.2f} ms")
    return rates, results


def _pair(
    servers: tuple[Server, Server],
    case: Case,
    requests: Sequence[Request],
    rates: Sequence[float],
    *,
    swapped: bool = False,
) -> report.Pair:
    """One sample of each server, Lumi first if `swapped`, with the very same requests. Raises WrongAnswer."""
    turns = list(zip(servers, rates, strict=True))
    samples = [sample(server, requests, rate) for server, rate in (reversed(turns) if swapped else turns)]
    theirs, ours = reversed(samples) if swapped else samples
    for i, (their, our) in enumerate(zip(theirs.answers, ours.answers, strict=True)):
        if their != our:
            raise WrongAnswer(f"{case.name}, request {i}: vllm serve answered {their}, Lumi {our}.")
    return theirs, ours


def _progress(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
