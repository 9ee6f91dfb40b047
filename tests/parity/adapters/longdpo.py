"""LongDPO: the stepwise search, its judge, its pairs, and the evaluation of long writing."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Sequence
from typing import Any

from parity import Adapter, Deviation, WithDraws

from longmab_pl.evaluation.longbench_write import parse_quality, quality_scores
from longmab_pl.pairs.stepwise import Step, ends_turn, other_candidates, swapped_words
from longmab_pl.prompts.blocks import SUGGESTIONS_FOLLOW
from longmab_pl.rewards.length import count_words, length_score, length_term
from longmab_pl.rewards.llm_judge.attempts import attempts
from longmab_pl.rewards.principles import parse_principles
from longmab_pl.strategies.stepwise_search.candidates import block_values, distinct_candidates, puct
from longmab_pl.strategies.stepwise_search.facts import gate, remembered
from longmab_pl.strategies.stepwise_search.published import state_in_chatml, state_with_suggestions, written_part
from longmab_pl.strategies.stepwise_search.refinement import (
    ChosenBlock,
    Suggestion,
    better_principles,
    merge_refined,
    needs_refinement,
    pick_suggestions,
    with_suggestions,
)

END_OF_TEXT = "<|end_of_text|>"
REFINE_BELOW = 6.0


def first_quality(given: dict[str, Any]) -> dict[str, Any]:
    asking, replies = attempts(parse_quality), iter(given["replies"])
    next(asking)
    while True:
        try:
            asking.send(next(replies, ""))
        except StopIteration as end:
            found = end.value.value
            scores = None if found is None else {"Analysis": found.analysis} | found.scores
            return {"scores": scores, "calls": end.value.attempts, "error": None}


def quality(given: dict[str, Any]) -> dict[str, float]:
    return quality_scores([{name: float(value) for name, value in row.items()} for row in given["scores"]])


def value_from_judge(given: dict[str, Any]) -> float | None:
    ratings = parse_principles(given["reply"])
    return None if ratings is None else ratings.mean


def refine_analysis(given: dict[str, Any]) -> dict[str, float | None]:
    ratings = parse_principles(given["reply"])
    if ratings is None:
        return {"average_score": None}
    return ratings.scores | {"average_score": ratings.mean}


def save_step(given: dict[str, Any]) -> dict[str, Any]:
    chosen = given["chosen"]
    pool = other_candidates(chosen, given["actions"])
    rejected = None if pool else swapped_words(chosen, given["uniform_draws"])
    row = {
        "instruction": "STATE",
        "chosen": chosen,
        "rejected": rejected,
        "group_id": given["group_id"],
        "depth": given["depth"],
        "answer_role": "added_assistant",
        "prompt_role": "added_user",
    }
    return {
        "rejected_pool": pool or None,
        "rows_in_step_file": [row] if pool or rejected is not None else [],
        "refine_file_written": given["refine_path_set"] and needs_refinement(max(given["scores"]), REFINE_BELOW),
    }


def fix_assistant(given: dict[str, Any]) -> list[list[Any]]:
    """The vectors do not say why a block ended: all of them count as finished."""
    ends = ends_turn([Step(group, depth, finished=True) for group, depth, _ in given["rows"]])
    return [[*row[:2], "assistant" if end else row[2]] for row, end in zip(given["rows"], ends, strict=True)]


def refine_filter(given: dict[str, Any]) -> list[str]:
    scores = [next(iter(row.values()), None) for row in given["rewards"]]
    pairs = zip(scores, given["chosen"], strict=True)
    return [text for score, text in pairs if needs_refinement(score, given["threshold"])]


def refine_merge(given: dict[str, Any]) -> list[list[Any]]:
    blocks = [ChosenBlock(g, depth, f"[INST]q{g}[/INST]", text) for g, depth, text in given["original"]]
    refined = [ChosenBlock(g, depth, "with suggestions", text) for g, depth, text in given["refined"]]
    return [[block.group, block.depth, block.text, block.instruction] for block in merge_refined(blocks, refined)]


def neutral(text: str) -> str:
    return text.replace(SUGGESTIONS_FOLLOW, "<LEAD>")


def picked(given: dict[str, Any]) -> dict[str, list[str]]:
    suggestions = [
        Suggestion(row["group_id"], row["depth"], row["Writing Suggestion"], float(row.get("Confidence Score", 0)))
        for row in given["suggestions"]
    ]
    found: dict[str, list[str]] = {"with": [], "without": []}
    for block in given["chosen"]:
        texts = pick_suggestions(suggestions, block["group_id"], block["depth"], given["max_suggestions"])
        question = block["instruction"].removeprefix("[INST]").removesuffix("[/INST]")
        state = f"[INST]{with_suggestions(question, texts)}[/INST]"
        found["with" if texts else "without"].append(neutral(state))
    return found


def select_child(given: dict[str, Any]) -> dict[str, Any]:
    children = given["children"]
    scores = [puct(child["prob"], given["parent_visits"], 0, 0.0, child["initial_value"]) for child in children]
    best = children[scores.index(max(scores))]
    return {"action": best["action"], "ucb": scores, "finish_reason": best["finish_reason"]}


def legal_actions(given: dict[str, Any]) -> dict[str, Any]:
    found = distinct_candidates(given["texts"], given["mean_logprobs"], given["finish_reasons"], END_OF_TEXT)
    if not found:
        return {"error": "NoLegalActionException"}
    return {
        "actions": [
            {"action": c.text, "prior": c.prior, "finish_reason": c.finish_reason, "terminal": c.terminal}
            for c in found
        ]
    }


def fact_gate_step(given: dict[str, Any]) -> dict[str, Any]:
    actions = given["actions"]
    step = gate(given["scores"], {actions.index(action) for action in given["contradicting"]})
    chosen = actions[step.chosen]
    return {"appended": [chosen], "memory_added": remembered(given["facts"][chosen], step), "error": None}


ADAPTERS: dict[str, Adapter | WithDraws] = {
    "count_words": lambda given: count_words(given["text"]),
    "longwriter_length_score": lambda given: length_score(given["required"], given["words"]),
    "longdpo_value_length_term": lambda given: length_term(
        given["target_length"], given["words_counted"], given["len_scale"]
    ),
    "get_len_score": lambda given: [count_words(text) for text in given["texts"]],
    "filter_history": lambda given: written_part(given["history"]),
    "longbench_write_judge": first_quality,
    "longbench_write_quality": quality,
    "value_from_judge": value_from_judge,
    "refine_analysis_from_judge": refine_analysis,
    "better_principles": lambda given: better_principles(given["chosen_scores"], given["candidate_scores"]),
    "save_step": save_step,
    "fix_assistant": fix_assistant,
    "refine_filter": refine_filter,
    "refine_merge": refine_merge,
    "insert_suggestions": lambda given: {
        "state": neutral(state_with_suggestions(given["state"], given["suggestions"]))
    },
    "pick_suggestions": picked,
    "qwen_tokens": lambda given: state_in_chatml(given["state"]),
    "puct": lambda given: puct(
        given["prior"],
        given["parent_visits"],
        given["child_visits"],
        given["child_value_sum"],
        given["child_initial_value"],
        given["pb_c_base"],
        given["pb_c_init"],
    ),
    "select_child": select_child,
    "child_initial_values": lambda given: block_values(given["judge_values"]),
    "legal_actions": legal_actions,
    "fact_gate_step": fact_gate_step,
}

# --- where ours differ: the expected values, written down without the package --------------------------------------

SEVEN = [f"principle{i}" for i in range(1, 8)]
SIX = ["relevance", "accuracy", "coherence", "clarity", "breadthanddepth", "readingexperience"]


def objects(reply: str) -> list[dict[str, Any]]:
    found, position = [], 0
    while (position := reply.find("{", position)) >= 0:
        try:
            value, position = json.JSONDecoder(strict=False).raw_decode(reply, position)
            found.append({re.sub(r"[\s_-]", "", key.lower()): item for key, item in value.items()})
        except ValueError:
            position += 1
    return found


def point(value: Any) -> float | None:
    """A rating of 1 to 5: a number, a number as text, or five weights."""
    if isinstance(value, list):
        if len(value) != 5 or not all(re.fullmatch(r"\d+(\.\d+)?", str(weight)) for weight in value):
            return None
        weights = [float(weight) for weight in value]
        return sum(k * w for k, w in enumerate(weights, 1)) / sum(weights) if sum(weights) else None
    if isinstance(value, bool) or not re.fullmatch(r"\d+(\.\d+)?", str(value)):
        return None
    return float(value) if 1 <= float(value) <= 5 else None


def rated(reply: str, names: Sequence[str]) -> list[float] | None:
    """The ratings of the only object that has all of them."""
    whole = [found for found in objects(reply) if all(name in found for name in names)]
    if len(whole) != 1:
        return None
    ratings = [point(whole[0][name]) for name in names]
    return None if None in ratings else ratings


def plainly(reply: str, kind: Callable[[Any], bool]) -> bool:
    """Whether the text up to the first closing brace is the verdict, with seven values of a kind and on the scale."""
    first = re.search(r"\{.*?\}", reply, re.DOTALL)
    try:
        found = {key.lower(): value for key, value in json.loads(first[0] if first else "").items()}
    except ValueError:
        return False
    return rated(reply, SEVEN) is not None and all(name in found and kind(found[name]) for name in SEVEN)


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_vector(value: Any) -> bool:
    return isinstance(value, list) and all(is_number(weight) for weight in value) and abs(sum(value) - 1) < 1e-9


def mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def value_by_hand(given: dict[str, Any], original: float) -> float | None:
    ratings = rated(given["reply"], SEVEN)
    return None if ratings is None else mean(ratings)


def analysis_by_hand(given: dict[str, Any], original: dict[str, float]) -> dict[str, float | None]:
    ratings = rated(given["reply"], SEVEN)
    if ratings is None:
        return {"average_score": None}
    return dict(zip(SEVEN, ratings, strict=True)) | {"average_score": mean(ratings)}


def only_six(reply: str) -> bool:
    """Whether both read a reply alike: no object at all, or one bare or fenced one of six numbers from 1 to 5."""
    body = reply.removeprefix("```json\n").removesuffix("\n```")
    if not objects(reply):
        return True
    try:
        found = {re.sub(r"\s", "", key.lower()): value for key, value in json.loads(body).items()}
    except ValueError:
        return False
    return all(is_number(found.get(name)) and 1 <= found[name] <= 5 for name in SIX)


def quality_by_hand(given: dict[str, Any], original: dict[str, Any]) -> dict[str, Any]:
    names = ["Relevance", "Accuracy", "Coherence", "Clarity", "Breadth and Depth", "Reading Experience"]
    for calls, reply in enumerate(given["replies"][:5], 1):
        ratings = rated(reply, SIX)
        if ratings is not None:
            analysis = next(found["analysis"] for found in objects(reply) if "analysis" in found)
            return {"scores": {"Analysis": analysis} | dict(zip(names, ratings, strict=True)), "calls": calls} | {
                "error": None
            }
    return {"scores": None, "calls": 5, "error": None}


def means_by_hand(given: dict[str, Any], original: dict[str, float]) -> dict[str, float]:
    names = [name for name in original if name != "total" and any(name in row for row in given["scores"])]
    ours = {name: 25 * (mean([float(row[name]) for row in given["scores"] if name in row]) - 1) for name in names}
    return ours | {"total": mean(list(ours.values()))}


def kept_length(required: int, words: int) -> float:
    if words == 0:
        return 0.0
    return 100 * max(0, 1 - ((words / required - 1) / 3 if words > required else (required / words - 1) / 2))


def words_of(text: str) -> int:
    return len(re.findall(r"[\u4e00-\u9fff]", text)) + len(re.findall(r"\b[a-zA-Z]+\b", text))


def weak(given: dict[str, Any]) -> bool:
    return given["refine_path_set"] and max(given["scores"]) < 6.0


def swaps_nothing(given: dict[str, Any]) -> bool:
    words = given["chosen"].split()
    return len(given["actions"]) == 1 and all(draw >= 0.3 for draw in given["uniform_draws"][: len(words) - 1])


def step_by_hand(given: dict[str, Any], original: dict[str, Any]) -> dict[str, Any]:
    rows = [] if swaps_nothing(given) else original["rows_in_step_file"][:1]
    return original | {"rows_in_step_file": rows, "refine_file_written": weak(given)}


def suggested_by_hand(given: dict[str, Any], original: dict[str, list[str]]) -> dict[str, list[str]]:
    ours: dict[str, list[str]] = {"with": [], "without": []}
    for block in given["chosen"]:
        own = [
            row
            for row in given["suggestions"]
            if row["group_id"] == block["group_id"] and row["depth"] == block["depth"]
        ]
        own.sort(key=lambda row: float(row.get("Confidence Score", 0)), reverse=True)
        texts = [row["Writing Suggestion"] for row in own[: given["max_suggestions"]]]
        question = block["instruction"][len("[INST]") : -len("[/INST]")]
        state = " ".join([question, "<LEAD>", *texts]) if texts else question
        ours["with" if texts else "without"].append(f"[INST]{state}[/INST]")
    return ours


def not_blank(given: dict[str, Any], original: dict[str, Any]) -> dict[str, Any]:
    actions = [row for row in original.get("actions", []) if row["action"].strip()]
    total = sum(row["prior"] for row in actions)
    if not actions:
        return {"error": "NoLegalActionException"}
    return {"actions": [row | {"prior": row["prior"] / total} for row in actions]}


def gated_by_hand(given: dict[str, Any], original: dict[str, Any]) -> dict[str, Any]:
    pairs = list(zip(given["actions"], given["scores"], strict=True))
    valid = [pair for pair in pairs if pair[0] not in given["contradicting"]]
    best = max(valid or pairs, key=lambda pair: pair[1])[0]
    return {"appended": [best], "memory_added": given["facts"][best][:2] if valid else [], "error": None}


FULL = ", ".join(f'"Principle{i}": [0, 0, 0, 0, 1]' for i in range(1, 8))
FOURS = {f"principle{i}": 4.0 for i in range(1, 8)}
WRITTEN = ", ".join(
    f'"{name}": 4'
    for name in ("Relevance", "Accuracy", "Coherence", "Clarity", "Breadth and Depth", "Reading Experience")
)
ROW = {"instruction": "STATE", "group_id": 7, "depth": 2, "answer_role": "added_assistant", "prompt_role": "added_user"}

DEVIATIONS: list[Deviation] = [
    Deviation(
        function="value_from_judge",
        condition="the reply is not one object with seven numbers from 1 to 5 that ends with its first brace",
        why="the original reads the weight vectors that its template asks for, text, nulls and what is missing as 2.5, "
        "takes numbers off the scale and booleans, and reads up to the first brace, which an answer's own JSON, or a "
        "brace in the analysis, comes before; ours reads numbers and vectors, and has no value for the rest",
        when=lambda given: not plainly(given["reply"], is_number),
        ours=value_by_hand,
        example={"reply": f"{{{FULL}}}"},
        original=2.5,
        value=5.0,
    ),
    Deviation(
        function="refine_analysis_from_judge",
        condition="the reply is not one object with seven weight vectors that ends with its first brace",
        why="as for value_from_judge, but for the other half of the template, which asks for one number a principle: "
        "the original's second parser reads those as 2.5",
        when=lambda given: not plainly(given["reply"], is_vector),
        ours=analysis_by_hand,
        example={"reply": json.dumps(dict.fromkeys(SEVEN, 4))},
        original=dict.fromkeys(SEVEN, 2.5) | {"average_score": 2.5},
        value=FOURS | {"average_score": 4.0},
    ),
    Deviation(
        function="longbench_write_judge",
        condition="a reply with an object that is not bare or fenced, not complete, or not of six numbers from 1 to 5",
        why="the original fails on text around the object, takes numbers off the scale, nulls and text as scores, and "
        "spends two of the five tries on an object that lacks dimensions",
        when=lambda given: not all(only_six(reply) for reply in given["replies"]),
        ours=quality_by_hand,
        example={"replies": [f'My verdict: {{"Analysis": "a", {WRITTEN}}}']},
        original={"scores": None, "calls": 5, "error": None},
        value={
            "scores": {"Analysis": "a", "Relevance": 4.0, "Accuracy": 4.0, "Coherence": 4.0, "Clarity": 4.0}
            | {"Breadth and Depth": 4.0, "Reading Experience": 4.0},
            "calls": 1,
            "error": None,
        },
    ),
    Deviation(
        function="longbench_write_quality",
        condition="an answer lacks a dimension",
        why="the original counts it as 3, a score that nobody gave; ours leaves it out of that dimension's mean",
        when=lambda given: any(len(row) < 6 for row in given["scores"]),
        ours=means_by_hand,
        example={"scores": [{"Relevance": 5}, {"Accuracy": 5}]},
        original=dict.fromkeys(("Relevance", "Accuracy"), 75.0)
        | dict.fromkeys(("Coherence", "Clarity", "Breadth and Depth", "Reading Experience"), 50.0)
        | {"total": 58.333333333333336},
        value={"Relevance": 100.0, "Accuracy": 100.0, "total": 100.0},
    ),
    Deviation(
        function="longwriter_length_score",
        condition="no word was written",
        why="the original divides by zero; an empty answer keeps no length",
        when=lambda given: given["words"] == 0,
        ours=lambda given, original: 0.0,
        example={"required": 100, "words": 0},
        original={"error": "ZeroDivisionError"},
        value=0.0,
    ),
    Deviation(
        function="longdpo_value_length_term",
        condition="the written length is not the required one",
        why="the original swaps the two, so that an answer that is too short gets the mild penalty; it divides by zero "
        "for an empty answer",
        when=lambda given: given["target_length"] != given["words_counted"],
        ours=lambda given, original: kept_length(given["target_length"], given["words_counted"]) / given["len_scale"],
        example={"target_length": 100, "words_counted": 50, "len_scale": 10},
        original=6.666666666666667,
        value=5.0,
    ),
    Deviation(
        function="get_len_score",
        condition="the instruction has words",
        why="the original counts the instruction's words as if they were written",
        when=lambda given: words_of(given["instruction"]) > 0,
        ours=lambda given, original: [count - words_of(given["instruction"]) for count in original],
        example={"instruction": "Write a story.", "texts": ["Once upon a time"]},
        original=[7],
        value=[4],
    ),
    Deviation(
        function="save_step",
        condition="the best value is below 6 and blocks are to be refined, or the copy of the only block is unchanged",
        why="the original writes the row for refinement into the file of training pairs, under another name of field; "
        "and a copy in which no words are swapped makes a pair of two equal blocks",
        when=lambda given: weak(given) or swaps_nothing(given),
        ours=step_by_hand,
        example={"chosen": "a b", "actions": ["a b"], "scores": [7.0], "depth": 2, "group_id": 7}
        | {"refine_path_set": False, "uniform_draws": [0.9]},
        original={
            "rejected_pool": None,
            "rows_in_step_file": [ROW | {"chosen": "a b", "rejected": "a b"}],
            "refine_file_written": False,
        },
        value={"rejected_pool": None, "rows_in_step_file": [], "refine_file_written": False},
    ),
    Deviation(
        function="refine_filter",
        condition="a block's score is stored as average_score",
        why="the analysis writes average_score, but the original's filter reads chosen_reward and takes infinity where "
        "it is missing: no block is ever refined",
        when=lambda given: any("average_score" in row for row in given["rewards"]),
        ours=lambda given, original: [
            text
            for row, text in zip(given["rewards"], given["chosen"], strict=True)
            if min(row.values(), default=math.inf) < given["threshold"]
        ],
        example={"rewards": [{"average_score": 1.5}], "threshold": 2.5, "chosen": ["c0"]},
        original=[],
        value=["c0"],
    ),
    Deviation(
        function="insert_suggestions",
        condition="the state lacks one of the marks of its instruction",
        why="the original cuts the last character off and writes the suggestions before it; ours leaves the text alone",
        when=lambda given: not re.search(r"\[INST\].*\[/INST\]", given["state"], re.DOTALL),
        ours=lambda given, original: {"state": given["state"]},
        example={"state": "no tags", "suggestions": ["Add detail."]},
        original={"state": "no tag <LEAD> Add detail.s"},
        value={"state": "no tags"},
    ),
    Deviation(
        function="pick_suggestions",
        condition="there are suggestions",
        why="the original matches suggestions by the prompt alone, so that advice on one block changes all of them",
        when=lambda given: bool(given["suggestions"]),
        ours=suggested_by_hand,
        example={
            "chosen": [
                {"instruction": "[INST]q[/INST]", "chosen": "c", "group_id": 0, "depth": 1},
                {"instruction": "[INST]q[/INST]", "chosen": "c", "group_id": 0, "depth": 2},
            ],
            "suggestions": [{"group_id": 0, "depth": 2, "Confidence Score": 4, "Writing Suggestion": "s"}],
            "max_suggestions": 1,
        },
        original={"with": ["[INST]q <LEAD> s[/INST]", "[INST]q <LEAD> s[/INST]"], "without": []},
        value={"with": ["[INST]q <LEAD> s[/INST]"], "without": ["[INST]q[/INST]"]},
    ),
    Deviation(
        function="child_initial_values",
        condition="an answer of several blocks was judged as one",
        why="the original appends a zero and then the value, so that child i gets entry i of [0, v0, 0, v1, ...]",
        when=lambda given: any(len(values) != given["history_blocks"] + 1 for values in given["judge_values"]),
        ours=lambda given, original: [values[-1] for values in given["judge_values"]],
        example={"history_blocks": 1, "judge_values": [[3.0], [4.0]]},
        original=[0.0, 3.0],
        value=[3.0, 4.0],
    ),
    Deviation(
        function="legal_actions",
        condition="a block of white space",
        why="the original lets it continue the answer; a blank block says nothing and is left out with its prior",
        when=lambda given: any(text and not text.strip() for text in given["texts"]),
        ours=not_blank,
        example={"texts": [" ", "a"], "mean_logprobs": [-1.0, -1.0], "finish_reasons": ["length", "length"]},
        original={
            "actions": [
                {"action": " ", "prior": 0.5, "finish_reason": "length", "terminal": False},
                {"action": "a", "prior": 0.5, "finish_reason": "length", "terminal": False},
            ]
        },
        value={"actions": [{"action": "a", "prior": 1.0, "finish_reason": "length", "terminal": False}]},
    ),
    Deviation(
        function="fact_gate_step",
        condition="the best candidate contradicts a fact",
        why="the original follows the tree's block and appends another, or two where the last candidate is refused "
        "first, and falls back to the first candidate in place of the best",
        when=lambda given: given["tree_selected"] in given["contradicting"],
        ours=gated_by_hand,
        example={
            "actions": ["a0", "a1"],
            "scores": [1.0, 2.0],
            "contradicting": ["a1"],
            "facts": {"a0": ["f0", "f1", "f2"], "a1": []},
            "tree_selected": "a1",
        },
        original={"appended": ["a0", "a0"], "memory_added": ["f0", "f1"], "error": "KeyError"},
        value={"appended": ["a0"], "memory_added": ["f0", "f1"], "error": None},
    ),
]
