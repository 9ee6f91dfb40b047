"""LongBench Pro: answer area, metrics, aggregates, the prompt and its cut."""

from __future__ import annotations

from typing import Any

from parity import Adapter, Deviation

from adapters.longbench_v2 import Words
from longmab_pl.errors import ConfigError
from longmab_pl.evaluation.longbench_pro import aggregation, scoring
from longmab_pl.evaluation.longbench_pro.prompts import prompt
from longmab_pl.evaluation.middle_cut import cut_text

Given = dict[str, Any]


def metric(name: str) -> Adapter:
    return lambda given: scoring.METRICS[name](given["answers"], given["prediction"])


def calculated(given: Given) -> Any:
    try:
        score = scoring.item_score(given["secondary_task"], given["answer"], given["prediction"])
    except ConfigError:
        score = None
    return {"success": score is not None, "metric": score or 0.0}


def rouge(given: Given) -> float:
    return scoring.best_rouge(given["answers"], given["prediction"], given["is_zh"])


def summary(given: Given) -> float:
    similarities = given["similarity_to_each_answer_float32"][: len(given["answers"])]
    return scoring.summary(given["answers"], given["prediction"], given["is_zh"], similarities)


def aggregate(given: Given) -> Any:
    count = given["bon_num"]
    runs = [
        aggregation.Run(row["id"], row["bon_idx"], row["metric"], row["primary_task"], row["language"])
        for row in given["rows"]
    ]
    out: dict[str, Any] = {
        "average_overall": aggregation.overall(runs),
        "inconsistent": aggregation.incomplete(runs, count),
        "iterations": aggregation.iterations(runs, count),
        "language": aggregation.by_language(runs),
    }
    for n in range(1, count + 1):
        out |= {f"BoN-{n}": aggregation.best_of(runs, n), f"pass@{n}": aggregation.passed(runs, n)}
    return out


def processed(given: Given) -> Any:
    item = given["item"]
    question = item["question_thinking" if given["thinking_enabled"] else "question_nonthinking"]
    answer, thinking = given["reply_answer_thinking"]
    return {
        "prompt": prompt(item["context"], question),
        "prediction": (answer or "").strip(),
        "thinking": thinking,
        "context_saved_chars": min(len(item["context"]), 512),
    }


ADAPTERS: dict[str, Adapter] = {
    "longbench_pro.get_answer_area": lambda given: scoring.answer_area(given["text"]),
    "longbench_pro.normalize_prediction": lambda given: scoring.answer_lines(given["prediction"]),
    "longbench_pro.Accuracy": metric("accuracy"),
    "longbench_pro.F1_Score": metric("f1"),
    "longbench_pro.SubEM": metric("subem"),
    "longbench_pro.NDCG": metric("ndcg"),
    "longbench_pro.Pairwise_Accuracy": metric("pairwise"),
    "longbench_pro.Summary_Max_Rouge_L": rouge,
    "longbench_pro.Summary": summary,
    "longbench_pro.calculate_metric": calculated,
    "longbench_pro.aggregate": aggregate,
    "longbench_pro.truncate_prompt": lambda g: cut_text(g["prompt"], Words(), g["context_max_length"])[0],
    "longbench_pro.process_single_item": processed,
}

DEVIATIONS: list[Deviation] = []
