"""What a machine cannot do is said before the data are read."""

import pytest
import torch

from training.config import ComputeSettings, ConfigError
from training.device import build_accelerator

pytestmark = pytest.mark.usefixtures("fresh_torch")


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        pytest.param({"device": "cuda"}, "compute.device is cuda, but torch sees no GPU", id="no GPU"),
        pytest.param(
            {"precision": "fp16"}, "compute.precision is fp16, which needs a GPU", id="fp16 on a CPU"
        ),
    ],
)
def test_what_is_not_there_is_refused(settings: dict[str, str], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        build_accelerator(ComputeSettings.model_validate(settings), accumulate=1)


@pytest.mark.parametrize(
    ("precision", "capabilities", "expected"),
    [
        pytest.param("auto", {"amx_bf16": True}, "bf16", id="auto, fast bf16"),
        pytest.param("auto", {"avx512_bf16": True}, "bf16", id="auto, vector bf16"),
        pytest.param("auto", {"avx2": True}, "no", id="auto, bf16 would be emulated"),
        pytest.param("fp32", {"amx_bf16": True}, "no", id="fp32 wished"),
        pytest.param("bf16", {}, "bf16", id="bf16 wished"),
    ],
)
def test_the_precision_is_the_one_wished_or_the_fast_one(
    monkeypatch: pytest.MonkeyPatch,
    precision: str,
    capabilities: dict[str, bool],
    expected: str,
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    settings = ComputeSettings.model_validate({"precision": precision, "threads": 1})
    accelerator = build_accelerator(settings, accumulate=3)
    assert accelerator.mixed_precision == expected
    assert accelerator.device.type == "cpu"
    assert accelerator.gradient_accumulation_steps == 3
    assert torch.get_num_threads() == 1
