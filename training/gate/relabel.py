"""Models that know different classes, judged on one set of labels: mapped by name onto a class map that holds all."""

import dataclasses

import numpy as np
from numpy.typing import NDArray

from data.classes import ClassMap
from data.manifest import Manifest
from model.contract import Contract, Decision
from model.predictor import Prediction
from training.evaluate import Predicts
from training.labelled import PairError


class Relabelled:
    """A model that answers in the ids of a wider class map; `training.evaluate` takes it for any other.

    The model decides what it decided before: a class that it does not know has probability 0, whatever its weight.
    """

    def __init__(self, model: Predicts, class_map: ClassMap) -> None:
        """Raises PairError: a class of the model is not in the map, or is a defect in one and none in the other."""
        own = model.contract.classes
        missing = [name for name in own.names if name not in class_map.names]
        if missing:
            raise PairError(
                f"the model's classes {', '.join(missing)} are not among {', '.join(class_map.names)}; "
                "widen these with the model's classes first (training.gate.relabel.in_common_classes)"
            )
        for known, other in class_map.role_conflicts(own):
            raise PairError(
                f"the class {known.name!r} is {known.role} in one and {other.role} in another; a part's verdict hangs "
                "on it: give it one role in every classes.txt and train anew"
            )
        self._model = model
        self._ids = np.array([class_map.index_of(name) for name in own.names], np.uint8)
        weights = np.ones(len(class_map))
        weights[self._ids] = model.contract.decision.weights
        decision = Decision(weights=tuple(weights.tolist()), min_area_px=model.contract.decision.min_area_px)
        self._contract = model.contract.model_copy(update={"classes": class_map, "decision": decision})

    @property
    def contract(self) -> Contract:
        """The model's, in the wider classes. Its golden sample keeps the model's own ids."""
        return self._contract

    def predict(self, image: NDArray[np.uint8], *, want_probabilities: bool = False) -> Prediction:
        """uint8 RGB [height, width, 3] -> what the model says, in the wider classes."""
        said = self._model.predict(image, want_probabilities=want_probabilities)
        probabilities = None
        if said.probabilities is not None:
            probabilities = np.zeros((len(self._contract.classes), *said.labels.shape), np.float32)
            probabilities[self._ids] = said.probabilities
        return Prediction(
            labels=self._ids[said.labels], confidence=said.confidence, probabilities=probabilities
        )


def in_common_classes(manifest: Manifest, *models: Predicts) -> tuple[Manifest, tuple[Relabelled, ...]]:
    """A data set and models that may know different classes, all in one class map: the set's ids stay.

    Raises:
        PairError: a class is a defect in one and none in another, so that no verdict would mean the same.
        ValueError: more classes than a mask can hold.
    """
    class_map = manifest.class_map.widened(*(model.contract.classes for model in models))
    relabelled = tuple(Relabelled(model, class_map) for model in models)
    return dataclasses.replace(manifest, class_map=class_map), relabelled
