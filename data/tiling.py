"""Cut a large image into tiles of one fixed shape, so that memory does not grow with the image.

A network sees less at the rim of what it is given. Each tile is therefore read with a halo around its core,
and only the core of the answer is kept.
"""

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Window:
    """A part of an image in px: rows `top` to `bottom`, columns `left` to `right`, both half-open."""

    top: int
    left: int
    bottom: int
    right: int

    @property
    def size_hw(self) -> tuple[int, int]:
        """(height, width) in px."""
        return self.bottom - self.top, self.right - self.left

    @property
    def slices(self) -> tuple[slice, slice]:
        """For `image[window.slices]`; an ellipsis before it, if classes come first."""
        return slice(self.top, self.bottom), slice(self.left, self.right)


@dataclass(frozen=True, slots=True)
class Tile:
    """One tile of an image, both windows in the image's pixels: `padded` to read, `core` to keep."""

    core: Window
    padded: Window

    @property
    def core_in_padded(self) -> Window:
        """The core in the pixels of what was read: `out[core.slices] = answer[core_in_padded.slices]`."""
        top, left = self.padded.top, self.padded.left
        return Window(
            self.core.top - top, self.core.left - left, self.core.bottom - top, self.core.right - left
        )


def plan_tiles(size_hw: tuple[int, int], *, tile_px: int, halo_px: int) -> tuple[Tile, ...]:
    """Tiles whose cores cover an image of (height, width) once, row by row from the top left.

    Each tile reads tile_px x tile_px pixels inside the image: at the far edges it is shifted back rather than
    padded, so each core has at least `halo_px` of real pixels around it, or the image's own edge. An axis not
    longer than `tile_px` is read whole. Tiles start at multiples of `tile_px - 2 * halo_px`, the last at the
    size less `tile_px`: with all three multiples of a network's stride, each tile pools on the image's grid.

    Raises:
        ValueError: an empty image, or a halo that leaves no core.
    """
    if min(size_hw) < 1:
        raise ValueError(f"an image of {size_hw[1]} x {size_hw[0]} px; expected at least one pixel")
    if halo_px < 0 or tile_px <= 2 * halo_px:
        raise ValueError(
            f"tiles of {tile_px} px with a halo of {halo_px} px have no core; the halo must be less than half"
        )
    columns = tuple(_plan_axis(size_hw[1], tile_px=tile_px, halo_px=halo_px))
    return tuple(
        Tile(
            core=Window(core_y.start, core_x.start, core_y.stop, core_x.stop),
            padded=Window(read_y.start, read_x.start, read_y.stop, read_x.stop),
        )
        for core_y, read_y in _plan_axis(size_hw[0], tile_px=tile_px, halo_px=halo_px)
        for core_x, read_x in columns
    )


def _plan_axis(size_px: int, *, tile_px: int, halo_px: int) -> Iterator[tuple[range, range]]:
    """(core, read) along one axis; two neighbours share their overlap half and half."""
    last = max(0, size_px - tile_px)
    starts = [*range(0, last, tile_px - 2 * halo_px), last]
    core_start = 0
    for at, start in enumerate(starts):
        stop = min(start + tile_px, size_px)
        core_stop = size_px if start == last else (starts[at + 1] + stop) // 2
        yield range(core_start, core_stop), range(start, stop)
        core_start = core_stop
