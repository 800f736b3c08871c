"""Servers that mean harm: what they send is bounded in bytes and seconds, and costs the one case that it answers."""

import asyncio
import gzip
import itertools
import json
import time
import tracemalloc
import zlib

import pytest

from funreason.bfcl import Case
from funreason.config.models import Address
from funreason.evaluation.answers import answer_cases
from funreason.policies.endpoint import server as server_module
from funreason.policies.endpoint.pool import EndpointPool, RetryPolicy
from funreason.policies.endpoint.sampler import EndpointSampler
from funreason.policies.protocol import ChatError
from tests.serving import Said, ScriptedServer, completion

QUICK = RetryPolicy(tries=3, first_wait_s=0.01, longest_wait_s=0.02, first_cooldown_s=0.02)
CALL = "[forecast(city='Oslo')]"
GOOD = json.dumps(completion(CALL)).encode()
LIMIT = 200_000


@pytest.fixture(autouse=True)
def small_bodies(monkeypatch):
    """So that no test sends 32 MB."""
    monkeypatch.setattr(server_module, "MOST_BYTES", LIMIT)


def head(*lines, length=None):
    lengths = [] if length is None else [f"Content-Length: {length}"]
    return "\r\n".join(["HTTP/1.1 200 OK", "Content-Type: application/json", *lengths, *lines, "", ""]).encode()


def chunk(body):
    return f"{len(body):x}\r\n".encode() + body + b"\r\n"


def packed(body, kind="gzip", length=None):
    sent = gzip.compress(body, mtime=0) if kind == "gzip" else zlib.compress(body)
    return Said(b"", raw=lambda: [head(f"Content-Encoding: {kind}", length=length or len(sent)), sent])


def endless(*parts):
    return lambda: itertools.chain([head("Transfer-Encoding: chunked")], itertools.cycle(parts))


HARM = {
    "a gzip bomb": packed(b" " * (50 * LIMIT)),
    "a deflate bomb": packed(b" " * (50 * LIMIT), "deflate"),
    "a bomb in a bomb": Said(
        b"", raw=lambda: [head("Content-Encoding: gzip, gzip", length=50), gzip.compress(b" " * 50)[:50]]
    ),
    "an encoding nobody asked for": Said(GOOD, headers={"Content-Encoding": "br"}),
    "no gzip at all": Said(GOOD, headers={"Content-Encoding": "gzip"}),
    "an endless body": Said(b"", raw=endless(chunk(b" " * 10_000))),
    "an endless body of nothing packed": Said(
        b"",
        raw=lambda: itertools.chain(
            [head("Content-Encoding: gzip", "Transfer-Encoding: chunked")],
            itertools.cycle([chunk(gzip.compress(b"") * 400)]),
        ),
    ),
    "a body longer than may be": Said(b" " * (LIMIT + 1)),
    "endless headers": Said(
        b"", raw=lambda: itertools.chain([b"HTTP/1.1 200 OK\r\n"], (b"X-%d: y\r\n" % i for i in itertools.count()))
    ),
    "a header without an end": Said(
        b"", raw=lambda: itertools.chain([b"HTTP/1.1 200 OK\r\nX: "], itertools.repeat(b"y" * 1000))
    ),
    "endless promises of an answer": Said(
        b"", raw=lambda: itertools.repeat(b"HTTP/1.1 102 Processing\r\n\r\n"), trickle_s=0.001
    ),
    "a chunk of a negative length": Said(b"", raw=lambda: [head("Transfer-Encoding: chunked"), b"-5\r\nhello\r\n"]),
    "a chunk of a length without end": Said(
        b"", raw=lambda: [head("Transfer-Encoding: chunked"), b"f" * 400 + b"\r\n"]
    ),
    "a length that is no number": Said(b"", raw=lambda: [head(length="many"), GOOD]),
    "a length below nothing": Said(b"", raw=lambda: [head(length=-1), GOOD]),
    "a length that is too large": Said(b"", raw=lambda: [head(length=len(GOOD) + 10), GOOD]),
    "two lengths": Said(b"", raw=lambda: [head("Content-Length: 3", length=len(GOOD)), GOOD]),
    "no HTTP": Said(b"", raw=lambda: [b"SSH-2.0-OpenSSH_9.6\r\n"]),
    "a body that drips": Said(
        b"", raw=lambda: itertools.chain([head(length=1000)], itertools.repeat(b" ")), trickle_s=0.05
    ),
    "a head that drips": Said(b"", raw=lambda: (bytes([byte]) for byte in head(length=9) * 9), trickle_s=0.05),
    "a redirect": Said(b"", status=307, headers={"Location": "http://localhost:9/v1/completions"}),
    "brackets without end": Said(b"[" * (LIMIT - 1)),
    "an integer without end": Said(
        b'{"choices": [{"text": "a", "index": ' + b"9" * 100_000 + b'}], "usage": {"prompt_tokens": 1e999}}'
    ),
}
READ = {"an integer without end", "two lengths"}
"""What may be read as an answer as well."""


def case(number):
    function = {"name": "forecast", "description": "", "parameters": {"type": "dict", "properties": {}, "required": []}}
    question = [[{"role": "user", "content": f"case {number}"}]]
    return Case(f"simple_python_{number}", "simple_python", question, [function], [])


def evaluated(server, tmp_path, concurrency):
    pool = EndpointPool([Address(server.url, concurrency=concurrency, timeout_s=0.6)], retry_policy=QUICK)
    sampler = EndpointSampler(pool, max_new_tokens=16)
    sampler.connect()
    cases = [case(number) for number in range(4)]
    return answer_cases(sampler, lambda case: case.question[0][0]["content"], cases, tmp_path / "outputs.jsonl")


@pytest.mark.parametrize("harm", HARM)
def test_it_costs_the_one_case_and_little_memory_and_time(tmp_path, harm):
    def script(heard):
        return HARM[harm] if "case 2" in str(heard.body) else completion(CALL)

    tracemalloc.start()
    began = time.monotonic()
    with ScriptedServer(script) as server:
        answers = evaluated(server, tmp_path, concurrency=1)
    assert time.monotonic() - began < 20
    assert tracemalloc.get_traced_memory()[1] < 40 * LIMIT
    tracemalloc.stop()
    faulty = answers.pop("simple_python_2")
    assert {answer.output for answer in answers.values()} == {CALL}
    if harm not in READ:
        assert faulty.fault.startswith(server.url), faulty


@pytest.mark.parametrize("kind", ["gzip", "deflate"])
def test_a_packed_answer_of_an_honest_server_is_read(tmp_path, kind):
    with ScriptedServer(lambda heard: packed(GOOD, kind)) as server:
        assert {answer.output for answer in evaluated(server, tmp_path, concurrency=4).values()} == {CALL}
    assert {heard.headers["accept-encoding"] for heard in server.heard} == {"gzip, deflate"}


def test_a_key_never_follows_a_redirect(monkeypatch):
    monkeypatch.setenv("THE_KEY", "sk-secret-of-mine")

    async def ask(url):
        async with EndpointPool([Address(url, "m", key_env="THE_KEY")], retry_policy=QUICK) as pool:
            return await pool.post("/completions", {"prompt": "p"})

    with ScriptedServer() as thief:
        away = Said(b"", status=308, headers={"Location": f"{thief.url}/completions"})
        with ScriptedServer(lambda heard: away) as server, pytest.raises(ChatError, match="Redirects are not followed"):
            asyncio.run(ask(server.url))
    assert server.heard
    assert thief.connections == 0
