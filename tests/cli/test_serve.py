"""`segnet serve` as a real process: what it answers is what the model says, and a stop loses nothing."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import Queue
from typing import Any

import numpy as np
import pytest

from app.api_keys import append_key, new_key
from app.client import AsyncClient, Client, ClientError
from app.schemas import BatchPrediction, PngMask, PredictionResponse
from data.images import encode_png, read_image
from data.masks import encode_labels
from model.predictor import Predictor
from model.store import ModelStore

DEADLINE_S = 60


class Process:
    """One `segnet serve` on a free port."""

    def __init__(self, *arguments: object) -> None:
        words = [sys.executable, "-m", "cli.main", "serve", "--port", "0", *map(str, arguments)]
        environment = {key: value for key, value in os.environ.items() if not key.startswith("SEGNET_")}
        self.process = subprocess.Popen(
            words,
            cwd=Path(__file__).parents[2],
            env=environment | {"OMP_NUM_THREADS": "1"},
            stderr=subprocess.PIPE,
            text=True,
        )
        self.lines: list[str] = []
        self._ports: Queue[int | None] = Queue()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    @property
    def url(self) -> str:
        """Where it listens, once it does."""
        port = self._ports.get(timeout=DEADLINE_S)
        self._ports.put(port)
        assert port is not None, self.log
        return f"http://127.0.0.1:{port}"

    @property
    def log(self) -> str:
        return "\n".join(self.lines)

    def stop(self) -> int:
        """Send SIGTERM and wait for the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.wait()

    def wait(self) -> int:
        code = self.process.wait(DEADLINE_S)
        self._reader.join(DEADLINE_S)
        return code

    def _read(self) -> None:
        assert self.process.stderr is not None
        with self.process.stderr as stderr:
            for line in stderr:
                self.lines.append(line.rstrip())
                if "Uvicorn running on" in line:
                    self._ports.put(int(json.loads(line)["message"].split(":")[2].split()[0]))
        self._ports.put(None)


@pytest.fixture
def model(repository: Path) -> Path:
    """Red pixels are scratches, blue ones pits."""
    return repository / "tests" / "promises" / "format_1.onnx"


@pytest.fixture
def serve(model: Path) -> Iterator[Callable[..., Process]]:
    """Start processes; those that still live at the end are killed."""
    started: list[Process] = []

    def start(*arguments: object) -> Process:
        # The last --model counts.
        started.append(Process("--model", model, "--device", "cpu", "--threads", 1, *arguments))
        return started[-1]

    yield start
    for one in started:
        one.process.kill()
        one.wait()


