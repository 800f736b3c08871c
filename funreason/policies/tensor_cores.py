"""TF32 for matrix products in float32 on a GPU: off by default in torch, and a fraction of the card's speed.

Products read 10 bits of each mantissa and add up in float32: three significant digits, where bfloat16 has two.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def uses_tf32(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether `tensor_cores` changes anything: float32 on a GPU that has TF32 (Ampere and later)."""
    import torch

    if device.type != "cuda" or dtype != torch.float32:
        return False
    return not torch.cuda.is_available() or torch.cuda.get_device_capability(device)[0] >= 8


@contextmanager
def tensor_cores(device: torch.device, dtype: torch.dtype) -> Iterator[None]:
    """Inside the block float32 products on a GPU may use TF32; after it the process has its own setting again."""
    import torch

    before = torch.get_float32_matmul_precision()
    if uses_tf32(device, dtype):
        torch.set_float32_matmul_precision("high")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
