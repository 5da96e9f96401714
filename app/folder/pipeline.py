"""Overlap what waits with what computes: images are read ahead and results written behind the one being predicted.

Decoding and encoding release Python's lock, so threads are enough; how far they run ahead is bounded in pixels, since a
folder may hold thumbnails or pictures of 100 megapixels.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final

from app.folder.inspection import Inspection
from app.folder.inspector import Inspector, Picture, Stems
from app.folder.sources import ImageFile

_AHEAD_PIXELS: Final = 48_000_000
"""Pixels that may wait, before and behind the network together; each costs about 5 bytes, and 8 to 12 while it is read
or written. A larger image is alone: the next is read when its files are written."""


def inspect_in_threads(
    files: Iterable[ImageFile | None], *, inspector: Inspector, stems: Stems, workers: int
) -> Iterator[Inspection]:
    """Rows of files, in their order, while `workers` threads read and write.

    None among the files means that there is no more for now: what is under way is finished and handed out.
    """
    with ThreadPoolExecutor(workers, thread_name_prefix="inspect") as pool:
        line = _Line(inspector, stems=stems, pool=pool, workers=workers)
        try:
            for file in files:
                if file is None:
                    yield from line.drain()
                else:
                    yield from line.put(file)
            yield from line.drain()
        finally:
            line.cancel()


class _Line:
    """What is being read, and what is being written."""

    def __init__(self, inspector: Inspector, *, stems: Stems, pool: ThreadPoolExecutor, workers: int) -> None:
        self._inspector, self._stems, self._pool, self._workers = inspector, stems, pool, workers
        self._reading: deque[Future[Picture]] = deque()
        self._writing: deque[tuple[int, Future[Inspection]]] = deque()
        self._largest_px = 0  # of an image so far

    def put(self, file: ImageFile) -> Iterator[Inspection]:
        """Begin to read one more file, and hand out what is ready."""
        self._stems.give([file.key])
        while self._is_full():
            if self._reading:
                yield from self._predict_next()
            else:
                yield self._writing.popleft()[1].result()
        self._reading.append(self._pool.submit(self._inspector.read, file))
        while self._writing and self._writing[0][1].done():
            yield self._writing.popleft()[1].result()

    def drain(self) -> Iterator[Inspection]:
        """Finish all that was begun."""
        while self._reading:
            yield from self._predict_next()
        while self._writing:
            yield self._writing.popleft()[1].result()

    def cancel(self) -> None:
        """Begin nothing more; what a thread is at is finished."""
        for reading in self._reading:
            reading.cancel()
        for _, writing in self._writing:
            writing.cancel()

    @property
    def _written_px(self) -> int:
        """Pixels of the images that are being written."""
        return sum(pixels for pixels, _ in self._writing)

    def _is_full(self) -> bool:
        # Until an image was seen, one is read at a time.
        waiting_px = len(self._reading) * (self._largest_px or _AHEAD_PIXELS) + self._written_px
        return len(self._reading) > self._workers or waiting_px >= _AHEAD_PIXELS

    def _predict_next(self) -> Iterator[Inspection]:
        picture = self._reading.popleft().result()
        self._largest_px = max(self._largest_px, picture.pixels)
        while self._writing and (
            len(self._writing) > self._workers or self._written_px + picture.pixels > _AHEAD_PIXELS
        ):
            yield self._writing.popleft()[1].result()
        prediction = self._inspector.predict(picture)
        stem = self._stems[picture.file.key]
        written = self._pool.submit(self._inspector.finish, picture, prediction, stem=stem)
        self._writing.append((picture.pixels, written))
