"""One contract for every network, stacking and flag."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from segmentation_models_pytorch import encoders
from torch import nn

from model.classifier import Classifier
from model.encoders import PACKAGED_ENCODER
from model.pooling import set_export_form
from model.residual_segnet import ResidualSegNet
from model.segmenter import NETWORKS, Segmenter, build
from model.segnet import segnet
from model.stacking import STACKINGS

CLASSES = 3
TINY = {"widths": [8, 8, 16], "convs": [2, 2, 4]}
TINY_DECODER = {"widths": [8, 8, 8, 8, 8], "convs": [1, 1, 1, 2, 2]}


@dataclass(frozen=True)
class Case:
    """A network by name and options."""

    name: str
    options: dict[str, object] = field(default_factory=dict)

    def build(self) -> Segmenter:
        torch.manual_seed(0)
        return build(self.name, class_count=CLASSES, options=self.options)


OURS = {
    "residual_segnet": Case("residual_segnet", TINY),
    "without block residual": Case("residual_segnet", {**TINY, "block_residual": False}),
    "without concat skip": Case("residual_segnet", {**TINY, "concat_skip": False}),
    "dropout": Case("residual_segnet", {**TINY, "dropout": 0.5}),
    "smooth logits": Case("residual_segnet", {**TINY, "smooth": True}),
    "narrow late": Case("residual_segnet", {**TINY, "narrow_early": False}),
    "segnet": Case("segnet", TINY),
    **{f"stacking {name}": Case("residual_segnet", {**TINY, "stacking": name}) for name in STACKINGS},
}
PEERS = {
    "encoder resnet18": Case("encoder_segnet", {**TINY_DECODER, "encoder": "resnet18"}),
    "encoder lite0": Case("encoder_segnet", {**TINY_DECODER, "encoder": PACKAGED_ENCODER}),
    "encoder lite0, half the size": Case(
        "encoder_segnet", {"widths": [4, 6, 6, 8], "convs": [1, 2, 2, 2], "encoder": PACKAGED_ENCODER}
    ),
    "encoder lite0, not unpooled": Case(
        "encoder_segnet", {"widths": [4, 6, 8], "encoder": PACKAGED_ENCODER, "smooth": True, "unpool": False}
    ),
    "encoder lite0, a quarter": Case("encoder_segnet", {"widths": [4, 6, 8], "encoder": PACKAGED_ENCODER}),
    "peer unet": Case("peer", {"arch": "unet", "encoder": "tu-mobilenetv3_small_050"}),
    "peer fpn": Case("peer", {"arch": "fpn", "encoder": "tu-mobilenetv3_small_050"}),
}
ours = pytest.mark.parametrize("case", OURS.values(), ids=OURS.keys())
every = pytest.mark.parametrize("case", [*OURS.values(), *PEERS.values()], ids=[*OURS, *PEERS])


def images_of(segmenter: Segmenter, *, rows: int, columns: int, count: int = 2) -> torch.Tensor:
    """Random images of so many strides."""
    shape = (count, rows * segmenter.stride, columns * segmenter.stride, 3)
    return torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(1), dtype=torch.uint8)


@every
def test_logits_are_float32_and_as_large_as_the_image_at_any_multiple_of_the_stride(case: Case) -> None:
    segmenter = case.build().eval()
    for rows, columns in ((1, 1), (3, 2)):
        images = images_of(segmenter, rows=rows, columns=columns)
        with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
            logits = segmenter(images)
        assert logits.shape == (2, CLASSES, *images.shape[1:3])
        assert logits.dtype == torch.float32
        assert bool(logits.isfinite().all())


@every
def test_a_size_that_is_no_multiple_of_the_stride_is_refused(case: Case) -> None:
    segmenter = case.build()
    stride = segmenter.stride
    with pytest.raises(ValueError, match=f"{stride} x {stride + 2} pixels.*multiples of {stride}"):
        segmenter(torch.zeros(1, stride, stride + 2, 3, dtype=torch.uint8))


@every
def test_a_gradient_reaches_every_parameter(case: Case) -> None:
    segmenter = case.build()
    logits = segmenter(images_of(segmenter, rows=2, columns=2))
    logits.square().mean().backward()
    without = [
        name
        for name, parameter in segmenter.named_parameters()
        if parameter.grad is None or not parameter.grad.any()
    ]
    assert not without


@ours
def test_one_image_is_learnt_by_heart(case: Case) -> None:
    """A disc and a bar, two classes of defect, on noise."""
    segmenter = case.build()
    rows, columns = torch.meshgrid(torch.arange(32), torch.arange(32), indexing="ij")
    labels = torch.zeros(1, 32, 32, dtype=torch.int64)
    labels[0, (rows - 10) ** 2 + (columns - 10) ** 2 < 36] = 1
    labels[0, 22:26, 4:30] = 2
    image = torch.randint(80, 120, (1, 32, 32, 3), generator=torch.Generator().manual_seed(2))
    image[0, ..., 1] += 60 * (labels[0] == 1)
    image[0, ..., 2] += 60 * (labels[0] == 2)
    optimizer = torch.optim.AdamW(segmenter.parameters(), lr=2e-2)
    right = 0.0
    for _ in range(100):
        optimizer.zero_grad()
        logits = segmenter(image.to(torch.uint8))
        right = float((logits.argmax(1) == labels).float().mean())
        if right > 0.98:
            break
        nn.functional.cross_entropy(logits, labels).backward()
        optimizer.step()
    assert right > 0.98


OPEN_SIZE = {
    "residual_segnet": Case("residual_segnet", {"widths": [8, 16], "convs": [2, 2]}),
    "smooth logits": Case("residual_segnet", {"widths": [8, 16], "convs": [2, 2], "smooth": True}),
    "multistep without skip": Case(
        "residual_segnet",
        {"widths": [8, 16], "convs": [2, 3], "stacking": "multistep", "concat_skip": False},
    ),
}
# A strided encoder traces with open height and width too, but its long symbolic sizes take half a minute.
FIXED_SIZE = {"encoder lite0": PEERS["encoder lite0"]}


@pytest.mark.parametrize(
    ("case", "open_size"),
    [pytest.param(case, True, id=name) for name, case in OPEN_SIZE.items()]
    + [pytest.param(case, False, id=name) for name, case in FIXED_SIZE.items()],
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
def test_the_exported_form_agrees_with_the_trained_one(case: Case, open_size: bool, tmp_path: Path) -> None:
    segmenter = case.build().eval()
    stride = segmenter.stride
    traced_with = images_of(segmenter, rows=2, columns=3)
    served = images_of(segmenter, rows=2, columns=1 if open_size else 3, count=3)
    with torch.no_grad():
        expected = segmenter(served).numpy()
    set_export_form(segmenter, True)
    path = tmp_path / "network.onnx"
    axes: dict[int, object] = {0: torch.export.Dim("batch", max=64)}
    if open_size:
        axes |= {
            1: stride * torch.export.Dim("rows", max=64),
            2: stride * torch.export.Dim("columns", max=64),
        }
    torch.onnx.export(
        segmenter,
        (traced_with,),
        path,
        dynamo=True,
        external_data=False,
        verbose=False,
        dynamic_shapes=(axes,),
    )
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {session.get_inputs()[0].name: served.numpy()})
    # Rounding may move a maximum to another pixel of its window, so a few values may differ by more.
    assert float((np.abs(found - expected) < 1e-3).mean()) > 0.999
    assert float((found.argmax(1) == expected.argmax(1)).mean()) > 0.999


def test_normalisation_is_inside_and_by_the_given_mean_and_std() -> None:
    segmenter = Segmenter(nn.Identity(), class_count=3, stride=1, mean=(0.5, 0.0, 0.2), std=(0.25, 1.0, 0.1))
    image = torch.tensor([[[[255, 51, 51]]]], dtype=torch.uint8)
    assert segmenter(image).flatten().tolist() == pytest.approx([2.0, 0.2, 0.0], abs=1e-6)


def test_the_default_network_is_small_and_segnet_has_its_known_size() -> None:
    assert 1.0e6 < count(ResidualSegNet(4)) < 1.35e6
    with torch.device("meta"):
        assert count(segnet(4)) == pytest.approx(29.5e6, rel=0.005)


def test_every_stacking_has_the_same_parameters_but_for_a_few_scalars() -> None:
    sizes = [count(ResidualSegNet(2, widths=(8, 8), convs=(3, 4), stacking=name)) for name in STACKINGS]
    assert max(sizes) - min(sizes) <= 4 * 6


def test_the_classifier_can_start_at_the_class_prior() -> None:
    network = ResidualSegNet(3, widths=(8,), prior=(0.98, 0.01, 0.01))
    assert network.classifier.bias is not None
    assert network.classifier.bias.softmax(0).tolist() == pytest.approx([0.98, 0.01, 0.01])


@pytest.mark.parametrize(
    ("smooth", "expected"),
    [
        pytest.param(False, [0.0, 0.0, 4.0, 4.0], id="in blocks"),
        pytest.param(True, [0.0, 1.0, 3.0, 4.0], id="bilinearly"),
    ],
)
def test_coarser_logits_are_enlarged_in_blocks_or_smoothly(smooth: bool, expected: list[float]) -> None:
    classifier = Classifier((1, 1), class_count=2, smooth=smooth)
    with torch.no_grad():
        for head in classifier.heads:
            nn.init.ones_(head.weight)
    fine, coarse = torch.zeros(1, 1, 2, 4), torch.tensor([[[[0.0, 4.0]]]])
    assert classifier((fine, coarse))[0, 0, 0].tolist() == pytest.approx(expected)


def test_the_packaged_imagenet_weights_reach_the_encoder_with_their_normalisation() -> None:
    """Real weights have no unit norm scale and no zero mean; a random start has."""
    options = {**TINY_DECODER, "encoder": PACKAGED_ENCODER, "encoder_weights": "imagenet"}
    segmenter = build("encoder_segnet", class_count=2, options=options)
    assert segmenter.std.flatten().tolist() == [0.5, 0.5, 0.5]
    means = [value for key, value in segmenter.state_dict().items() if key.endswith("running_mean")]
    assert sum(bool(mean.abs().max() > 0.01) for mean in means) > 40


def test_constant_padding_gives_what_timm_computes_from_the_size() -> None:
    theirs = encoders.get_encoder(PACKAGED_ENCODER, weights=None).eval()
    ours = build("encoder_segnet", class_count=2, options={**TINY_DECODER, "encoder": PACKAGED_ENCODER})
    encoder = ours.eval().network.encoder
    encoder.load_state_dict(theirs.state_dict())
    x = torch.randn(1, 3, 96, 64)
    with torch.no_grad():
        for expected, found in zip(theirs(x), encoder(x), strict=True):
            assert torch.equal(expected, found)


def test_encoder_weights_are_read_from_a_local_file(tmp_path: Path) -> None:
    options = {"encoder": "tu-mobilenetv3_small_050", "arch": "unet"}
    donor = build("peer", class_count=2, options=options)
    weights = donor.network.network.encoder.state_dict()
    path = tmp_path / "encoder.pt"
    torch.save(weights, path)
    heir = build("peer", class_count=5, options={**options, "encoder_weights": str(path)})
    for key, value in heir.network.network.encoder.state_dict().items():
        assert torch.equal(value, weights[key])
    torch.save({"nothing": torch.zeros(1)}, path)
    with pytest.raises(ValueError, match="holds no weights of the encoder"):
        build("peer", class_count=5, options={**options, "encoder_weights": str(path)})


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        pytest.param("residual_segmet", {}, "nearest is 'residual_segnet'", id="network"),
        pytest.param("residual_segnet", {"width": [8]}, "nearest is 'widths'", id="option"),
        pytest.param("segnet", {"stacking": "euler"}, "no option 'stacking'", id="option of another"),
        pytest.param("residual_segnet", {"stacking": "eular"}, "nearest is 'euler'", id="stacking"),
        pytest.param("residual_segnet", {"widths": [8, 0]}, "expected one whole number", id="width"),
        pytest.param("residual_segnet", {"widths": [8], "convs": [2, 2]}, "for 1 stages", id="convs"),
        pytest.param(
            "residual_segnet",
            {"widths": [8] * 6},
            r"widths \[8, 8, 8, 8, 8, 8\] are 6 stages.* \[2, 2, 3, 3, 3\], enough for 5; give convs too",
            id="six widths without convs",
        ),
        pytest.param("residual_segnet", {"prior": [1.0]}, "expected 3 shares", id="prior"),
        pytest.param("residual_segnet", {"std": [0.0, 1.0, 1.0]}, "std above 0", id="std"),
        pytest.param("peer", {"arch": "unnet"}, "nearest is 'unet'", id="architecture"),
        pytest.param("peer", {"encoder": "resnet81"}, "nearest is 'resnet18'", id="encoder"),
        pytest.param("peer", {"encoder": "tu-resnet81"}, "encoder 'tu-resnet81' is unknown", id="timm"),
        pytest.param("peer", {"encoder_weights": "imagnet"}, "is no file", id="weights"),
        pytest.param("encoder_segnet", {"encoder": "mit_b0"}, "no map at 1/2 of the size", id="no scale"),
        pytest.param("encoder_segnet", {"widths": [8]}, "five scales", id="scales"),
        pytest.param("residual_segnet", {"dropout": 1.0}, "expected 0 to below 1", id="dropout"),
    ],
)
def test_what_makes_no_network_is_said_with_what_would(
    name: str, options: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        build(name, class_count=CLASSES, options=options)


def test_one_class_makes_no_segmentation() -> None:
    with pytest.raises(ValueError, match="1 classes"):
        build("residual_segnet", class_count=1)


def test_the_contract_covers_every_network() -> None:
    assert {case.name for case in (*OURS.values(), *PEERS.values())} == set(NETWORKS)


def count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())
