"""Which way of computing the LM head is used on a GPU: measured once for a head's sizes, not guessed.

What is fastest depends on card, width, vocabulary and precision. With 152k words on an H200, all logits at once took
half the time of chunks at a width of 3,584 and less memory too, and Liger's kernel as it is called by default six times
as long. Each way computes the same few tokens; its losses and gradients must be those of the naive way. A way that
fails, as where a kernel is missing or memory runs out, is left out and named.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from funreason.training.chunked_cross_entropy import METHODS, Method, token_losses

GIB = 2**30
MEASURED_TOKENS = 2048
"""A few chunks, and 15 to 100 ms a way."""
TIMED_RUNS = 2
ALLOWED_DIFFERENCE = {torch.float32: 2e-3, torch.bfloat16: 3e-2, torch.float16: 1e-2}
"""Between two ways, over the norm of the naive one's: rounding (in float32, TF32's) stays well within it."""
ROOM_SHARE = 0.5
"""Of the memory that is left to activations and head, what the head may take."""
AS_FAST = 1.1
"""Ways within this factor of the fastest count as equally fast; the smallest of them is used."""


class MeasuredHead(NamedTuple):
    """One way's seconds and peak bytes for `tokens` tokens, forward and backward."""

    method: Method
    seconds: float
    peak: float
    tokens: int = MEASURED_TOKENS
    per_token: float = 0.0
    """Bytes of a token's hidden state and its gradient: what more tokens add where logits are held in chunks."""

    def memory(self, tokens: int) -> float:
        """Bytes it takes for so many tokens."""
        if self.method == "naive":
            return self.peak * tokens / self.tokens
        return self.peak + self.per_token * max(0, tokens - self.tokens)


class HeadMeasurements(NamedTuple):
    """The ways that work, and why the others do not."""

    found: list[MeasuredHead]
    failed: dict[Method, str]


_KNOWN: dict[tuple[object, ...], HeadMeasurements] = {}


def choose_head(linear: nn.Linear, chunk: int, *, tokens: int, room: float) -> tuple[Method, str]:
    """The method to use for passes of `tokens` tokens beside which `room` bytes are free, and why, in words."""
    weight = linear.weight
    named = torch.cuda.get_device_name(weight.device) if weight.is_cuda else weight.device.type
    key = (named, *weight.shape, weight.dtype, weight.requires_grad, linear.bias is not None, chunk)
    if key not in _KNOWN:
        _KNOWN[key] = measure_heads(linear, chunk)
    return fastest_that_fits(_KNOWN[key], tokens=tokens, room=room)


def fastest_that_fits(measured: HeadMeasurements, *, tokens: int, room: float) -> tuple[Method, str]:
    """The choice among what was measured: by time among those that fit, by memory among those as fast."""
    ways = measured.found
    missing = "".join(f"; {method} is left out: {why}" for method, why in measured.failed.items())
    if not ways:
        return "chunked", f"none could be measured{missing}"
    fitting = [way for way in ways if way.memory(tokens) <= ROOM_SHARE * room]
    if fitting:
        fastest = min(way.seconds for way in fitting)
        best = min((way for way in fitting if way.seconds <= AS_FAST * fastest), key=lambda way: way.memory(tokens))
        reason = "the fastest that fits"
    else:
        best, reason = min(ways, key=lambda way: way.memory(tokens)), "the smallest, because memory is short"
    numbers = ", ".join(f"{way.method} {way.seconds * 1e3:.1f} ms, {way.peak / GIB:.2f} GiB" for way in ways)
    return best.method, f"{reason}; of {ways[0].tokens:,} tokens measured: {numbers}{missing}"


def measure_heads(linear: nn.Linear, chunk: int, *, tokens: int = MEASURED_TOKENS) -> HeadMeasurements:
    """Time and memory of each way over `linear`. Leaves the head's gradient and torch's random state alone."""
    weight = linear.weight
    generator = torch.Generator(weight.device).manual_seed(0)
    size, device = (tokens, weight.shape[1]), weight.device
    hidden = torch.randn(size, generator=generator, dtype=torch.float32, device=device).to(weight.dtype)
    targets = torch.randint(weight.shape[0], (tokens,), generator=generator, device=device)
    # Uneven, as the objective's are: a way that averages them shows.
    weights = torch.rand((tokens,), generator=generator, device=device) / tokens

    def once(method: Method) -> list[Tensor]:
        states, head = hidden.clone().requires_grad_(), weight.detach().requires_grad_(weight.requires_grad)
        bias = None if linear.bias is None else linear.bias.detach().requires_grad_(linear.bias.requires_grad)
        losses = token_losses(states, head, targets, bias=bias, weights=weights, method=method, chunk=chunk)
        (losses * weights).sum().backward()  # type: ignore[no-untyped-call]
        gradients = [leaf.grad for leaf in (states, head, bias) if leaf is not None and leaf.grad is not None]
        return [losses.detach(), *gradients]

    measured = HeadMeasurements([], {})
    wanted: list[Tensor] = []
    with torch.enable_grad():
        for method, missing in METHODS.items():
            if why := missing():
                measured.failed[method] = why
                continue
            try:
                off = max(map(_difference, once(method), wanted), default=0.0)
                if off > ALLOWED_DIFFERENCE.get(weight.dtype, 1e-5):
                    measured.failed[method] = f"it differs by {off:.1%} from the naive way"
                    continue
                seconds, peak = _timed(lambda method=method: once(method), weight.device)  # type: ignore[misc]
                measured.found.append(
                    MeasuredHead(method, seconds, peak, tokens, 2.0 * weight.shape[1] * weight.element_size())
                )
                wanted = wanted or once(method)
            except Exception as error:  # a kernel's own errors have no common class, and none may stop a training
                measured.failed[method] = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0][:120]}"
            finally:
                if weight.is_cuda:
                    torch.cuda.empty_cache()
    return measured


def _difference(found: Tensor, wanted: Tensor) -> float:
    # Summed in float32 without a copy in it: the head's gradient can be gigabytes.
    off, norm = (float(torch.linalg.vector_norm(each, dtype=torch.float32)) for each in (found - wanted, wanted))
    off /= max(norm, 1e-30)
    return off if math.isfinite(off) else math.inf


def _timed(work: Callable[[], object], device: torch.device) -> tuple[float, float]:
    """Seconds of the fastest run, and peak bytes above what was allocated before (0 on a CPU, which counts none)."""
    on_gpu = device.type == "cuda"
    before = 0
    if on_gpu:
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
    times = []
    for _ in range(TIMED_RUNS):
        started = time.perf_counter()
        work()
        if on_gpu:
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - started)
    return min(times), float(torch.cuda.max_memory_allocated(device) - before) if on_gpu else 0.0
