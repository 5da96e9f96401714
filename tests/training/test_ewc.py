"""Fisher information and the penalty made of it, against what can be worked out by hand."""

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from model.segmenter import Segmenter
from training.ewc import ElasticPenalty, add_online, compute_fisher, load_fisher, save_fisher
from training.tensor_file import TensorFileError

CPU = torch.device("cpu")


class Logistic(nn.Module):
    """Logits (0, weight · red + bias): the probability of class 1 is a logistic function of how red a pixel is."""

    def __init__(self, *, weight: float, bias: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([weight]))
        self.bias = nn.Parameter(torch.tensor([bias]))

    def forward(self, x: Tensor) -> Tensor:
        logit = self.weight * x[:, :1] + self.bias
        return torch.cat((torch.zeros_like(logit), logit), dim=1)


def logistic(*, weight: float, bias: float) -> Segmenter:
    """Red is 0 … 1 to it."""
    network = Logistic(weight=weight, bias=bias)
    return Segmenter(network, class_count=2, stride=1, mean=(0.0,) * 3, std=(1.0,) * 3)


class RedCrops:
    """Crops of one row, of these reds (0 … 255); label 255 is ignored."""

    def __init__(self, *reds: int, labels: tuple[int, ...] = ()) -> None:
        self.image = torch.tensor(reds, dtype=torch.uint8)[None, :, None].repeat(1, 1, 3)
        self.labels = torch.tensor(labels or (0,) * len(reds))[None]

    def __getitem__(self, key: tuple[int, int]) -> tuple[Tensor, Tensor, int]:
        return self.image, self.labels, 0


# The penalty


def test_the_penalty_is_half_lambda_times_each_squared_step_times_its_information() -> None:
    segmenter = logistic(weight=2.0, bias=-1.0)
    fisher = {"network.weight": torch.tensor([3.0]), "network.bias": torch.tensor([0.5])}
    penalty = ElasticPenalty(segmenter, fisher=fisher, strength=4.0)
    assert penalty(segmenter).item() == 0
    with torch.no_grad():
        segmenter.network.weight += 0.5
        segmenter.network.bias -= 2.0
    told = penalty(segmenter)
    # 4/2 · (3 · 0.5² + 0.5 · 2²) = 2 · (0.75 + 2)
    assert told.item() == pytest.approx(5.5)
    told.backward()
    # λ F (θ - θ*)
    assert segmenter.network.weight.grad.item() == pytest.approx(4 * 3 * 0.5)
    assert segmenter.network.bias.grad.item() == pytest.approx(4 * 0.5 * -2)


def test_a_parameter_without_information_moves_freely() -> None:
    segmenter = logistic(weight=2.0, bias=-1.0)
    penalty = ElasticPenalty(segmenter, fisher={"network.bias": torch.tensor([1.0])}, strength=2.0)
    with torch.no_grad():
        segmenter.network.weight += 100
        segmenter.network.bias += 3
    told = penalty(segmenter)
    assert told.item() == pytest.approx(9)
    told.backward()
    assert segmenter.network.weight.grad is None


def test_the_penalty_is_computed_in_float32_under_autocast() -> None:
    segmenter = logistic(weight=1.0, bias=1.0)
    fisher = {"network.weight": torch.tensor([1.0])}
    penalty = ElasticPenalty(segmenter, fisher=fisher, strength=2.0)
    with torch.no_grad():
        # Eight bits of a bfloat16 do not see this step.
        segmenter.network.weight += 2**-12
    with torch.autocast("cpu", dtype=torch.bfloat16):
        told = penalty(segmenter)
    assert told.dtype == torch.float32
    assert told.item() == 2**-24


