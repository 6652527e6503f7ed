"""An address enters; what a server answered to many requests leaves. Runs in a process of its own, on one thread."""

import asyncio
import time
from collections.abc import Awaitable, Iterator, Sequence
from typing import NamedTuple

import aiohttp
import uvloop
from cases import new_images
from images import Album
from servers import REQUEST_SECONDS

SIZE = (160, 120)
TOKENS = 8
FAILED = 0  # in place of a status: no answer came


class Answer(NamedTuple):
    """`sent` is on the machine's monotonic clock; `retry_after` in seconds, None without the header."""

    sent: float
    seconds: float
    status: int
    retry_after: int | None


class Overload(NamedTuple):
    """The answers to the requests that came too fast, and those to the clients that came right after.

    `ended` is when the last of the former was sent; `lags` are how late each was sent, `cpu` is the generator's share of a
    core: both show whether the generator kept up.
    """

    answers: Sequence[Answer]
    after: Sequence[Answer]
    ended: float
    lags: Sequence[float]
    cpu: float


def ask_in_turn(url: str, clients: int, seconds: float) -> Sequence[Answer]:
    """Each client sends its next request when it has the answer to the one before."""

    async def ask() -> Sequence[Answer]:
        async with _session(url) as session:
            return await _closed_loop(session, _bodies(), clients, seconds)

    return uvloop.run(ask())


def ask_too_fast(url: str, rate: float, seconds: float, clients: int, seconds_after: float) -> Overload:
    """Send `rate` requests a second, whatever becomes of them, and then be `clients` that wait for their answers."""

    async def ask() -> Overload:
        async with _session(url) as session:
            bodies, cpu, began = _bodies(), time.process_time(), time.monotonic()
            tasks, lags = await _open_loop(session, bodies, rate, seconds)
            ended = time.monotonic()
            share = (time.process_time() - cpu) / (ended - began)
            after = await _closed_loop(session, bodies, clients, seconds_after)
            return Overload(await asyncio.gather(*tasks), after, ended, lags, share)

    return uvloop.run(ask())


def _session(url: str) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        url, connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=REQUEST_SECONDS)
    )


def _bodies() -> Iterator[bytes]:
    album, make = Album(), new_images(SIZE)
    while True:
        yield make(album, 1, TOKENS)[0].body


async def _closed_loop(
    session: aiohttp.ClientSession, bodies: Iterator[bytes], clients: int, seconds: float
) -> Sequence[Answer]:
    end = time.monotonic() + seconds
    answers: list[Answer] = []

    async def client() -> None:
        while time.monotonic() < end:
            answers.append(await _ask(session, next(bodies)))
            if (pause := answers[-1].retry_after) is not None:
                await asyncio.sleep(pause)

    await asyncio.gather(*(client() for _ in range(clients)))
    return answers


async def _open_loop(
    session: aiohttp.ClientSession, bodies: Iterator[bytes], rate: float, seconds: float
) -> tuple[Sequence[Awaitable[Answer]], Sequence[float]]:
    began = time.monotonic()
    tasks, lags = [], []
    for number in range(int(rate * seconds)):
        body, due = next(bodies), began + number / rate
        await asyncio.sleep(due - time.monotonic())
        lags.append(time.monotonic() - due)
        tasks.append(asyncio.create_task(_ask(session, body)))
    return tasks, lags


async def _ask(session: aiohttp.ClientSession, body: bytes) -> Answer:
    sent = time.monotonic()
    status, pause = FAILED, None
    try:
        async with session.post(
            "/v1/chat/completions", data=body, headers={"content-type": "application/json"}
        ) as response:
            await response.read()
            status, pause = response.status, response.headers.get("retry-after")
    except (aiohttp.ClientError, TimeoutError, OSError):
        pass
    return Answer(sent, time.monotonic() - sent, status, None if pause is None else int(pause))
