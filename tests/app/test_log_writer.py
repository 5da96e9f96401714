"""A log that nobody reads costs lines, and nothing else."""

import io
import logging
import threading

from app.log_writer import BackgroundHandler


class Pipe(io.StringIO):
    """Takes nothing until it is read."""

    def __init__(self) -> None:
        super().__init__()
        self.is_read = threading.Event()

    def write(self, text: str) -> int:
        assert self.is_read.wait(30)
        return super().write(text)

    @property
    def lines(self) -> list[str]:
        return self.getvalue().splitlines()


def log(handler: logging.Handler, text: str) -> None:
    handler.handle(logging.LogRecord("test", logging.INFO, "", 0, text, (), None))


def test_nobody_waits_for_a_pipe_that_is_not_read_and_what_was_lost_is_counted() -> None:
    pipe = Pipe()
    handler = BackgroundHandler(pipe, most=3)
    log(handler, "first")
    while handler._waiting.qsize():  # the writer has it, and waits
        pass
    for number in range(10):
        log(handler, str(number))
    pipe.is_read.set()
    handler.close()
    assert pipe.lines == [
        "first",
        "7 log lines were lost: whoever reads this log does not keep up",
        "0",
        "1",
        "2",
    ]


def test_all_is_written_when_it_is_closed() -> None:
    pipe = Pipe()
    pipe.is_read.set()
    handler = BackgroundHandler(pipe)
    for number in range(1000):
        log(handler, str(number))
    handler.close()
    assert pipe.lines == [str(number) for number in range(1000)]


def test_lines_that_wait_are_written_together() -> None:
    class Counting(Pipe):
        writings = 0

        def write(self, text: str) -> int:
            self.writings += 1
            return super().write(text)

    pipe = Counting()
    handler = BackgroundHandler(pipe)
    log(handler, "first")
    while handler._waiting.qsize():  # the writer has it, and waits
        pass
    for number in range(10):
        log(handler, str(number))
    pipe.is_read.set()
    handler.close()
    assert pipe.lines == ["first", *map(str, range(10))]
    assert pipe.writings == 2
