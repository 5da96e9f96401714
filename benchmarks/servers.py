"""The servers that are compared, each in a process of its own on a free port of this machine."""

import importlib.util
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

_START_S: Final = 120.0
_STOP_S: Final = 30.0
_CHILDREN_S: Final = 1.0
_POLL_S: Final = 0.1
_LOG_BYTES: Final = 3_000


class NotServingError(Exception):
    """A server that did not become ready; whoever started it shows what it said."""

    def __init__(self, pid: int) -> None:
        super().__init__(f"process {pid}")
        self.pid = pid


@dataclass(frozen=True, slots=True)
class Server:
    """A server, ready or about to be, so that several start at a time.

    `path` is where images are sent to, `health_path` where it is asked how it does, `ready_path` whether it is ready.
    """

    name: str
    port: int
    pid: int
    path: str
    health_path: str
    ready_path: str

    def wait_until_ready(self) -> None:
        """Raises NotServingError when it is not in good time."""
        ends_s = time.perf_counter() + _START_S
        process = psutil.Process(self.pid)
        while process.status() != psutil.STATUS_ZOMBIE and time.perf_counter() < ends_s:
            with suppress(OSError), urllib.request.urlopen(self._url(self.ready_path), timeout=1):
                return
            time.sleep(_POLL_S)
        raise NotServingError(self.pid)

    def _url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    @property
    def resident_mib(self) -> float:
        """Memory of its process now."""
        return float(psutil.Process(self.pid).memory_info().rss / 2**20)

    @property
    def cpu_s(self) -> float:
        """Seconds of all processors so far, for its process and those it started."""
        process = psutil.Process(self.pid)
        times = [one.cpu_times() for one in (process, *process.children(recursive=True))]
        return float(sum(one.user + one.system for one in times))


@contextmanager
def segnet(
    model: Path, *, threads: int, device: str = "cpu", settings: Mapping[str, str] | None = None
) -> Iterator[Server]:
    """`segnet serve`; `settings` are its environment, such as SEGNET_MAX_WAIT_S."""
    port = _free_port()
    words = ["-m", "cli.main", "serve", "--model", str(model), "--port", str(port), "--device", device]
    with _running(
        [*words, "--require-device", "--threads", str(threads)], settings=settings or {}
    ) as process:
        yield Server("segnet serve", port, process.pid, "/v1/predictions", "/healthz", ready_path="/readyz")


@contextmanager
def litserve(model: Path, *, threads: int) -> Iterator[Server]:
    """The same model behind LitServe."""
    port = _free_port()
    words = [str(Path(__file__).with_name("litserve_peer.py")), str(model), str(port), str(threads)]
    with _running(words, settings={}) as process:
        yield Server("LitServe", port, process.pid, "/predict", "/health", ready_path="/health")


def has_litserve() -> bool:
    """Whether there is LitServe to compare with: the extra `bench`."""
    return importlib.util.find_spec("litserve") is not None


@contextmanager
def _running(words: Sequence[str], *, settings: Mapping[str, str]) -> Iterator["subprocess.Popen[bytes]"]:
    """A Python process, ended afterwards. When it does not serve the end of what it said is shown, and so do we."""
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            [sys.executable, *words],
            stdout=log,
            stderr=log,
            env=os.environ | {"PYTHONPATH": str(Path(__file__).parent.parent)} | dict(settings),
        )
        try:
            yield process
        except NotServingError as error:
            if error.pid != process.pid:
                raise
            log.seek(max(0, log.seek(0, os.SEEK_END) - _LOG_BYTES))
            sys.exit(f"{' '.join(words)}: it does not serve; it said\n{log.read().decode()}")
        finally:
            # LitServe leaves those that it started behind.
            children = psutil.Process(process.pid).children(recursive=True)
            process.terminate()
            process.wait(_STOP_S)
            for child in psutil.wait_procs(children, timeout=_CHILDREN_S)[1]:
                child.kill()


def _free_port() -> int:
    with socket.socket() as anywhere:
        anywhere.bind(("127.0.0.1", 0))
        return int(anywhere.getsockname()[1])
