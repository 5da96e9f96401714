"""Log lines are written by a thread of their own: a reader that does not read must not stop the service.

With stderr a full pipe, a handler of the standard library waits for ever, in the event loop (measured: after 600
requests not even /healthz answered).
"""

import contextlib
import logging
import queue
import threading
import time
from typing import IO, Final

_PATIENCE_S: Final = 2.0
_REST_S: Final = 0.01
"""Between two writings, unless something is wrong. A thread that woke for each line would stop the loop as often."""


class BackgroundHandler(logging.Handler):
    """Formats a line where it is logged and writes it in a thread; beyond `most` that wait they are only counted."""

    def __init__(self, stream: IO[str], *, most: int = 10_000) -> None:
        super().__init__()
        self._stream = stream
        self._waiting: queue.Queue[str] = queue.Queue(most)
        self._lost = 0
        self._hurry = threading.Event()
        threading.Thread(target=self._write, name="log", daemon=True).start()

    def emit(self, record: logging.LogRecord) -> None:
        """Queue one line; never waits."""
        # Here and not in the thread, which does not know whose request this is.
        line = self.format(record)
        try:
            self._waiting.put_nowait(line)
        except queue.Full:
            self._lost += 1
        if record.levelno >= logging.WARNING:
            self._hurry.set()

    def flush(self) -> None:
        """Wait until all is written, two seconds at most."""
        end_s = time.monotonic() + _PATIENCE_S
        while self._waiting.unfinished_tasks and time.monotonic() < end_s:
            time.sleep(0.002)

    def close(self) -> None:
        """Write what waits, as far as somebody reads it."""
        self.flush()
        super().close()

    def _write(self) -> None:
        while True:
            lines = [self._waiting.get()]
            lost, self._lost = self._lost, 0
            with contextlib.suppress(queue.Empty):
                while True:
                    lines.append(self._waiting.get_nowait())
            if lost:
                told = f"{lost} log lines were lost: whoever reads this log does not keep up"
                warning = logging.LogRecord(
                    __name__, logging.WARNING, __file__, 0, told, args=(), exc_info=None
                )
                lines[0] = f"{self.format(warning)}\n{lines[0]}"
            # The reader may be gone for good; lines are nobody's business then.
            with contextlib.suppress(OSError, ValueError):
                self._stream.write("\n".join(lines) + "\n")
                self._stream.flush()
            for _ in lines:
                self._waiting.task_done()
            self._hurry.wait(_REST_S)
            self._hurry.clear()
