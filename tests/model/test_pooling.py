"""Both forms of pooling and unpooling are one pair of functions, bit for bit."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from model.pooling import MaxPool2x2, MaxUnpool2x2, set_export_form


class PoolAndUnpool(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.pool, self.unpool = MaxPool2x2(), MaxUnpool2x2()

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        values, positions = self.pool(x)
        return values, self.unpool(values * 2, positions)


def in_both_forms(x: Tensor) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Values, unpooled and gradient, natively and in the form for export."""
    found = []
    for enabled in (False, True):
        pair = PoolAndUnpool()
        set_export_form(pair, enabled)
        leaf = x.clone().requires_grad_()
        values, unpooled = pair(leaf)
        weights = torch.arange(unpooled.numel(), dtype=x.dtype).reshape(unpooled.shape) % 7
        ((unpooled * weights).sum() + values.sum()).backward()
        assert leaf.grad is not None
        found.append((values.detach(), unpooled.detach(), leaf.grad))
    return found


@pytest.mark.parametrize("enabled", [pytest.param(False, id="native"), pytest.param(True, id="export")])
def test_a_value_goes_back_to_where_it_stood_and_the_first_of_equals_wins(enabled: bool) -> None:
    pair = PoolAndUnpool()
    set_export_form(pair, enabled)
    x = torch.tensor([[1.0, 2, 5, 5], [4, 3, 5, 1], [0, 0, -1, -2], [0, 0, -2, -1]])
    values, unpooled = pair(x[None, None])
    assert values[0, 0].tolist() == [[4, 5], [0, -1]]
    assert unpooled[0, 0].tolist() == [[0, 0, 10, 0], [8, 0, 0, 0], [0, 0, -2, 0], [0, 0, 0, 0]]


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    levels=st.sampled_from([2, 3, 1000]),
    half_hw=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    dtype=st.sampled_from([torch.float32, torch.bfloat16]),
    channels_last=st.booleans(),
)
def test_both_forms_agree_bit_for_bit_in_values_and_gradients(
    seed: int, levels: int, half_hw: tuple[int, int], dtype: torch.dtype, channels_last: bool
) -> None:
    """Few levels make ties in almost every window."""
    generator = torch.Generator().manual_seed(seed)
    shape = (2, 5, 2 * half_hw[0], 2 * half_hw[1])
    x = (torch.randint(-levels, levels, shape, generator=generator) / 4).to(dtype)
    if channels_last:
        x = x.contiguous(memory_format=torch.channels_last)
    native, export = in_both_forms(x)
    for one, other in zip(native, export, strict=True):
        assert one.dtype == other.dtype
        assert torch.equal(one, other)


@pytest.mark.parametrize("enabled", [pytest.param(False, id="native"), pytest.param(True, id="export")])
def test_autocast_keeps_bfloat16_and_the_memory_order(enabled: bool) -> None:
    """A silent float32 here costs a third of the forward pass."""
    pair = PoolAndUnpool()
    set_export_form(pair, enabled)
    x = torch.randn(2, 8, 6, 4, dtype=torch.bfloat16).contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        values, unpooled = pair(x)
    assert values.dtype == unpooled.dtype == torch.bfloat16
    assert unpooled.is_contiguous(memory_format=torch.channels_last)


def test_switching_reaches_nested_modules_and_comes_back() -> None:
    nest = nn.Sequential(nn.Sequential(PoolAndUnpool()), MaxPool2x2())
    poolings = [part for part in nest.modules() if isinstance(part, MaxPool2x2 | MaxUnpool2x2)]
    set_export_form(nest, True)
    assert [part.export_form for part in poolings] == [True] * 3
    set_export_form(nest, False)
    assert [part.export_form for part in poolings] == [False] * 3
