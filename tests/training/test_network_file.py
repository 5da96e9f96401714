"""network.pt holds what the next training goes on from: the averaged network, which is the one that was exported."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from training.checkpoint import BEST, CheckpointError, save_checkpoint
from training.loop import fit
from training.network_file import NETWORK_FILE, averaged_weights, read_network, write_network
from training.state import TrainingState
from training.tensor_file import TensorFileError, write_tensors


@pytest.fixture
def state(build: Callable[..., TrainingState], fresh_torch: None) -> TrainingState:
    """A run whose averaged and trained networks differ."""
    state = build()
    for weight in state.segmenter.parameters():
        with torch.no_grad():
            weight.add_(0.25)
    return state


@pytest.fixture
def network_pt(state: TrainingState, tmp_path: Path) -> Path:
    return write_network(save_checkpoint(tmp_path / BEST, state.to_checkpoint()))


def test_the_averaged_network_comes_back_with_its_classes(state: TrainingState, network_pt: Path) -> None:
    found = read_network(network_pt)
    assert network_pt.name == NETWORK_FILE
    assert found.class_names == state.class_map.names
    assert found.settings == state.config.network
    image = torch.randint(
        0, 256, (1, 32, 48, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1)
    )
    with torch.inference_mode():
        logits = found.build().eval()(image)
        assert torch.equal(logits, state.averaged_segmenter.cpu().eval()(image))
        assert not torch.equal(logits, state.segmenter.cpu().eval()(image))


def test_it_carries_no_optimiser_and_no_second_network(state: TrainingState, network_pt: Path) -> None:
    fit(state, out=network_pt.parent)
    assert write_network(network_pt.with_name(BEST)) == network_pt
    assert network_pt.stat().st_size < network_pt.with_name(BEST).stat().st_size / 2


def test_the_weights_are_named_as_the_segmenter_names_them(state: TrainingState) -> None:
    weights = averaged_weights(state.to_checkpoint())
    assert weights.keys() == state.segmenter.state_dict().keys()


@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_a_file_cut_off_is_named(network_pt: Path, share: float) -> None:
    content = network_pt.read_bytes()
    network_pt.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(TensorFileError, match=r"network\.pt: damaged, or no weights of a trained network"):
        read_network(network_pt)


def test_a_weight_that_flipped_on_disk_is_noticed(network_pt: Path) -> None:
    content = bytearray(network_pt.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 64] = bytes(byte ^ 0xFF for byte in content[middle : middle + 64])
    network_pt.write_bytes(content)
    with pytest.raises(TensorFileError, match="damaged"):
        read_network(network_pt)


class Bomb:
    """Unpickling it would write a file."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return Path.touch, (self.target,)


def test_code_in_the_file_is_refused_and_not_run(tmp_path: Path) -> None:
    path, target = tmp_path / NETWORK_FILE, tmp_path / "harm"
    write_tensors(path, {"weights": Bomb(target)}, kind="weights of a trained network")
    with pytest.raises(TensorFileError, match="damaged"):
        read_network(path)
    assert not target.exists()


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    path = write_tensors(tmp_path / NETWORK_FILE, {"weights": {}}, kind="something else")
    with pytest.raises(TensorFileError, match="holds something else than the weights of a trained network"):
        read_network(path)


def test_without_a_checkpoint_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        write_network(tmp_path / BEST)
    assert list(tmp_path.iterdir()) == []
