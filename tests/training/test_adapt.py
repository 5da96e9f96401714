"""A candidate starts as the champion, moves where it may, and a resumed one ends as if it had not been stopped."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from data.classes import ClassMap
from data.sources import open_dataset
from model.segmenter import Segmenter, build
from training import loop
from training.adapt import AdaptError, Start, build_segmenter, load_start, matched_fisher
from training.checkpoint import BEST, LAST, load_checkpoint
from training.config import ConfigError, NetworkSettings, RunConfig, parse_config, read_config
from training.ewc import compute_fisher, save_fisher
from training.loop import fit
from training.network_file import TrainedNetwork, write_network
from training.run_log import LOG_FILE, read_log
from training.state import TrainingState, build_state
from training.tensor_file import TensorFileError

pytestmark = pytest.mark.usefixtures("fresh_torch")
OLD = ("background", "scratch", "pit")
WIDER = ("background", "pit", "fray", "scratch")
"""A new class, and the known ones in another order."""
NETWORKS = [
    pytest.param("residual_segnet", {"widths": [4, 8]}, id="ours"),
    pytest.param("segnet", {"widths": [4, 8]}, id="segnet"),
    pytest.param("encoder_segnet", {"encoder": "resnet18"}, id="our decoder on another encoder"),
    pytest.param("peer", {"arch": "unet", "encoder": "resnet18"}, id="peer"),
]


def champion_of(name: str, options: dict[str, Any], *, class_names: Sequence[str] = OLD) -> TrainedNetwork:
    """A champion with random weights everywhere, the heads that start silent included."""
    torch.manual_seed(7)
    segmenter = build(name, class_count=len(class_names), options=options)
    for weight in segmenter.classifier.parameters():
        torch.nn.init.normal_(weight)
    settings = NetworkSettings(name=name, options=options)
    return TrainedNetwork(settings, tuple(class_names), segmenter.state_dict())


def config_of(champion: TrainedNetwork, **adapt: Any) -> RunConfig:
    return parse_config({"network": champion.settings.model_dump(), "adapt": adapt}, origin="test")


@torch.no_grad()
def logits_of(segmenter: Segmenter) -> Tensor:
    image = torch.randint(
        0, 256, (1, 64, 64, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1)
    )
    logits: Tensor = segmenter.eval()(image)
    return logits


# The start


@pytest.mark.parametrize(("name", "options"), NETWORKS)
def test_a_new_class_begins_as_background_and_changes_no_logit_of_the_old_classes_in_another_order(
    name: str, options: dict[str, Any]
) -> None:
    champion = champion_of(name, options)
    config = config_of(champion, strategy="fine_tune")
    segmenter = build_segmenter(config, class_names=WIDER, start=Start(champion=champion))
    before, after = logits_of(champion.build()), logits_of(segmenter)
    assert after.shape[1] == 4
    # A head with one row more is summed in another order on some processors: the largest logits say how far that goes.
    rounding = 1e-6 * float(before.abs().max())
    for class_name, came_from in [*zip(OLD, OLD, strict=True), ("fray", "background")]:
        told, expected = after[:, WIDER.index(class_name)], before[:, OLD.index(came_from)]
        torch.testing.assert_close(told, expected, rtol=0, atol=rounding, msg=class_name)


def test_a_class_that_the_data_set_no_longer_has_is_left_out() -> None:
    champion = champion_of("residual_segnet", {"widths": [4, 8]})
    segmenter = build_segmenter(
        config_of(champion, strategy="fine_tune"),
        class_names=("background", "pit"),
        start=Start(champion=champion),
    )
    torch.testing.assert_close(logits_of(segmenter), logits_of(champion.build())[:, [0, 2]])


def test_as_many_channels_as_classes_do_not_make_a_layer_a_head() -> None:
    # Three classes in another order, and stages three wide.
    champion = champion_of("residual_segnet", {"widths": [3, 3]})
    order = ("pit", "background", "scratch")
    segmenter = build_segmenter(
        config_of(champion, strategy="fine_tune"), class_names=order, start=Start(champion=champion)
    )
    torch.testing.assert_close(logits_of(segmenter), logits_of(champion.build())[:, [2, 0, 1]])


def test_from_scratch_nothing_of_the_champion_is_taken() -> None:
    champion = champion_of("residual_segnet", {"widths": [4, 8]})
    config = config_of(champion, strategy="scratch")
    torch.manual_seed(3)
    fresh = build_segmenter(config, class_names=OLD, start=None).state_dict()
    torch.manual_seed(3)
    started = build_segmenter(config, class_names=OLD, start=Start(champion=champion)).state_dict()
    for name, value in fresh.items():
        assert torch.equal(value, started[name]), name


def test_the_information_of_known_classes_goes_with_their_rows_and_new_rows_have_none() -> None:
    champion = champion_of("residual_segnet", {"widths": [4, 8]})
    fisher = {name: torch.rand(weight.shape) for name, weight in champion.build().named_parameters()}
    start = Start(champion=champion, fisher=fisher)
    segmenter = build_segmenter(config_of(champion, strategy="ewc"), class_names=WIDER, start=start)
    matched = matched_fisher(start, segmenter=segmenter, class_names=WIDER)
    for scale in range(2):
        for kind in ("weight", "bias"):
            name = f"network.classifier.heads.{scale}.{kind}"
            assert torch.equal(matched[name][[0, 3, 1]], fisher[name])
            assert not matched[name][2].any()
    name = "network.encoder.0.widen.0.weight"
    assert torch.equal(matched[name], fisher[name])


@pytest.mark.parametrize(
    ("adapt", "start", "said"),
    [
        pytest.param(
            {"strategy": "fine_tune"}, False, "adapt.strategy = fine_tune needs a champion", id="strategy"
        ),
        pytest.param(
            {"distill_weight": 1}, False, "adapt.distill_weight needs a champion", id="distillation"
        ),
        pytest.param({"strategy": "ewc"}, True, "ewc needs the champion's fisher.pt", id="fisher"),
    ],
)
def test_what_the_start_does_not_give_is_said(adapt: dict[str, Any], start: bool, said: str) -> None:
    champion = champion_of("residual_segnet", {"widths": [4, 8]})
    given = Start(champion=champion) if start else None
    with pytest.raises(ConfigError, match=said):
        build_segmenter(config_of(champion, **adapt), class_names=OLD, start=given)


@pytest.mark.parametrize(
    ("options", "class_names", "said"),
    [
        pytest.param({"widths": [4, 4]}, OLD, "champion is no residual_segnet .*size mismatch", id="widths"),
        pytest.param(
            {"widths": [4, 8], "scale_residual": False}, OLD, "no residual_segnet with these", id="heads"
        ),
        pytest.param(
            {"widths": [4, 8]},
            ("background", "dent"),
            "knows background, scratch, pit, the data set background, dent: fewer than two",
            id="classes",
        ),
    ],
)
def test_a_champion_that_does_not_fit_is_refused(
    options: dict[str, Any], class_names: tuple[str, ...], said: str
) -> None:
    champion = champion_of("residual_segnet", {"widths": [4, 8]})
    other = dataclasses.replace(champion, settings=NetworkSettings(options=options))
    config = config_of(other, strategy="fine_tune")
    with pytest.raises(AdaptError, match=said) as caught:
        build_segmenter(config, class_names=class_names, start=Start(champion=champion))
    assert "\n" not in str(caught.value)


# Training


@pytest.fixture
def champion(build: Callable[..., TrainingState], tmp_path: Path) -> Path:
    """A champion's folder: trained for an epoch, with network.pt and fisher.pt."""
    folder = tmp_path / "champion"
    folder.mkdir()
    state = build("schedule.epochs=1")
    fit(state, out=folder)
    fisher = compute_fisher(state.averaged_segmenter, state.crops, crops=4, device=torch.device("cpu"))
    save_fisher(folder / "fisher.pt", fisher)
    write_network(folder / BEST)
    return folder


