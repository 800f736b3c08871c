"""An update in processes of its own: what comes back, how it is stopped, and what is left when somebody dies."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import psutil
import pytest
import torch
from pydantic import ValidationError
from test_training_engine import changed, examples
from tiny import tiny_model, tiny_tokenizer

from funreason.agents.references import usable_references
from funreason.agents.trainer import UpdateRequest
from funreason.agents.updating import Updating
from funreason.config import Config, Launch, Lora, Update
from funreason.data.toolbox import BASE, generate
from funreason.policies.huggingface.sampler import HuggingFaceSampler
from funreason.policies.model_files import load_model, load_tokenizer, save_model, weights_id_of
from funreason.policies.policy import Policy
from funreason.record import events as ev
from funreason.record.folder import RunFolder
from funreason.record.state import State
from funreason.stop import StopRequest
from funreason.training import TrainingError
from funreason.training.job import Job, JobFolder
from funreason.training.launch import launch, update
from funreason.training.parallel import Ranks, require_world_size
from funreason.training.types import OtherTrainingError, WorkersFailed
from funreason.types import Weights

STEPS = 6


class Wish:
    """What a person may wish of a run."""

    def __init__(self, asked: bool = False) -> None:
        self.asked, self.paused = asked, False

    def asked_after_waiting(self) -> bool:
        return self.asked


@pytest.fixture
def folder(tmp_path) -> JobFolder:
    save_model(tiny_model(), tiny_tokenizer(), tmp_path / "start")
    return JobFolder(tmp_path / "work")


def job(folder: JobFolder, processes: int = 2, strategy: str = "ddp", settings: Update | None = None) -> Job:
    here = folder.path.parent
    return Job(
        model=here / "start",
        out=here / "out",
        checkpoints=here / "checkpoints",
        update=(settings or changed(epochs=STEPS // 3)).model_copy(
            update={"launch": Launch(processes=processes, strategy=strategy)}
        ),
        threads=1,
    )


def endless() -> Update:
    return changed(epochs=5000)


def ranks(parent: int | None = None) -> list[psutil.Process]:
    """The processes that train, below `parent` or this one."""
    below = psutil.Process(parent).children(recursive=True)
    return [process for process in below if "-m" in process.cmdline() and "-u" in process.cmdline()]


def until(true: Callable[[], object], seconds: float = 120.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.parametrize(("processes", "strategy"), [(2, "zero3"), (1, "fsdp2")])
@pytest.mark.engine
def test_what_comes_back_is_what_this_process_alone_would_have_made(folder, processes, strategy):
    steps, alone = [], []
    outcome = launch(job(folder, processes, strategy), examples(), folder, on_step=steps.append)
    made = dict(load_model(job(folder).out).named_parameters())
    assert weights_id_of(load_model(job(folder).out)) == outcome.weights_id
    here = job(folder, 1, "none").model_copy(update={"checkpoints": None})
    reference = update(here, examples(), tiny_tokenizer(), folder.path, on_step=alone.append)
    assert [step.step for step in steps] == [step.step for step in alone] == list(range(1, STEPS + 1))
    assert [step.metrics["loss"] for step in steps] == pytest.approx([step.metrics["loss"] for step in alone], abs=1e-5)
    tokens = [[step.groups["origin"]["sampled"]["think_tokens"] for step in made] for made in (steps, alone)]
    assert tokens[0] == tokens[1]
    assert outcome.report.examples == reference.report.examples == 10
    for name, value in load_model(here.out).named_parameters():
        assert torch.allclose(made[name], value, atol=2e-5)


@pytest.mark.engine
def test_a_wish_to_stop_leaves_a_checkpoint_that_the_next_launch_goes_on_from(folder):
    wish, steps = Wish(), []

    def on_step(step):
        steps.append(step)
        wish.asked = len(steps) >= 2

    stopped = launch(job(folder, settings=endless()), examples(), folder, on_step=on_step, stop=wish)
    assert (stopped.report.finished, stopped.weights_id) == (False, "")
    with pytest.raises(OtherTrainingError, match="other examples or settings"):
        launch(job(folder), examples(), folder)
    report = launch(job(folder, settings=endless()), examples(), folder, stop=Wish(asked=True)).report
    assert (report.finished, report.resumed_from) == (False, steps[-1].step)


@pytest.mark.engine
def test_a_paused_update_takes_no_step_until_it_may_go_on(folder):
    wish, steps, quiet = Wish(), [], []

    def watch_a_pause():
        time.sleep(2)
        before = folder.steps.read_bytes()
        time.sleep(1.5)
        quiet.append(folder.steps.read_bytes() == before)
        wish.paused = False

    def on_step(step):
        steps.append(step)
        if len(steps) == 1:
            wish.paused = True
            threading.Thread(target=watch_a_pause).start()
        wish.asked = bool(quiet)

    report = launch(job(folder, settings=endless()), examples(), folder, on_step=on_step, stop=wish).report
    assert quiet == [True]
    assert not report.finished


@pytest.mark.engine
def test_a_process_that_is_killed_fails_the_update_with_the_last_lines_of_each(folder):
    killed = []

    def kill(step):
        if not killed:
            killed.append(ranks()[1])
            killed[0].kill()

    with pytest.raises(WorkersFailed, match=r"2 processes \(ddp\)") as failure:
        launch(job(folder, settings=endless()), examples(), folder, on_step=kill)
    assert set(failure.value.lines) == {"rank-0", "rank-1", "launcher"}
    assert any("Signal 9" in line or "-9" in line for line in failure.value.lines["launcher"])
    assert not ranks()


@pytest.mark.engine
def test_an_error_in_a_process_is_the_error_of_the_update(folder):
    (job(folder).model / "model.safetensors").unlink()
    with pytest.raises(WorkersFailed, match=r"rank [01]: ModelError: .*no \*.safetensors weights here") as failure:
        launch(job(folder), examples(), folder)
    assert any("ModelError" in line for name in ("rank-0", "rank-1") for line in failure.value.lines[name])


@pytest.mark.engine
def test_nobody_trains_on_when_the_one_who_asked_was_killed(folder):
    parent = subprocess.Popen([sys.executable, __file__, str(folder.path)], stderr=subprocess.DEVNULL)
    until(lambda: folder.steps.exists() and folder.steps.stat().st_size)
    below = psutil.Process(parent.pid).children(recursive=True)
    assert len(ranks(parent.pid)) == 2
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    assert not psutil.wait_procs(below, timeout=60)[1]


@pytest.mark.engine
def test_a_launcher_that_starts_fewer_processes_than_asked_for_is_found_out(folder):
    folder.write(job(folder), examples())
    accelerate = [sys.executable, "-m", "accelerate.commands.launch", "--cpu", "--num_processes", "2"]
    done = subprocess.run(
        [*accelerate, "-m", "funreason.training.worker", str(folder.path)],
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert done.returncode != 0
    assert folder.failures()[0].kind == "TrainingError"
    assert "was to run in 2 processes; the launcher says 1, 1 joined and 1 answer" in folder.failures()[0].message
    assert not folder.steps.read_bytes()


def test_a_single_process_is_as_many_as_one_and_no_more():
    alone = Ranks(torch.device("cpu"))
    require_world_size(1, alone, {})
    for wanted, environment in ((2, {}), (1, {"WORLD_SIZE": "2"}), (2, {"WORLD_SIZE": "2"})):
        with pytest.raises(TrainingError, match="Start as many as"):
            require_world_size(wanted, alone, environment)


def test_several_processes_without_a_strategy_are_refused():
    with pytest.raises(ValidationError, match="2 processes need a strategy: ddp, fsdp2, zero2 or zero3"):
        Launch(processes=2)


def test_a_job_is_the_same_when_it_is_read_again(folder):
    asked = job(folder, 4, "zero2", changed(lora=Lora(rank=2, targets=["q_proj"])))
    folder.write(asked, examples())
    assert folder.job() == asked
    assert folder.examples() == examples()


def test_steps_are_read_once_each_and_only_when_their_line_is_whole(folder):
    steps = []
    update(job(folder, 1, "none"), examples(), tiny_tokenizer(), folder.path, on_step=steps.append)
    folder.write(job(folder), examples())
    lines = b"".join(msgspec.json.encode(step) + b"\n" for step in steps)
    found, seen = [], 0
    for end in range(0, len(lines) + 1, 97):
        folder.steps.write_bytes(lines[:end])
        new, seen = folder.reported(seen)
        found += new
    folder.steps.write_bytes(lines)
    assert [*found, *folder.reported(seen)[0]] == steps


@pytest.mark.engine
def test_the_record_tells_of_processes_that_failed(tmp_path):
    events = []
    model = load_model(BASE)
    tokenizer = load_tokenizer(BASE, model)
    sampler = HuggingFaceSampler(model, tokenizer, weights_id="base", max_new_tokens=4)
    config = Config(model={"threads": 1, "device": "cuda"})
    updating = Updating(Policy(sampler, tokenizer), RunFolder(tmp_path), events.append, StopRequest(), config)
    lesson = UpdateRequest(1, usable_references(generate("new_train", 4, 0), 1)[0], [], Weights("base", BASE))
    settings = Update(batch_size=4, launch=Launch(processes=2, strategy="ddp"))
    with pytest.raises(WorkersFailed):
        updating(settings, lesson)
    crashed = events[-1]
    assert isinstance(crashed, ev.UpdateCrashed)
    assert (crashed.round, crashed.processes) == (1, 2)
    assert "this process needs GPU" in crashed.reason
    assert {"rank-0", "rank-1"} <= set(crashed.lines)
    assert State().fold([crashed]).notes[0].text == crashed.reason


if __name__ == "__main__":
    there = JobFolder(Path(sys.argv[1]))
    launch(job(there, settings=endless()), examples(), there)
