"""The official scorer's side of benchmarks/bfcl.py; runs in the environment that bfcl_official.sh builds.

Reads rows {"category", "id", "output"} from the file it is given, scores each by the official per-row functions in
one process, and prints one JSON line: CPU seconds of the loop alone, and the verdicts. It runs Python's eval on the
outputs.
"""

import contextlib
import io
import json
import sys
import time
import warnings

from bfcl_eval.constants.enums import Language, ReturnFormat
from bfcl_eval.eval_checker import eval_runner
from bfcl_eval.utils import load_dataset_entry, load_ground_truth_entry

MODEL = "Qwen/Qwen3-8B"
LANGUAGES = {
    "simple_java": (Language.JAVA, ReturnFormat.JAVA),
    "simple_javascript": (Language.JAVASCRIPT, ReturnFormat.JAVASCRIPT),
}


def load(categories):
    prompts, answers = {}, {}
    for category in categories:
        entries = load_dataset_entry(category, include_prereq=False, include_language_specific_hint=False)
        prompts |= {entry["id"]: entry for entry in entries}
        if not category.endswith("relevance"):
            truths = load_ground_truth_entry(category)
            answers |= {entry["id"]: truth["ground_truth"] for entry, truth in zip(entries, truths, strict=True)}
    return prompts, answers


def verdict(handler, row, prompts, answers):
    case_id, category = row["id"], row["category"]
    if category.endswith("relevance"):
        score = eval_runner._evaluate_single_relevance_entry
        return score(handler, case_id, row["output"], prompts[case_id], MODEL, category)
    score, more = (
        eval_runner._evaluate_single_ast_entry,
        LANGUAGES.get(category, (Language.PYTHON, ReturnFormat.PYTHON)),
    )
    return score(handler, case_id, row["output"], answers[case_id], prompts[case_id], MODEL, category, *more)


def attempt(handler, row, prompts, answers):
    try:
        found = verdict(handler, row, prompts, answers)
    except Exception as error:  # where the command itself would stop, the row is kept as a crash
        return [False, f"crash:{type(error).__name__}"]
    return [found["valid"], found.get("error_type")]


def main():
    with open(sys.argv[1], encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    prompts, answers = load(sorted({row["category"] for row in rows}))
    handler = eval_runner.get_handler(MODEL)
    warnings.simplefilter("ignore")
    best, verdicts = float("inf"), []
    with contextlib.redirect_stdout(io.StringIO()):
        for _ in range(3):
            start = time.process_time()
            verdicts = [attempt(handler, row, prompts, answers) for row in rows]
            best = min(best, time.process_time() - start)
    print(json.dumps({"seconds": best, "verdicts": verdicts}))


if __name__ == "__main__":
    main()