@pytest.fixture
def adapt(champion: Path, tiny_config: Path, tiny_parts: Path) -> Callable[..., TrainingState]:
    """A candidate of two epochs that goes on from the champion, with `--set` overrides."""

    def adapt(*overrides: str) -> TrainingState:
        manifest = open_dataset(tiny_parts)
        config = read_config(tiny_config, overrides=["schedule.epochs=2", "optimizer.lr=5e-4", *overrides])
        new = frozenset(sample.name for sample in manifest.split("train")[:2])
        start = load_start(champion / "network.pt", fisher=champion / "fisher.pt", new_samples=new)
        return build_state(config, manifest, start=start)

    return adapt


def test_network_pt_holds_the_champion_as_it_was_validated(champion: Path) -> None:
    saved = load_checkpoint(champion / BEST)
    start = load_start(champion / "network.pt")
    assert start.champion.class_names == ClassMap.from_text(saved.classes, origin="test").names
    assert start.fisher is None
    for name, value in start.champion.weights.items():
        assert torch.equal(value, saved.averaged[f"module.{name}"]), name
    assert len(start.champion.weights) == len(saved.averaged) - 1
    assert (champion / "network.pt").stat().st_size < (champion / BEST).stat().st_size / 2
    with pytest.raises(TensorFileError, match=r"fisher\.pt: holds something else than the weights"):
        load_start(champion / "fisher.pt")


def test_trained_and_averaged_network_start_as_the_champion_at_the_rate_of_the_adaptation(
    champion: Path, adapt: Callable[..., TrainingState]
) -> None:
    state = adapt("adapt.strategy=fine_tune")
    weights = load_start(champion / "network.pt").champion.weights
    for segmenter in (state.segmenter, state.averaged_segmenter):
        for name, value in segmenter.state_dict().items():
            assert torch.equal(value, weights[name]), name
    # The first of two warm-up steps.
    assert state.schedule.get_last_lr()[0] == pytest.approx(5e-4 / 2)
    assert state.regularizer is None


