"""Keeps what a model is judged on out of what it learns from."""

from typing import Final

from data.duplicates import THUMBNAIL_PX, Fingerprint, find_likenesses, take_fingerprint
from data.identity import LabelledSample, labelled_samples
from data.images import read_thumbnail
from data.manifest import Manifest, Sample

_REASON: Final = "and what a model is judged on must not be learnt"


class Leaks:
    """Knows the golden pictures, 38 kB each, and says which others show the same thing."""

    def __init__(self, golden: Manifest | None) -> None:
        """Read every golden picture; None: there is no golden set, and nothing leaks. Raises DatasetError."""
        self._samples = golden.samples if golden else ()
        known = labelled_samples(golden) if golden else ()
        self._names_of_pixels = {one.pixels: one.source.name for one in known}
        self._names_of_groups = {one.group: one.name for one in self._samples if one.group is not None}
        self._prints = [_fingerprint(sample) for sample in self._samples]

    def why_not(self, sample: LabelledSample) -> str | None:
        """Why nobody may train on the sample, in words; None: anybody may."""
        if not self._samples:
            return None
        group = sample.source.group
        if group in self._names_of_groups:
            return (
                f"shows the part {group}, as does the golden image {self._names_of_groups[group]}, {_REASON}"
            )
        if sample.pixels in self._names_of_pixels:
            name = self._names_of_pixels[sample.pixels]
            return f"is the golden image {name} itself (correlation 1.00), {_REASON}"
        prints = [*self._prints, _fingerprint(sample.source)]
        alike = find_likenesses(prints, sides=[0] * len(self._prints) + [1])
        if not alike:
            return None
        name = self._samples[alike[0].first].name
        return f"looks like the golden image {name} (correlation {alike[0].correlation:.2f}), {_REASON}"


def _fingerprint(sample: Sample) -> Fingerprint:
    return take_fingerprint(read_thumbnail(sample.image.read_bytes(), edge_px=THUMBNAIL_PX))
