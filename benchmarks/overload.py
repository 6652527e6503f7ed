"""Ten times what Lumi can answer: what becomes of the requests, and how soon it is at full speed again. See README.md."""

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from multiprocessing import get_context
from multiprocessing.pool import Pool

import report
from load import Answer, Overload, ask_in_turn, ask_too_fast
from servers import SETTINGS, Server, StartFailed, lumi_alone

QUEUE = 64  # requests that run or wait; at capacity as many clients keep it full
WARM_UP_SECONDS = 5.0
AFTER_SECONDS = 20.0
FULL_SPEED = 0.9  # of capacity
WINDOW_SECONDS = 1.0


def main(arguments: Sequence[str]) -> int:
    """Measure and print; the exit code is 1 where an answer is neither 200 nor 503 with Retry-After, or the server does not
    start."""
    options = _parse(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # an exception, so that the server is ended
    load = os.getloadavg()[0]
    try:
        with (
            lumi_alone({**SETTINGS, "job_queue_size": QUEUE}) as server,
            get_context("spawn").Pool(1) as pool,
        ):
            calm, capacity, overload = _measure(server, pool, options)
    except StartFailed as fault:
        print(fault, file=sys.stderr)
        return 1
    print(_table(calm, overload, options), _notes(overload, capacity), sep="\n\n")
    print(f"- load average before the start: {load:.1f}\n{report.machine()}\n\n`{report.command(arguments)}`")
    return int(any(_is_wrong(answer) for answer in (*calm, *overload.answers, *overload.after)))


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=120, help="of overload (default: 120)")
    parser.add_argument("--capacity-seconds", type=float, default=30, help="of measuring capacity (default: 30)")
    parser.add_argument("--factor", type=float, default=10, help="the overload as a multiple of capacity (default: 10)")
    return parser.parse_args(arguments)


def _measure(server: Server, pool: Pool, options: argparse.Namespace) -> tuple[Sequence[Answer], float, Overload]:
    """The answers at capacity, how many there are a second, and those of the overload."""
    url = str(server.client.base_url)
    pool.apply(ask_in_turn, (url, QUEUE, WARM_UP_SECONDS))
    calm = pool.apply(ask_in_turn, (url, QUEUE, options.capacity_seconds))
    capacity = len(calm) / options.capacity_seconds
    rate = options.factor * capacity
    print(f"{capacity:.1f} answers a second; sending {rate:.0f}", file=sys.stderr, flush=True)
    return calm, capacity, pool.apply(ask_too_fast, (url, rate, options.seconds, QUEUE, AFTER_SECONDS))


def _table(calm: Sequence[Answer], overload: Overload, options: argparse.Namespace) -> str:
    phases = (
        (f"{QUEUE} clients in turn", calm, options.capacity_seconds),
        (f"{options.factor:g} times as many", overload.answers, options.seconds),
        (f"right after: {QUEUE} clients in turn", overload.after, AFTER_SECONDS),
    )
    head = ["", "sent a second", "200 a second", "median ms", "p99 ms", "503 a second", "median ms", "p99 ms", "other"]
    return report.markdown(head, (_row(*phase) for phase in phases))


def _row(name: str, answers: Sequence[Answer], seconds: float) -> Sequence[str]:
    answered = [answer.seconds for answer in answers if answer.status == 200]
    refused = [answer.seconds for answer in answers if answer.status == 503]
    return [
        name,
        f"{len(answers) / seconds:.1f}",
        f"{len(answered) / seconds:.1f}",
        *report.milliseconds(answered),
        f"{len(refused) / seconds:.1f}",
        *report.milliseconds(refused),
        str(sum(_is_wrong(answer) for answer in answers)),
    ]


def _is_wrong(answer: Answer) -> bool:
    return answer.status != 200 and (answer.status != 503 or answer.retry_after is None)


def _notes(overload: Overload, capacity: float) -> str:
    lag = report.milliseconds(overload.lags)
    return "\n".join(
        (
            f"- {FULL_SPEED:.0%} of capacity again {_recovery(overload, capacity)}",
            f"- the generator took {overload.cpu:.0%} of a core and sent {lag[0]} ms late (median), {lag[1]} ms (p99)",
        )
    )


def _recovery(overload: Overload, capacity: float) -> str:
    """When the first window began in which enough was answered, in seconds after the overload."""
    answered = [answer for answer in (*overload.answers, *overload.after) if answer.status == 200]
    ends = [answer.sent + answer.seconds - overload.ended for answer in answered]
    steps = int(AFTER_SECONDS * 10)
    for begin in (step / 10 for step in range(steps)):
        if sum(begin <= end < begin + WINDOW_SECONDS for end in ends) >= FULL_SPEED * capacity * WINDOW_SECONDS:
            return f"{begin:.1f} s after the overload (the first {WINDOW_SECONDS:g} s with as many answers, late ones included)"
    return f"not within {AFTER_SECONDS:g} s"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
