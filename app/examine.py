"""From what a model says of an image to what a recipe makes of it: the one road of folder inspection and service."""

from data.classes import ClassMap
from data.measurement import measure_defects
from model.predictor import Prediction
from model.recipe import Recipe, allowed_mask
from model.verdict import Ruling, judge


def examine(prediction: Prediction, *, recipe: Recipe, class_map: ClassMap) -> Ruling:
    """Measure the defects where the recipe looks, and judge them.

    Raises:
        RecipeError: the recipe's zones do not fit an image of this size.
    """
    labels = prediction.labels
    defects = measure_defects(
        labels,
        confidence=prediction.confidence,
        class_ids=class_map.defect_ids,
        allowed=allowed_mask(recipe, size_hw=(labels.shape[0], labels.shape[1])),
    )
    return judge(defects, recipe=recipe, class_map=class_map)
