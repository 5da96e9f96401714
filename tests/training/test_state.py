"""What a run is made of fits together, and a checkpoint of something else is refused."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from data.classes import ClassMap
from training.checkpoint import Checkpoint, CheckpointError
from training.config import ConfigError
from training.state import TrainingState
from training.validate import ValidationScores

pytestmark = pytest.mark.usefixtures("fresh_torch")
BuildState = Callable[..., TrainingState]


@pytest.mark.parametrize(
    ("monitor", "values", "better", "best_epoch", "stale_epochs"),
    [
        pytest.param("mean_defect_iou", (0.1, 0.3, 0.2), (True, True, False), 2, 1, id="higher is better"),
        pytest.param("loss", (0.5, 0.7, 0.4), (True, False, True), 3, 0, id="a lower loss is better"),
        pytest.param("mean_iou", (0.5, 0.5, 0.5), (True, False, False), 1, 2, id="equal is no better"),
        pytest.param(
            "mean_iou", (None, 0.0, None), (True, True, False), 2, 1, id="unknown is worse than any"
        ),
        pytest.param("mean_iou", (None, None), (True, False), 1, 1, id="nothing but unknown"),
    ],
)
def test_the_best_epoch_is_the_first_with_the_best_monitored_score(
    build: BuildState,
    monitor: str,
    values: tuple[float | None, ...],
    better: tuple[bool, ...],
    best_epoch: int,
    stale_epochs: int,
) -> None:
    state = build(f"schedule.monitor={monitor}")
    # The other scores tell the opposite.
    others = {"loss": 1.0, "mean_iou": 0.5, "mean_defect_iou": 0.5}
    scores = [ValidationScores(**(others | {monitor: value})) for value in values]  # type: ignore[arg-type]
    assert tuple(state.finish_epoch(one) for one in scores) == better
    assert (state.epoch, state.best_epoch, state.stale_epochs) == (len(values), best_epoch, stale_epochs)


def test_a_run_is_over_at_its_last_epoch_or_when_patience_ends(build: BuildState) -> None:
    state = build("schedule.patience=2", "schedule.epochs=9")
    told = []
    for iou in (0.3, 0.2, 0.4, 0.1, 0.1):
        state.finish_epoch(ValidationScores(loss=1.0, mean_iou=iou, mean_defect_iou=iou))
        told.append(state.is_over)
    assert told == [False, False, False, False, True]
    patient = build("schedule.epochs=2")
    for _ in range(2):
        assert not patient.is_over
        patient.finish_epoch(ValidationScores(loss=1.0, mean_iou=None, mean_defect_iou=None))
    assert patient.is_over


def test_the_keys_left_are_those_of_the_epochs_left(build: BuildState) -> None:
    state = build("schedule.epochs=4", "schedule.crops_per_epoch=23", "optimizer.accumulate=2")
    assert state.keys().steps_per_epoch == 4
    assert len(state.keys()) == 16
    state.epoch = 3
    assert [key for batch in iter(state.keys()) for key in batch] == [(3, index) for index in range(16)]


def test_the_same_seed_gives_the_same_network_and_another_another(build: BuildState) -> None:
    one, two, other = build(), build(), build("seed=1")
    weights = [next(state.segmenter.parameters()) for state in (one, two, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    # What is validated at first is what is trained.
    averaged = one.averaged_segmenter.state_dict()
    for name, value in one.segmenter.state_dict().items():
        assert torch.equal(averaged[name], value), name


@pytest.mark.parametrize(
    ("override", "said"),
    [
        pytest.param(
            "network.options={widths=[4,4,4,4,4,4],convs=[1,1,1,1,1,1]}",
            "crops.crop_px is 32, .* stride, 64",
            id="crop",
        ),
        pytest.param("network.options.width=[4]", "no option 'width'; nearest is 'widths'", id="option"),
        pytest.param("network.name=resnet", "network 'resnet' is unknown", id="network"),
        pytest.param("loss.terms.lovas=1.0", "lovas", id="loss"),
        pytest.param("schedule.crops_per_epoch=3", "crops_per_epoch is 3, too few", id="no step"),
    ],
)
def test_what_cannot_be_trained_is_said_before_it_is_tried(
    build: BuildState, override: str, said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        build(override)


def test_a_tile_that_the_network_cannot_take_is_said_before_the_hours_of_training(build: BuildState) -> None:
    overrides = (
        "crops.crop_px=64",
        "network.options={widths=[4,4,4,4,4,4],convs=[1,1,1,1,1,1]}",
        "artefact.tile_px=96",
    )
    with pytest.raises(ConfigError, match=r"artefact\.tile_px is 96, expected a multiple of .* stride, 64"):
        build(*overrides)


def other_classes(checkpoint: Checkpoint) -> Checkpoint:
    return dataclasses.replace(checkpoint, classes=ClassMap.from_names(["background", "dent"]).to_text())


@pytest.mark.parametrize(
    ("overrides", "change", "said"),
    [
        pytest.param(
            (), other_classes, "trained on other classes; resume with the same data set", id="classes"
        ),
        pytest.param(
            ("network.options.widths=[4,4]",),
            None,
            "of another network .size mismatch for [^ ]*: .* same config",
            id="widths",
        ),
        pytest.param(("network.name=segnet",), None, "of another network", id="another network"),
    ],
)
def test_a_checkpoint_of_something_else_is_refused(
    build: BuildState,
    overrides: tuple[str, ...],
    change: Callable[[Checkpoint], Checkpoint] | None,
    said: str,
) -> None:
    checkpoint = build().to_checkpoint()
    state = build(*overrides)
    with pytest.raises(CheckpointError, match=said) as caught:
        state.restore(change(checkpoint) if change else checkpoint, path=Path("last.pt"))
    assert str(caught.value).startswith("last.pt: ")
    assert "\n" not in str(caught.value)
