"""The experiments, with the numbers of the papers they repeat, and the scales at which they can be played.

Papers: FunReason, arXiv 2505.20192 (v1 to v3; v3 is BalanceSFT with SSB and HDR); EGPO, arXiv 2508.05118 v4. A number
that we do not have is missing here, never guessed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from funreason.experiments.experiment import (
    Arm,
    ArmDifference,
    ArmPoint,
    Experiment,
    Row,
    Scale,
    TableColumn,
    WrittenFile,
)

KEEP_ALL: Mapping[str, Any] = {
    "gate.min_gain": -101,
    "gate.promote_p": 1,
    "gate.p_value": 0,
    "gate.max_category_loss": 100,
    "gate.max_guard_loss": 100,
}
"""A gate that accepts every update, so that no table is flattered by what a gate refused."""
NO_ROUNDS: Mapping[str, Any] = {
    "rounds": 1,
    "tasks.per_round": 1,
    "train.data": "references",
    "train.exact_counts": [{}],
    "train.update.replay": None,
    "train.max_category_share": {},
    "fcdr.regenerate": [],
}
"""One round that samples nothing and trains on nothing: a configuration cannot have zero rounds."""
CONTROL: Mapping[str, Any] = {"train.max_category_share": {}, "train.max_per_task": 99, "fcdr.regenerate": []}
"""What an arm with counts of another arm needs, so that it reaches them."""
STRIPPED = {
    name: {"start.references.path": WrittenFile("references_without_thinking")} for name in ("toolbox", "smollm2")
}
"""At scales whose references bring thinking, an arm without it gets them without."""
PROPORTIONAL, LEARNABLE = {"alpha_mode": "proportional"}, {"alpha_mode": "learnable"}
ALPHAS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
BFCL_COLUMNS = (
    TableColumn("non-live", "bfcl", "non-live"),
    TableColumn("live", "bfcl", "live"),
    TableColumn("overall", "bfcl", "overall"),
)

SCALES = {
    scale.name: scale
    for scale in (
        Scale(
            "toolbox",
            "the embedded model of 0.95 M parameters on a CPU: 300 references and 150 replayed, 300 tasks a round; 300 "
            "items over unseen tools and 100 over familiar ones, which the default's gate never asks",
            ("default",),
            {
                "model.threads": 1,
                "start.references.count": 300,
                "start.update.replay.count": 150,
                "tasks.per_round": 300,
                "train.update.replay.count": 100,
                "gate.suites": {
                    "new": {"path": "toolbox:new_gate", "count": 300, "seed": 2},
                    "old": {"path": "toolbox:old_gate", "count": 100, "seed": 2, "role": "report"},
                    "old_text": {"kind": "text", "path": "", "role": "report"},
                },
                "gate.suites.old_text.path": WrittenFile("familiar_dialogues"),
            },
            (
                TableColumn("calls", "new", "calls"),
                TableColumn("refusals", "new", "refusals"),
                TableColumn("balanced", "new", "balanced"),
                TableColumn("old tools", "old", "calls"),
                TableColumn("old text, bits per byte", "old_text", "text"),
            ),
        ),
        Scale(
            "smollm2",
            "SmolLM2-135M-Instruct on one GPU, composed tasks; 600 cases of BFCL v4 beside the gate",
            ("smollm2",),
            {
                "tasks.per_round": 400,
                "start.references.count": 4000,
                "gate.suites.composed.count": 400,
                "gate.suites.bfcl": {"path": "bfcl-v4", "count": 600, "role": "report"},
            },
            (
                TableColumn("calls", "composed", "calls"),
                TableColumn("refusals", "composed", "refusals"),
                TableColumn("balanced", "composed", "balanced"),
                *BFCL_COLUMNS,
            ),
            gpu="h200",
        ),
        Scale(
            "paper",
            "the papers' bases with all weights on eight GPUs: the whole of BFCL v4 beside the gate",
            ("qwen2.5-coder-7b", "llama-3.2-3b"),
            {"gate.suites.bfcl": {"path": "bfcl-v4", "role": "report"}},
            (TableColumn("calls", "held_out", "calls"), *BFCL_COLUMNS),
            gpu="a100-80",
        ),
    )
}


def start(name: str, **update: Any) -> Arm:
    """An arm that is supervised training alone, with changes of `start.update`."""
    return Arm(name, {**NO_ROUNDS, **{f"start.update.{key}": value for key, value in update.items()}})


def rounds(name: str, begins: str, changes: Mapping[str, Any], counts_of: str = "") -> Arm:
    """An arm of two rounds from the weights of another arm."""
    return Arm(name, {"rounds": 2, **changes}, starts_from=begins, counts_of=counts_of)


def versus(one: str, other: str, at: str = "last", against: str = "last") -> ArmDifference:
    """The difference between two arms, or between two moments."""
    a, b = ArmPoint(one, at), ArmPoint(other, against)
    return ArmDifference(f"{a} − {b}", (a,), (b,))


SRML_START, SFT_START = "SRML", "SFT"
TWO_STARTS = (start(SRML_START, alpha=0.5), start(SFT_START, **PROPORTIONAL))
SRML_ROUNDS = rounds("SRML, rounds", SRML_START, {})
SFT_ROUNDS = rounds("SFT, rounds", SFT_START, {"train.update.alpha_mode": "proportional"})

TABLE2 = Experiment(
    "table2",
    "Table 2: natural against templated thinking",
    "Does a model learn more from thinking in its own words than from a rationale that a rule fills in?",
    "FunReason, Table 2; its numbers are not in our notes",
    (
        Arm(
            "natural",
            {**NO_ROUNDS, "start.update.alpha": 0.5},
            at_scale={"paper": {"start.thinking": "model"}},
        ),
        Arm(
            "template",
            {**NO_ROUNDS, "start.update.alpha": 0.5, "start.thinking": "template"},
            at_scale=STRIPPED,
        ),
        Arm(
            "none",
            {**NO_ROUNDS, "start.update.alpha": 0.5, "start.thinking": "none"},
            at_scale=STRIPPED,
        ),
    ),
    (
        Row("before training", ArmPoint("natural", "base")),
        Row("no thinking", ArmPoint("none", "start")),
        Row("template", ArmPoint("template", "start")),
        Row("natural", ArmPoint("natural", "start")),
    ),
    (
        versus("natural", "template"),
        versus("natural", "none"),
        versus("template", "none"),
    ),
    note="Natural is the thinking that the tasks come with. The toolbox writes it by a pattern, and its base model was "
    "pre-trained on that pattern, so at this scale the arm `natural` is favoured. Records without thinking (scale "
    "`paper`) need a teacher: name its server with `--set start.teacher.endpoints=[{url: …}]`.",
)
TABLE3 = Experiment(
    "table3",
    "Table 3: raw against refined data",
    "Of the same model's own samples, does training on what five stages of judges let pass beat training on any?",
    "FunReason, Table 3: overall, raw thinking → refined by FCDR",
    (
        TWO_STARTS[0],
        SRML_ROUNDS,
        Arm(
            "raw",
            {"rounds": 1, "train.data": "unfiltered", **CONTROL},
            starts_from=SRML_START,
            counts_of=SRML_ROUNDS.name,
        ),
    ),
    (
        Row("where both begin", ArmPoint(SRML_START, "start")),
        Row(
            "raw: first attempts, unjudged",
            ArmPoint("raw", "round 1"),
            "79.50 (Llama-3.1-8B), 67.38 (Llama-3.2-3B), 78.70 (Qwen2.5-Coder-7B)",
        ),
        Row("refined: judged and repaired", ArmPoint(SRML_ROUNDS.name, "round 1"), "81.46, 72.97, 81.94"),
    ),
    (
        versus(SRML_ROUNDS.name, "raw", "round 1", "round 1"),
        versus(SRML_ROUNDS.name, SRML_START, "round 1", "start"),
        versus("raw", SRML_START, "round 1", "start"),
    ),
    note="The paper refines a data set that another model answered; here the model's own samples of one round are the "
    "data, and `raw` has as many of each category as `refined`.",
)
TABLE4 = Experiment(
    "table4",
    "Table 4: SFT against SRML, and rounds",
    "What does the two-part loss add to plain supervised training, and what do rounds on own samples add to both?",
    "FunReason, Table 4: Qwen2.5-Coder-7B-Instruct, non-live / live / overall; overall of Llama-3.2-3B",
    (*TWO_STARTS, SRML_ROUNDS, SFT_ROUNDS),
    (
        Row("before training", ArmPoint(SRML_START, "base"), "84.08 / 69.78 / 76.93; 68.18"),
        Row("SFT", ArmPoint(SFT_START, "start"), "86.27 / 77.60 / 81.94; 72.97"),
        Row("SRML", ArmPoint(SRML_START, "start")),
        Row("SFT, two rounds", ArmPoint(SFT_ROUNDS.name)),
        Row("SRML, one round", ArmPoint(SRML_ROUNDS.name, "round 1")),
        Row("SRML, two rounds", ArmPoint(SRML_ROUNDS.name), "87.00 / 80.31 / 83.66; 74.63 (FunReason)"),
    ),
    (
        versus(SRML_START, SFT_START),
        versus(SRML_ROUNDS.name, SFT_ROUNDS.name),
        versus(SRML_ROUNDS.name, SRML_START),
        versus(SFT_ROUNDS.name, SFT_START),
        versus(SRML_ROUNDS.name, SFT_START),
    ),
)
TABLE5 = Experiment(
    "table5",
    "Table 5: forgetting under SFT and SRML",
    "What does training on the new tools cost of what the model could do before?",
    "FunReason, Table 5: HumanEval / + / MBPP / + of Qwen2.5-Coder-7B-Instruct",
    (*TWO_STARTS, SRML_ROUNDS, SFT_ROUNDS),
    (
        Row("before training", ArmPoint(SRML_START, "base"), ".866 / .823 / .812 / .693"),
        Row("SFT", ArmPoint(SFT_START, "start"), ".470 / .445 / .690 / .593"),
        Row("SRML", ArmPoint(SRML_START, "start")),
        Row("SFT, two rounds", ArmPoint(SFT_ROUNDS.name)),
        Row("SRML, two rounds", ArmPoint(SRML_ROUNDS.name), ".841 / .787 / .794 / .653 (FunReason)"),
    ),
    (
        versus(SFT_START, SFT_START, against="base"),
        versus(SRML_START, SRML_START, against="base"),
        versus(SRML_START, SFT_START),
        versus(SRML_ROUNDS.name, SFT_ROUNDS.name),
        versus(SRML_ROUNDS.name, SRML_START),
    ),
    note="At the scale `toolbox` the columns to read are `old tools` and `old text`, the likelihood of dialogues over "
    "familiar tools. At other scales name suites of text and programs: `--set "
    "'gate.suites.text={kind: text, path: held-out.jsonl}'`.",
)
FIGURE4 = Experiment(
    "figure4",
    "Figure 4: alpha, the weight of thinking in the loss",
    "Is there an inner optimum of alpha, and is it better than the proportional point, which is plain SFT?",
    "FunReason, Figure 4: the optimum lies inside, at about 0.5 to 0.7; the proportional point of its data is 0.919",
    (
        # Every second one first, so that a part of the curve already spans it.
        *(start(f"alpha {alpha}", alpha=alpha) for alpha in ALPHAS[::2]),
        start("proportional", **PROPORTIONAL),
        *(start(f"alpha {alpha}", alpha=alpha) for alpha in ALPHAS[1::2]),
    ),
    (
        *(Row(f"alpha {alpha}", ArmPoint(f"alpha {alpha}", "start")) for alpha in ALPHAS),
        Row("proportional (plain SFT)", ArmPoint("proportional", "start")),
    ),
    (
        ArmDifference(
            "inner (0.3, 0.5, 0.7) − ends (0.1, 0.9)",
            tuple(ArmPoint(f"alpha {alpha}") for alpha in (0.3, 0.5, 0.7)),
            (ArmPoint("alpha 0.1"), ArmPoint("alpha 0.9")),
        ),
        ArmDifference(
            "inner (0.3, 0.5, 0.7) − proportional",
            tuple(ArmPoint(f"alpha {alpha}") for alpha in (0.3, 0.5, 0.7)),
            (ArmPoint("proportional"),),
        ),
        versus("alpha 0.5", "alpha 0.9"),
        *(versus(f"alpha {alpha}", "proportional") for alpha in ALPHAS),
    ),
    note="Supervised training alone, no rounds. The first two differences were chosen before anything was played. "
    "Where thinking is a smaller share of the tokens than in the paper's data, alpha 0.9 is what its plain SFT was.",
    picture="curve",
)
SSB = Experiment(
    "ssb",
    "SSB: a learnable alpha",
    "Where does a learnable alpha go, does it depend on where it begins, and does it beat a fixed one?",
    "FunReason v3, ablation, single-turn / multi-turn: SFT, then with SSB",
    (
        *TWO_STARTS,
        start("fixed 0.7", alpha=0.7),
        start("learnable from 0.7", alpha=0.7, **LEARNABLE),
        start("learnable from 0.3", alpha=0.3, **LEARNABLE),
    ),
    (
        Row("SFT (proportional)", ArmPoint(SFT_START, "start"), "81.73 / 38.25"),
        Row("fixed 0.5", ArmPoint(SRML_START, "start")),
        Row("fixed 0.7", ArmPoint("fixed 0.7", "start")),
        Row("learnable from 0.3", ArmPoint("learnable from 0.3", "start")),
        Row("learnable from 0.7, as in the paper", ArmPoint("learnable from 0.7", "start"), "82.20 / 41.62"),
    ),
    (
        versus("learnable from 0.7", "fixed 0.7"),
        versus("learnable from 0.7", SFT_START),
        versus("learnable from 0.7", "learnable from 0.3"),
    ),
    picture="series",
    series="alpha",
)
HARD: Mapping[str, Any] = {"method": "hdr", "hdr.max_rounds": 4}
HDR = Experiment(
    "hdr",
    "HDR: hard-data rounds",
    "Do rounds on the tasks that the model fails gain more than rounds on as many random ones?",
    "FunReason v3, single-turn / multi-turn: SFT with SSB, then with HDR; multi-turn by round 38.60, 39.00, 43.00, "
    "44.40, 46.90, 47.00. The control is ours; the paper reports no control",
    (
        TWO_STARTS[0],
        Arm("hard", HARD, starts_from=SRML_START),
        Arm("random", {**HARD, "hdr.control": "random_qualified"}, starts_from=SRML_START, counts_of="hard"),
    ),
    (
        Row("where both begin", ArmPoint(SRML_START, "start"), "82.20 / 41.62"),
        Row("after the first data, sorted", ArmPoint("hard", "round 1")),
        *(Row(f"hard, round {k - 1}", ArmPoint("hard", f"round {k}")) for k in (2, 3)),
        Row("hard, at the end", ArmPoint("hard"), "84.00 / 47.00"),
        Row("random, at the end", ArmPoint("random")),
    ),
    (
        versus("hard", "random"),
        versus("hard", "hard", against="round 1"),
        versus("random", "random", against="round 1"),
        versus("hard", SRML_START),
    ),
    note="The first round sorts all tasks into qualified, hard and discarded, and trains on the qualified. `random` "
    "then learns as many qualified samples as `hard` learned hard ones, category by category.",
    method="hdr",
)
REWARDS: Mapping[str, Any] = {
    "rounds": 1,
    "reinforcement.steps_per_round": 12,
    "reinforcement.prompts_per_step": 64,
    "reinforcement.group_size": 8,
    "reinforcement.max_resample": 0,
}
EGPO = Experiment(
    "egpo",
    "EGPO against GRPO",
    "Does the entropy bonus gain anything over GRPO, and does either beat a round of SRML on as many samples?",
    "EGPO v4, BFCL single-turn / multi-turn of Qwen3-4B-Instruct-2507",
    (
        TWO_STARTS[0],
        Arm(
            "SRML, as many samples",
            {"rounds": 1, "tasks.per_round": 1536, "sample.samples_per_task": 4, "fcdr.regenerate": []},
            starts_from=SRML_START,
        ),
        Arm("GRPO", {**REWARDS, "method": "grpo"}, starts_from=SRML_START),
        Arm("EGPO", {**REWARDS, "method": "egpo"}, starts_from=SRML_START),
        Arm(
            "EGPO, entropies shuffled",
            {**REWARDS, "method": "egpo", "reinforcement.loss.bonus": {"shuffle_entropy": True}},
            starts_from=SRML_START,
        ),
    ),
    (
        Row("where all begin", ArmPoint(SRML_START, "start"), "78.19 / 15.75"),
        Row("SRML, as many samples", ArmPoint("SRML, as many samples")),
        Row("GRPO", ArmPoint("GRPO"), "82.20 / 50.12"),
        Row("EGPO", ArmPoint("EGPO"), "84.92 / 56.25"),
        Row("EGPO, entropies shuffled", ArmPoint("EGPO, entropies shuffled")),
    ),
    (
        versus("EGPO", "GRPO"),
        versus("EGPO", "EGPO, entropies shuffled"),
        versus("EGPO", SRML_START),
        versus("GRPO", SRML_START),
        versus("EGPO", "SRML, as many samples"),
    ),
    method="egpo",
)

EXPERIMENTS = {found.name: found for found in (TABLE2, TABLE3, TABLE4, TABLE5, FIGURE4, SSB, HDR, EGPO)}
