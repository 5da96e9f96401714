"""A crowd or a flood: whether the line in front of the model will pass, or will never end."""

from typing import Final

_TIMES: Final = 4
_BATCHES: Final = 3
_SECONDS: Final = 0.25
"""In which the requests of a crowd have all begun, however long their bodies take."""


class Flood:
    """On while four times as many requests come as images go: from each of three batches to the next, and 0.25 s long.

    Clients who wait for their answers send as many as are answered, however many clients there are; and a crowd that
    comes at once comes once. Both are served to the last one, who has to wait. In a flood everybody would wait as long
    as he may, and no answer came in time. (Where just as many come as can be borne, at random, three such batches in a
    row are one in 100 000.) Times are on a clock in s.
    """

    def __init__(self) -> None:
        self._came, self._batches = 0, 0
        self._began_s, self._went_s = 0.0, 0.0

    @property
    def is_on(self) -> bool:
        """Whether it is one now."""
        return self._batches >= _BATCHES and self._went_s - self._began_s >= _SECONDS

    def note_came(self, *, now_s: float) -> None:
        """One request came, let in or not."""
        if not (self._came or self._batches):
            self._began_s = now_s
        self._came += 1

    def note_went(self, images: int, *, now_s: float) -> None:
        """A batch of so many is done."""
        self._batches = self._batches + 1 if self._came >= _TIMES * images else 0
        self._came, self._went_s = 0, now_s
