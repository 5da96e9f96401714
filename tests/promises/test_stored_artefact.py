"""Model files outlive the program that wrote them: one of format 1 lies here, and must open for ever.

`format_1.onnx` is the model of `tests/model/conftest.py`, written once. Never write it anew to please a test.
"""

from pathlib import Path

import numpy as np

from data.regions import find_regions
from model.artifact import open_artifact
from model.predictor import Predictor


def test_a_stored_model_of_format_1_still_opens_and_says_the_same(repository: Path) -> None:
    artifact = open_artifact(repository / "tests" / "promises" / "format_1.onnx")
    predictor = Predictor.open(artifact, device="cpu", threads=1)
    assert artifact.contract.format == 1
    assert artifact.contract.classes.names == ("background", "scratch", "pit")
    assert artifact.contract.graph_sha256 == artifact.digest
    assert predictor.check_golden() == 1.0
    image = np.full((100, 200, 3), 128, np.uint8)
    image[20:40, 50:150] = (255, 0, 0)
    labels = predictor.predict(image).labels
    assert [region.class_id for region in find_regions(labels, class_ids=(1, 2))] == [1]