def test_a_frozen_encoder_stays_to_the_last_bit_and_all_else_is_trained(
    adapt: Callable[..., TrainingState], tmp_path: Path
) -> None:
    state = adapt("adapt.strategy=frozen_encoder")
    before = {name: value.clone() for name, value in state.segmenter.state_dict().items()}
    assert {name.split(".")[1] for name in before if "running_mean" in name} == {"encoder", "decoder"}
    fit(state, out=tmp_path)
    for segmenter in (state.segmenter, state.averaged_segmenter):
        segmenter.train()
        for name, value in segmenter.state_dict().items():
            stays = name.startswith("network.encoder.") or name in ("mean", "std")
            assert torch.equal(value, before[name]) == stays, name
    assert not any(part.training for part in state.segmenter.encoder.modules())
    assert any(part.training for part in state.segmenter.network.decoder.modules())


@pytest.mark.parametrize(("name", "options"), NETWORKS)
def test_every_network_has_an_encoder_to_freeze_and_something_left_to_train(
    name: str, options: dict[str, Any]
) -> None:
    segmenter = build(name, class_count=3, options=options).train()
    segmenter.freeze_encoder()
    statistics = {name: value.clone() for name, value in segmenter.encoder.named_buffers()}
    segmenter(torch.zeros(2, 64, 64, 3, dtype=torch.uint8)).sum().backward()
    assert statistics
    for key, value in segmenter.encoder.named_buffers():
        assert torch.equal(value, statistics[key]), key
    assert all(weight.grad is None for weight in segmenter.encoder.parameters())
    assert all(weight.grad is not None for weight in segmenter.classifier.parameters())


def test_what_holds_a_candidate_back_works_on_its_weights_and_not_on_the_loss_that_is_told(
    adapt: Callable[..., TrainingState], tmp_path: Path
) -> None:
    told, moved = {}, {}
    for strength in ("1e-9", "1e7"):
        out = tmp_path / strength
        out.mkdir()
        state = adapt("adapt.strategy=ewc", f"adapt.ewc_lambda={strength}", "schedule.epochs=1")
        before = torch.cat([weight.detach().flatten() for weight in state.segmenter.parameters()])
        fit(state, out=out)
        after = torch.cat([weight.detach().flatten() for weight in state.segmenter.parameters()])
        moved[strength] = float((after - before).norm())
        told[strength] = read_log(out / LOG_FILE)[0]["train"]["loss"]
    assert moved["1e7"] < 0.8 * moved["1e-9"]
    # With the penalty in it, it would be a thousand times as large.
    assert told["1e7"] == pytest.approx(told["1e-9"], rel=0.2)


def test_a_regularizer_is_added_to_what_is_minimised(
    adapt: Callable[..., TrainingState], tmp_path: Path
) -> None:
    state = adapt("adapt.strategy=fine_tune", "optimizer.clip_norm=0", "schedule.epochs=1")
    gradients: list[Tensor] = []
    optimizer: Any = state.optimizer
    weight = next(state.segmenter.parameters())
    optimizer.optimizer.register_step_pre_hook(lambda *_: gradients.append(weight.grad.clone()))
    state.regularizer = lambda segmenter, batch, logits: 1e6 * next(segmenter.parameters()).sum()
    fit(state, out=tmp_path)
    assert torch.stack(gradients).mean().item() == pytest.approx(1e6, rel=1e-3)


@pytest.mark.parametrize(
    "overrides",
    [
        pytest.param(
            ("adapt.strategy=ewc", "adapt.distill_weight=0.5", "adapt.new_share=0.5"), id="ewc, distilled"
        ),
        pytest.param(("adapt.strategy=frozen_encoder",), id="frozen encoder"),
    ],
)
def test_an_adaptation_that_was_stopped_and_resumed_is_the_one_that_was_not(
    adapt: Callable[..., TrainingState],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    overrides: tuple[str, ...],
) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    for folder in (whole, parts):
        folder.mkdir()
    fit(adapt(*overrides), out=whole)
    validate = loop.validate

    def stop(*arguments: Any, **named: Any) -> Any:
        if (parts / LAST).exists():
            raise KeyboardInterrupt
        return validate(*arguments, **named)

    monkeypatch.setattr(loop, "validate", stop)
    with pytest.raises(KeyboardInterrupt):
        fit(adapt(*overrides), out=parts)
    monkeypatch.setattr(loop, "validate", validate)
    torch.manual_seed(12345)
    resumed = adapt(*overrides)
    resumed.restore(load_checkpoint(parts / LAST), path=parts / LAST)
    assert resumed.epoch == 1
    fit(resumed, out=parts)
    one, two = (load_checkpoint(folder / LAST) for folder in (whole, parts))
    for part in ("network", "averaged", "optimizer", "random_state", "best_score"):
        torch.testing.assert_close(getattr(one, part), getattr(two, part), rtol=0, atol=0)
