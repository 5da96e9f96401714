"""Rows come in the order of their files, and how much is in memory at once is bounded in pixels."""

import threading
import time
from collections.abc import Iterable

import numpy as np
import pytest

from app.folder.inspection import Inspection
from app.folder.inspector import Picture, Stems
from app.folder.pipeline import inspect_in_threads
from app.folder.sources import ImageFile

_LARGE_SIDE_PX = 10_000


class Notes:
    """In the place of an inspector: pictures of one size that cost nothing, and how many were held at once."""

    def __init__(self, *, side_px: int) -> None:
        # A view of one pixel, as large as it says.
        self.image = np.broadcast_to(np.zeros(3, np.uint8), (side_px, side_px, 3))
        self.lock, self.held, self.most = threading.Lock(), 0, 0

    def read(self, file: ImageFile) -> Picture:
        with self.lock:
            self.held += 1
            self.most = max(self.most, self.held)
        return Picture(file, self.image)

    def predict(self, picture: Picture) -> None:
        return None

    def finish(self, picture: Picture, prediction: None, *, stem: str) -> Inspection:
        time.sleep(0.02)  # long enough for another to be read meanwhile
        with self.lock:
            self.held -= 1
        return Inspection(picture.file.key, "OK", mask=f"masks/{stem}.png")


def files(count: int) -> list[ImageFile]:
    return [ImageFile(f"{number:02}.jpg", f"/inbox/{number:02}.jpg", 1, 1) for number in range(count)]


def run(notes: Notes, coming: Iterable[ImageFile | None], *, workers: int = 2) -> list[str]:
    """Keys of the rows, in their order."""
    rows = inspect_in_threads(coming, inspector=notes, stems=Stems({}), workers=workers)  # type: ignore[arg-type]
    return [row.key for row in rows]


@pytest.mark.parametrize("workers", [1, 4])
def test_rows_come_in_the_order_of_their_files(workers: int) -> None:
    coming = files(20)
    assert run(Notes(side_px=8), coming, workers=workers) == [file.key for file in coming]


def test_small_images_are_read_ahead_but_not_all_at_once() -> None:
    notes = Notes(side_px=8)
    run(notes, files(40))
    assert 2 < notes.most <= 8, "three read ahead, three being written, and those between"


def test_of_large_images_one_is_held_at_a_time() -> None:
    notes = Notes(side_px=_LARGE_SIDE_PX)
    assert len(run(notes, files(4))) == 4
    assert notes.most == 1


def test_when_no_more_comes_for_now_everything_is_handed_out() -> None:
    seen: list[str] = []

    def coming() -> Iterable[ImageFile | None]:
        first, second = files(2)
        yield first
        yield None
        assert seen == [first.key], "the camera is idle, and its last part is not kept back"
        yield second

    for row in inspect_in_threads(coming(), inspector=Notes(side_px=8), stems=Stems({}), workers=2):  # type: ignore[arg-type]
        seen.append(row.key)
    assert len(seen) == 2