def draw(path: Path, *, size_hw: tuple[int, int]) -> Path:
    random = np.random.default_rng(seed=7)
    coarse = random.choice(np.array([(128, 128, 128), (255, 0, 0), (0, 0, 255)], np.uint8), size=(9, 9))
    height, width = size_hw
    image = coarse.repeat(-(-height // 9), axis=0).repeat(-(-width // 9), axis=1)[:height, :width]
    path.write_bytes(encode_png(image))
    return path


def expected_mask(path: Path, *, model: Path) -> bytes:
    """What the predictor says, as the folder inspection writes it."""
    predictor = Predictor.open(model, device="cpu", threads=1)
    return encode_labels(predictor.predict(read_image(path)).labels, predictor.contract.classes)


def mask_of(prediction: PredictionResponse) -> bytes:
    assert isinstance(prediction.mask, PngMask)
    return prediction.mask.to_png()


@pytest.mark.anyio
async def test_masks_are_the_predictors_byte_for_byte_by_either_client(
    serve: Callable[..., Process], model: Path, tmp_path: Path
) -> None:
    path = draw(tmp_path / "part.png", size_hw=(150, 230))
    service = serve()
    with Client(service.url) as client:
        assert client.ready()
        assert client.model().name == "colours"
        assert mask_of(client.predict(path)) == expected_mask(path, model=model)
        (line,) = client.predict_batch([path], mask="png")
    assert isinstance(line, BatchPrediction)
    assert mask_of(line.prediction) == expected_mask(path, model=model)
    async with AsyncClient(service.url) as client:
        assert mask_of(await client.predict(path)) == expected_mask(path, model=model)
    assert service.stop() == 0


def test_sigterm_during_requests_loses_none_of_them(
    serve: Callable[..., Process], model: Path, tmp_path: Path
) -> None:
    path = draw(tmp_path / "large.png", size_hw=(1000, 1000))
    service = serve()
    url = service.url
    answers: list[Any] = []

    def ask() -> None:
        with Client(url) as client:
            answers.append(client.predict(path))

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    with Client(url) as client:
        # All three are inside, one at work and the others waiting, before the signal comes.
        _wait_until(lambda: _metric(client, "segnet_queue_requests") >= 2)
        began_s = time.monotonic()
        assert client.ready()
        assert time.monotonic() - began_s < 1, "the event loop was blocked"
    assert answers == []
    assert service.stop() == 0
    for thread in threads:
        thread.join(DEADLINE_S)
    assert [mask_of(answer) for answer in answers] == [expected_mask(path, model=model)] * 3
    with pytest.raises(ClientError, match="is the service running"), Client(url) as client:
        client.ready()


def test_who_has_no_key_is_refused_before_a_byte_of_the_image_is_sent(
    serve: Callable[..., Process], tmp_path: Path
) -> None:
    secret, key = new_key("line-1", scopes=["predict"])
    append_key(tmp_path / "keys.txt", key)
    service = serve("--keys-file", tmp_path / "keys.txt", "--host", "0.0.0.0")
    host, port = service.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=DEADLINE_S) as connection:
        connection.sendall(b"POST /v1/predictions HTTP/1.1\r\nHost: a\r\nContent-Length: 40000000\r\n\r\n")
        assert connection.recv(12) == b"HTTP/1.1 401"
    with Client(service.url, key=secret) as client:
        assert client.predict(draw(tmp_path / "part.png", size_hw=(20, 20))).verdict == "NG"
    assert service.stop() == 0
    assert secret not in service.log
    assert '"caller": "line-1"' in service.log


def test_the_champion_of_a_store_is_followed_without_a_lost_request(
    serve: Callable[..., Process], model: Path, tmp_path: Path
) -> None:
    """With the settings it has by itself: a look every 2 s."""
    path = draw(tmp_path / "part.png", size_hw=(60, 80))
    other = tmp_path / "other.onnx"
    # One character of the name in its contract: the graph stays, what is told of it changes.
    other.write_bytes(model.read_bytes().replace(b'"name":"colours"', b'"name":"coloura"'))
    store = ModelStore(tmp_path / "store")
    first, second = (store.add(one, by="a test") for one in (model, other))
    store.promote(first, by="a test", reason="it is the first", expected_champion=None)
    service = serve("--model", "store://champion", "--store", tmp_path / "store")
    with Client(service.url) as client:
        assert (client.model().name, client.model().store_version) == ("colours", "v1")
        store.promote(second, by="a test", reason="it is better", expected_champion=first)
        # Each of these would raise if it were refused.
        _wait_until(lambda: client.predict(path).model.name == "coloura")
        assert client.model().store_version == "v2"
        store.roll_back(by="a test", reason="it is not")
        _wait_until(lambda: client.predict(path).model.name == "colours")
    assert service.stop() == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--host", "0.0.0.0"), "error: bound to 0.0.0.0 without API keys"),
        (("--model", "nowhere.onnx"), "error: nowhere.onnx: No such file"),
        (("--model", "README.md"), "error: the model: no ONNX file"),
        (("--device", "cuda", "--require-device"), "error: asked for cuda"),
        (("--recipe", "nowhere.toml"), "error: nowhere.toml: No such file"),
        (("--keys-file", "README.md"), "error: README.md, line "),
        (("--model", "store://champion"), "error: store://champion is a version in a model store; say where"),
        (
            ("--model", "store://v7", "--store", "docs"),
            "error: no version 'store://v7' in the store; it is empty",
        ),
        (
            ("--model", "store://v7", "--store", "nowhere"),
            "error: store://v7: there is no model store at nowhere",
        ),
    ],
)
def test_what_cannot_be_served_ends_in_one_line_and_exit_code_1(
    serve: Callable[..., Process], arguments: tuple[str, ...], message: str
) -> None:
    service = serve(*arguments)
    assert service.wait() == 1
    *log, told = service.lines
    assert told.startswith(message)
    assert not any("Traceback" in line or '"level": "ERROR"' in line for line in log)


def _metric(client: Client, name: str) -> float:
    text = client._http.get("metrics").text
    return next(float(line.split()[1]) for line in text.splitlines() if line.startswith(f"{name} "))


def _wait_until(condition: Callable[[], bool]) -> None:
    end_s = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < end_s, "it never came to that"
        time.sleep(0.01)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
