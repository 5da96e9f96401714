"""The client of the service's benchmark, in a process of its own: the same for every server, and as lean as can be.

As a script it reads a Load from stdin and writes an Outcome to stdout, both as JSON; `send` does that for you.
"""

import asyncio
import json
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

_HEALTH_EVERY_S: Final = 0.02
_RETRY_S: Final = 0.02
_LENGTH: Final = re.compile(rb"\r\ncontent-length: *(\d+)")
# The last field of an answer, so the rest of it need not be parsed.
_STAGES: Final = re.compile(rb'"timings_ms":(\{[^}]*\})')
_STAGES_BYTES: Final = 400


@dataclass(frozen=True, slots=True)
class Load:
    """What is sent where.

    Attributes:
        port: where a server listens on this machine.
        path: what is asked, with its query.
        accept: the media type that is asked for.
        folder: image files; they are sent in turn, each as the raw body.
        requests: how many in all.
        clients: so many send the next as soon as they have the answer to the last.
        rate_per_s: above 0, so many requests are begun each second instead, whatever became of those before.
        health_path: asked all the while; empty: nothing is.
        calm_s: above 0, when all is sent one client goes on until it gets an answer within so long.
    """

    port: int
    path: str
    accept: str
    folder: str
    requests: int
    clients: int = 1
    rate_per_s: float = 0.0
    health_path: str = ""
    calm_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of one request; status 0 where the connection broke."""

    took_s: float
    status: int
    has_retry_after: bool = False
    stages_ms: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of all, in `seconds`; how long health took each time, and calm to come back."""

    seconds: float
    answers: Sequence[Answer]
    health_s: Sequence[float]
    recovery_s: float


def send(load: Load) -> Outcome:
    """Have a second process send it. Exits, with its message above, when it fails."""
    done = subprocess.run(
        [sys.executable, __file__],
        input=json.dumps(asdict(load)),
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit("the load could not be sent; the message is above")
    outcome = json.loads(done.stdout)
    return Outcome(**{**outcome, "answers": [Answer(**answer) for answer in outcome["answers"]]})


class _Connection(asyncio.Protocol):
    """HTTP/1.1, kept alive, one request at a time; answers have to tell their length."""

    def __init__(self) -> None:
        self.open = True
        self._received = bytearray()
        self._head, self._end = b"", 0
        self._answer: asyncio.Future[tuple[bytes, bytes]] | None = None

    async def ask(self, request: bytes) -> tuple[bytes, bytes]:
        """Head and body of the answer. Raises ConnectionError."""
        self._received.clear()
        self._head, self._end = b"", 0
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._answer

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        if not self._end:
            end = self._received.find(b"\r\n\r\n")
            if end < 0:
                return
            self._head = bytes(self._received[:end]).lower()
            length = _LENGTH.search(self._head)
            self._end = end + 4 + (int(length[1]) if length else 0)
        if len(self._received) < self._end or self._answer is None or self._answer.done():
            return
        if b"\r\nconnection: close" in self._head:
            self.close()
        self._answer.set_result((self._head, bytes(self._received[len(self._head) + 4 : self._end])))

    def connection_lost(self, error: Exception | None) -> None:
        self.open = False
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error or ConnectionResetError("closed without an answer"))

    def close(self) -> None:
        """Use it no more."""
        self.open = False
        self._transport.close()


class _Connections:
    """As many as are in use at a time; who is done leaves his to the next."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._idle: list[_Connection] = []

    async def ask(self, request: bytes) -> Answer:
        began_s = time.perf_counter()
        try:
            connection = await self._one()
            head, body = await connection.ask(request)
        except OSError:
            return Answer(time.perf_counter() - began_s, status=0)
        took_s = time.perf_counter() - began_s
        if connection.open:
            self._idle.append(connection)
        stages = _STAGES.search(body, max(0, len(body) - _STAGES_BYTES))
        return Answer(
            took_s,
            status=int(head.split(b" ", 2)[1]),
            has_retry_after=b"\r\nretry-after: " in head,
            stages_ms=json.loads(stages[1]) if stages else {},
        )

    async def _one(self) -> _Connection:
        while self._idle:
            connection = self._idle.pop()
            if connection.open:
                return connection
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(_Connection, "127.0.0.1", self._port)
        return connection

    def close(self) -> None:
        for connection in self._idle:
            connection.close()


async def _send(load: Load) -> Outcome:
    requests = [_post(load, body=path.read_bytes()) for path in sorted(Path(load.folder).iterdir())]
    connections = _Connections(load.port)
    health_s: list[float] = []
    watch = asyncio.create_task(_watch_health(load, health_s)) if load.health_path else None
    began_s = time.perf_counter()
    send_all = _at_a_rate if load.rate_per_s else _in_closed_loops
    answers, recovery_s = await send_all(load, requests=requests, connections=connections)
    seconds = time.perf_counter() - began_s
    if watch is not None:
        watch.cancel()
    connections.close()
    return Outcome(seconds, answers, health_s, recovery_s)


async def _in_closed_loops(
    load: Load, *, requests: Sequence[bytes], connections: _Connections
) -> tuple[list[Answer], float]:
    numbers = iter(range(load.requests))
    answers = []

    async def client() -> None:
        for number in numbers:
            answers.append(await connections.ask(requests[number % len(requests)]))

    await asyncio.gather(*(client() for _ in range(load.clients)))
    return answers, 0.0


async def _at_a_rate(
    load: Load, *, requests: Sequence[bytes], connections: _Connections
) -> tuple[list[Answer], float]:
    began_s = time.perf_counter()
    tasks = []
    for number in range(load.requests):
        wait_s = began_s + number / load.rate_per_s - time.perf_counter()
        await asyncio.sleep(max(0.0, wait_s))
        tasks.append(asyncio.create_task(connections.ask(requests[number % len(requests)])))
    ended_s = time.perf_counter()
    while load.calm_s:
        answer = await connections.ask(requests[0])
        if answer.status == 200 and answer.took_s <= load.calm_s:
            break
        await asyncio.sleep(_RETRY_S)
    recovery_s = time.perf_counter() - ended_s
    return await asyncio.gather(*tasks), recovery_s


async def _watch_health(load: Load, health_s: list[float]) -> None:
    connections = _Connections(load.port)
    request = f"GET {load.health_path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()
    while True:
        answer = await connections.ask(request)
        health_s.append(answer.took_s if answer.status == 200 else float("inf"))
        await asyncio.sleep(_HEALTH_EVERY_S)


def _post(load: Load, *, body: bytes) -> bytes:
    head = (
        f"POST {load.path} HTTP/1.1\r\nHost: 127.0.0.1:{load.port}\r\nAccept: {load.accept}\r\n"
        f"Content-Type: application/octet-stream\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


if __name__ == "__main__":
    print(json.dumps(asdict(asyncio.run(_send(Load(**json.loads(sys.stdin.read())))))))
