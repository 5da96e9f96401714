"""What every walk over a labelled split needs: classes that are the model's, and a view of how far it is."""

from collections.abc import Iterator, Sequence

from data.classes import ClassMap
from data.manifest import Sample
from data.progress import meter


class PairError(ValueError):
    """A data set and a model that do not belong together."""


def watched(samples: Sequence[Sample], *, what: str) -> Iterator[Sample]:
    """The samples again, with a bar in a terminal and a line now and then in a log."""
    with meter(what, total=len(samples)) as progress:
        for sample in samples:
            yield sample
            progress.advance()


def check_classes(model_classes: ClassMap, *, data_classes: ClassMap) -> None:
    """PairError when a model and a data set do not mean the same by their class numbers."""
    if model_classes.names != data_classes.names:
        raise PairError(
            f"the model's classes are {', '.join(model_classes.names)}, the data set's "
            f"{', '.join(data_classes.names)}; names and order must agree for a score to mean anything"
        )
