"""Where a run computes and how precisely: one accelerate.Accelerator for CPU, GPU and several processes."""

import torch
from accelerate import Accelerator

from training.config import ComputeSettings, ConfigError


def build_accelerator(settings: ComputeSettings, *, accumulate: int) -> Accelerator:
    """The accelerator that `settings` asks for; under `accelerate launch` or torchrun it is one of several.

    Raises:
        ConfigError: a GPU or a precision is asked for that this machine does not have.
    """
    has_gpu = torch.cuda.is_available()
    if settings.device == "cuda" and not has_gpu:
        raise ConfigError(
            "compute.device is cuda, but torch sees no GPU here; check the driver with nvidia-smi, or say cpu"
        )
    on_cpu = settings.device == "cpu" or not has_gpu
    if settings.threads:
        torch.set_num_threads(settings.threads)
    # Denormals cost a hundred times a normal number on a CPU, and mean nothing here.
    torch.set_flush_denormal(True)
    return Accelerator(
        cpu=on_cpu,
        mixed_precision=_mixed_precision(settings, on_cpu=on_cpu),
        gradient_accumulation_steps=accumulate,
    )


def _mixed_precision(settings: ComputeSettings, *, on_cpu: bool) -> str:
    """accelerate's name for the precision: "no" is fp32."""
    wanted = settings.precision
    if wanted == "auto":
        fast = _cpu_has_bf16() if on_cpu else torch.cuda.is_bf16_supported()
        wanted = "bf16" if fast else "fp32"
    if wanted == "fp16" and on_cpu:
        raise ConfigError("compute.precision is fp16, which needs a GPU; on a CPU say bf16 or fp32")
    return "no" if wanted == "fp32" else wanted


def _cpu_has_bf16() -> bool:
    """Whether bf16 is computed, not emulated; emulated it is slower than fp32."""
    can = torch.cpu.get_capabilities()
    return bool(can.get("avx512_bf16") or can.get("amx_bf16"))
