"""Where log lines of a command go: to the terminal, and for a run to its folder as well."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.logging import RichHandler

_OURS = ("app", "data", "model", "training")


@contextmanager
def log_to(path: Path | None = None, *, quiet: bool = False) -> Iterator[None]:
    """Show our rooms' log lines from INFO up on stderr, and append them to `path` with the time.

    quiet: warnings and worse alone, for all but one of several processes.
    """
    handlers: list[logging.Handler] = [
        RichHandler(console=Console(stderr=True), show_time=False, show_level=False, show_path=False)
    ]
    if path is not None:
        file = logging.FileHandler(path, encoding="utf-8")
        file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        handlers.append(file)
    loggers = [logging.getLogger(name) for name in _OURS]
    for logger in loggers:
        logger.setLevel(logging.WARNING if quiet else logging.INFO)
        for handler in handlers:
            logger.addHandler(handler)
    try:
        with warnings.catch_warnings():
            # What libraries tell each other is no news to whoever inspects parts; tests see it all.
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger in loggers:
            for handler in handlers:
                logger.removeHandler(handler)
        for handler in handlers:
            handler.close()
