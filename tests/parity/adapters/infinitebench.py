"""InfiniteBench: scores of both versions of the program, labels, prompts and cuts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from parity import Adapter, Deviation

from longmab_pl.errors import DataError
from longmab_pl.evaluation.infinitebench import scoring
from longmab_pl.evaluation.infinitebench.prompts import fields, filled, labels
from longmab_pl.evaluation.infinitebench.scoring import Version
from longmab_pl.evaluation.infinitebench.tasks import TASKS
from longmab_pl.evaluation.longbench.scoring import normalize_zh
from longmab_pl.evaluation.middle_cut import without_middle, without_middle_evenly
from longmab_pl.rewards.answer_match import normalize_answer

Given = dict[str, Any]
VERSIONS: dict[str, Version] = {"88b3daa": "published", "51d9b37": "corrected"}


def score(task: str, version: Version) -> Adapter:
    def run(given: Given) -> Any:
        try:
            if task == "math_calc":
                return scoring.calculation(given["pred"], given["label"], skip_first=given["model_name"] == "gpt4")
            return TASKS[task].score(given["pred"], given["label"], version)
        except (ValueError, TypeError) as error:
            return {"exception": type(error).__name__}

    return run


def mean(version: Version) -> Adapter:
    def run(given: Given) -> Any:
        task = given["data_name"]
        pairs = zip(given["preds"], given["labels"], strict=True)
        scores = [score(task, version)({"pred": p, "label": g, "model_name": "yarn-mistral"}) for p, g in pairs]
        return sum(scores) / len(scores)

    return run


def outcome(call: Callable[[], Any], error: str) -> Any:
    try:
        return call()
    except DataError:  # one error with a reason for the original's several
        return {"exception": error}


def prompt(given: Given) -> Any:
    item, task = given["eg"], given["data_name"]
    error = "AssertionError" if task == "math_find" else "IndexError"
    values = outcome(lambda: fields(task, item["context"], item["input"], item["options"]), error)
    if "exception" in values:
        return values
    if task == "math_find":
        after = filled(given["template"].removeprefix("F|{prefix}"), values)
        return {"target_number": values["target"], "after_prefix": after}
    if task == "math_calc" and given["model_name"] == "gpt4":
        return values["context"]
    return filled(given["template"], values)


def label(given: Given) -> Any:
    return outcome(lambda: labels(given["data_name"], given["eg"]["answer"], given["eg"]["options"]), "ValueError")


ADAPTERS: dict[str, Adapter] = {
    **{f"infinitebench.get_score_one_{t}@{c}": score(t, v) for t in TASKS for c, v in VERSIONS.items()},
    **{f"infinitebench.get_score@{commit}": mean(version) for commit, version in VERSIONS.items()},
    "infinitebench.normalize_answer": lambda given: normalize_answer(given["s"]),
    "infinitebench.normalize_zh_answer": lambda given: normalize_zh(given["s"]),
    "infinitebench.first_int_match": lambda given: scoring.first_integer(given["prediction"]),
    "infinitebench.truncate_input@eval_utils": lambda g: without_middle(g["input"], g["max_length"]),
    "infinitebench.truncate_input@eval_yi_200k": lambda g: without_middle_evenly(g["input"], g["max_length"]),
    "infinitebench.get_answer": label,
    "infinitebench.create_prompt": prompt,
}

DEVIATIONS = [
    Deviation(
        function="infinitebench.truncate_input@eval_yi_200k",
        condition="more items than a limit of 0 or 1",
        why="Half of the limit is 0, and the last 0 items are all of them in the original, so nothing is cut.",
        when=lambda given: given["max_length"] < 2 and len(given["input"]) > given["max_length"],
        ours=lambda given, original: [],
        example={"input": [0, 1, 2], "max_length": 1},
        original=[0, 1, 2],
        value=[],
    ),
]