@pytest.mark.parametrize(
    ("fisher", "said"),
    [
        pytest.param({"network.weight": torch.zeros(3)}, r"network.weight is \[3\], .* \[1\]", id="shape"),
        pytest.param({"other": torch.zeros(1)}, "knows no parameter of this network", id="names"),
    ],
)
def test_information_of_another_network_is_refused(fisher: dict[str, Tensor], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        ElasticPenalty(logistic(weight=1.0, bias=0.0), fisher=fisher, strength=1.0)


# Fisher information


def test_where_both_classes_are_as_likely_the_information_is_exact_whatever_label_is_drawn() -> None:
    # (p - y)² is 1/4 for y = 0 and y = 1, so F(weight) = x²/4 and F(bias) = 1/4, with x = 51/255.
    fisher = compute_fisher(logistic(weight=0.0, bias=0.0), RedCrops(51), crops=3, device=CPU)
    assert fisher["network.weight"].item() == pytest.approx(0.2**2 / 4)
    assert fisher["network.bias"].item() == pytest.approx(1 / 4)


def test_it_is_what_the_closed_form_of_a_logistic_model_says() -> None:
    reds, weight, bias, crops = (0, 102, 255), 3.0, -1.5, 4000
    found = compute_fisher(logistic(weight=weight, bias=bias), RedCrops(*reds), crops=crops, device=CPU)
    levels = [red / 255 for red in reds]
    shares = [1 / (1 + math.exp(-(weight * x + bias))) for x in levels]
    variances = [p * (1 - p) for p in shares]
    # Mean over pixels of x² p (1 - p), and of p (1 - p); four standard errors of a mean of `crops` squares.
    tolerance = 4 * math.sqrt(2 / crops)
    expected = sum(x * x * v for x, v in zip(levels, variances, strict=True)) / 3
    assert found["network.weight"].item() == pytest.approx(expected, rel=tolerance)
    assert found["network.bias"].item() == pytest.approx(sum(variances) / 3, rel=tolerance)


def test_ignored_pixels_count_neither_above_nor_below_the_line() -> None:
    segmenter = logistic(weight=0.0, bias=0.0)
    crops = RedCrops(51, 255, labels=(1, 255))
    fisher = compute_fisher(segmenter, crops, crops=2, device=CPU)
    assert fisher["network.weight"].item() == pytest.approx(0.2**2 / 4)
    nothing = compute_fisher(segmenter, RedCrops(51, labels=(255,)), crops=2, device=CPU)
    assert nothing["network.weight"].item() == 0


def test_the_network_and_the_random_numbers_of_training_are_left_alone() -> None:
    segmenter = logistic(weight=1.0, bias=0.0)
    segmenter.train()
    before = torch.get_rng_state()
    one, two = (compute_fisher(segmenter, RedCrops(20, 200), crops=5, device=CPU) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), before)
    assert segmenter.training
    assert all(weight.grad is None for weight in segmenter.parameters())
    assert torch.equal(one["network.weight"], two["network.weight"])
    assert {value.dtype for value in one.values()} == {torch.float32}


def test_a_frozen_part_has_information_too() -> None:
    segmenter = logistic(weight=0.0, bias=0.0)
    segmenter.requires_grad_(False)
    fisher = compute_fisher(segmenter, RedCrops(51), crops=1, device=CPU)
    assert fisher["network.bias"].item() == pytest.approx(1 / 4)
    assert not any(weight.requires_grad for weight in segmenter.parameters())


def test_the_penalty_of_strength_1_is_about_the_divergence_of_a_pixels_answer() -> None:
    segmenter = logistic(weight=0.0, bias=0.0)
    fisher = compute_fisher(segmenter, RedCrops(255), crops=1, device=CPU)
    penalty = ElasticPenalty(segmenter, fisher={"network.bias": fisher["network.bias"]}, strength=1.0)
    with torch.no_grad():
        segmenter.network.bias += 0.1
    moved = 1 / (1 + math.exp(-0.1))
    divergence = 0.5 * math.log(0.5 / moved) + 0.5 * math.log(0.5 / (1 - moved))
    assert penalty(segmenter).item() == pytest.approx(divergence, rel=0.01)


def test_rounds_are_summed_and_older_ones_fade() -> None:
    before = {"a": torch.tensor([1.0, 2.0]), "gone": torch.tensor([5.0])}
    now = {"a": torch.tensor([10.0, 0.0]), "new": torch.tensor([3.0])}
    kept = add_online(before, now, decay=0.5)
    assert {name: value.tolist() for name, value in kept.items()} == {"a": [10.5, 1.0], "new": [3.0]}


# fisher.pt


def test_fisher_pt_is_read_back_as_it_was_written_in_float32(tmp_path: Path) -> None:
    path = save_fisher(tmp_path / "fisher.pt", {"a": torch.tensor([0.25, 3.0], dtype=torch.float64)})
    assert list(tmp_path.iterdir()) == [path]
    found = load_fisher(path)
    assert found["a"].tolist() == [0.25, 3.0]
    assert found["a"].dtype == torch.float32


@pytest.mark.parametrize(
    ("content", "said"),
    [
        pytest.param(None, r"cannot be read \(No such file", id="not there"),
        pytest.param(b"PK", "damaged, or no Fisher information", id="damaged"),
    ],
)
def test_a_fisher_pt_that_cannot_be_read_is_named(tmp_path: Path, content: bytes | None, said: str) -> None:
    path = tmp_path / "fisher.pt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(TensorFileError, match=f"fisher.pt: {said}"):
        load_fisher(path)


def test_a_flipped_bit_in_a_fisher_pt_is_found(tmp_path: Path) -> None:
    path = save_fisher(tmp_path / "fisher.pt", {"a": torch.ones(1000)})
    content = bytearray(path.read_bytes())
    content[content.index(torch.ones(4).numpy().tobytes()) + 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(TensorFileError, match=r"damaged, or no .* \(BadZipFile\)"):
        load_fisher(path)
