"""COCO's compressed run lengths: a string that JSON can carry, as pycocotools reads and writes it."""

from collections.abc import Sequence


def pack_runs(runs: Sequence[int]) -> str:
    """Runs → letters of five bits, least first; from the fourth on each less the run before the last."""
    letters = bytearray()
    for at, run in enumerate(runs):
        rest = run - runs[at - 2] if at > 2 else run
        while True:
            bits, rest = rest & 0x1F, rest >> 5
            done = rest == (-1 if bits & 0x10 else 0)
            letters.append(48 + (bits if done else bits | 0x20))
            if done:
                break
    return letters.decode("ascii")


def unpack_runs(letters: bytes) -> list[int]:
    """The reverse of `pack_runs`.

    Raises:
        ValueError: a letter that does not belong there, or an end in the middle of a number.
    """
    runs: list[int] = []
    value, shift = 0, 0
    for letter in letters:
        bits = letter - 48
        if not 0 <= bits < 64 or shift > 60:
            raise ValueError(f"letter {letter:#x} in the counts")
        value |= (bits & 0x1F) << shift
        shift += 5
        if bits & 0x20:
            continue
        if bits & 0x10:
            value -= 1 << shift
        runs.append(value + runs[-2] if len(runs) > 2 else value)
        value, shift = 0, 0
    if shift:
        raise ValueError("the counts end in the middle of a number")
    return runs
