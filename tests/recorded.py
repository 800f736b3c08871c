"""Small recorded runs for the dashboard's tests, written through the real log, texts and run folder."""

import json
from itertools import pairwise
from pathlib import Path

import msgspec

from funreason.record import events as ev
from funreason.record.folder import RunFolder
from funreason.record.log import EventLog
from funreason.types import Call, Sample, Task, Verdict, changed

NODES = ["generator", "response", "query_tool", "cot", "parameters", "format", "regenerator", "trainer", "dead_letter"]
JUDGES = NODES[1:6]
EDGES = [("generator", "sampled", "response"), *((a, "pass", b) for a, b in pairwise(JUDGES))]
EDGES += [("format", "pass", "trainer"), *((judge, "drop", "dead_letter") for judge in JUDGES)]
EDGES += [("parameters", "regenerate", "regenerator"), ("regenerator", "rewritten", "cot")]
START = 1_750_000_000.0
HOSTILE = "\x1b[31mred\x1b]52;c;aGk=\x07 [bold]not bold[/bold] <script>alert(1)</script> \u202eevil"


class Recording:
    """A run written by hand: each call is an event a tenth of a second after the one before."""

    def __init__(self, path: Path, rounds: int = 3, **started) -> None:
        path.mkdir(parents=True)
        self.folder = RunFolder(path)
        self.log = EventLog(self.folder.events)
        self.at = START
        self(ev.RunStarted(run=path.name, rounds=rounds, nodes=NODES, base_weights="base0", edges=EDGES, **started))

    def __call__(self, event: ev.Event) -> None:
        self.at += 0.1
        self.log.append(msgspec.structs.replace(event, at=self.at))

    def sample(self, k: int, i: int, fails_at: str = "", reason: str = "schema.enum", fate: str = "dropped") -> None:
        name = f"r{k}/task_{i // 2}/{i % 2}"
        self(ev.Judged(round=k, sample=name, attempt=0, node="generator", outcome="sampled", us=12_000))
        for judge in JUDGES:
            failed = judge == fails_at
            word = "drop" if failed else "pass"
            reason_here = reason if failed else ""
            self(ev.Judged(round=k, sample=name, attempt=0, node=judge, outcome=word, reason=reason_here, us=30))
            if failed:
                self(ev.SampleEnded(round=k, sample=name, attempt=0, fate=fate, node=judge, reason=reason))
                return
        self(ev.SampleEnded(round=k, sample=name, attempt=0, fate="kept", origin="sampled", category="simple"))

    def sampling(self, k: int, count: int = 12, every_fails: int = 3) -> None:
        self(ev.PhaseStarted(round=k, phase="sample", todo=count))
        for i in range(count):
            self.sample(k, i, JUDGES[i % 5] if i % every_fails == 0 else "")

    def training(self, k: int, steps: int = 8, **more: float) -> None:
        self(ev.PhaseStarted(round=k, phase="train"))
        for i in range(1, steps + 1):
            think, result = 1.4 / (i + k), 0.7 / (i + k)
            metrics = {"loss": think, "loss_think": think, "loss_result": result, "alpha": 0.7, "lr": 3e-4}
            metrics |= {"tokens_per_s": 2500, "think_tokens": 90, "result_tokens": 30, **more}
            self(ev.OptimizerStep(round=k, step=i, steps=8, metrics=metrics))

    def gating(self, k: int, decision: str = "promote") -> None:
        score = ev.Score(total=40, old=10 + k, new=14 + k, gained=5, lost=1, p=0.22, low=0.21, high=0.49)
        by = {"simple": score, "irrelevance": score}
        self(
            ev.GateDecided(
                round=k,
                decision=decision,
                reason="+10.0 points, p 0.220",
                old_weights=f"w{k - 1}",
                new_weights=f"w{k}",
                overall=score,
                by_category=by,
                by_slice={"new": score},
            )
        )

    def round(self, k: int, **sampling) -> None:
        self.sampling(k, **sampling)
        self(ev.PhaseEnded(round=k, phase="sample", seconds=6.0))
        self.training(k)
        self(ev.PhaseEnded(round=k, phase="train", seconds=2.0))
        self.gating(k)
        self(ev.RoundEnded(round=k, weights=f"w{k}"))

    def life(self, status: str, **fields) -> RunFolder:
        """Say in run.json how the run is."""
        told = {"pid": 1, "host": "elsewhere", "started_at": START, "heartbeat": self.at, "status": status}
        (self.folder.path / "run.json").write_text(json.dumps(told | fields))
        return self.folder

    def end(self, status: str = "finished") -> RunFolder:
        self(ev.RunEnded(status=status))
        self.log.close()
        return self.life(status)


def finished(path: Path, rounds: int = 2, **sampling) -> RunFolder:
    """A run that played its rounds to the end."""
    run = Recording(path, rounds)
    for k in range(1, rounds + 1):
        run.round(k, **sampling)
    folder = run.end()
    write_story(folder, rounds)
    return folder


def write_story(folder: RunFolder, k: int, text: str = HOSTILE) -> str:
    """The texts of one sample that was regenerated once; its id."""
    tools = [{"name": "look", "description": "look it up", "parameters": {"properties": {"what": {}}}}]
    task = Task.of(id="task_0", query=f"look at {text}", tools=tools, reference=[Call("look", {"what": "sun"})])
    sample = Sample.of(id=f"r{k}/task_0/0", task=task, answer="[look(what='moon')]", thinking=text, round=k)
    verdicts = (
        Verdict("cot", "pass"),
        Verdict("parameters", "regenerate", "schema.enum", text),
        Verdict("cot", "pass"),
    )
    texts = folder.texts(k)
    texts.append("sampled", sample)
    fields = {"thinking": "sun, then", "answer": "[look(what='sun')]", "attempt": 1, "verdicts": verdicts}
    texts.append("dropped", changed(sample, origin="repaired", **fields))
    texts.close()
    return sample.id
