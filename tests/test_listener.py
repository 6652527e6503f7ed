import asyncio
import socket

import uvloop

from container.http.listener import bind, listening
from container.http.slow_readers import SlowReaders

CLIENTS = 64


def test_connections_that_come_at_once_do_not_wait_for_a_turn_of_the_loop_each():
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(turns_until_all_are_answered()) < CLIENTS / 2


async def turns_until_all_are_answered():
    seen = 0

    async def app(scope, receive, send):
        nonlocal seen
        seen += 1
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    sock = bind("127.0.0.1", 0)
    address = sock.getsockname()
    async with listening(app, sock, SlowReaders()):
        await first_answer(address)
        clients = [ask(address) for _ in range(CLIENTS)]
        turns = 0
        while seen <= CLIENTS:
            await asyncio.sleep(0)
            turns += 1
        for client in clients:
            client.close()
    return turns


async def first_answer(address):
    with await asyncio.to_thread(ask, address) as client:
        assert await asyncio.to_thread(client.recv, 100)


def ask(address):
    client = socket.create_connection(address)
    client.sendall(b"GET / HTTP/1.1\r\nhost: here\r\n\r\n")
    return client
