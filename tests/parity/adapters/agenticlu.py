"""AgenticLU: paragraphs, the clarification tree, HELMET's metrics, and the training of its pairs."""

from __future__ import annotations

import hashlib
import re
from typing import Any

import torch
from parity import Adapter, Deviation, WithDraws
from resources import contexts, tokenizer
from torch import float64

from longmab_pl.data.token_chunks import token_chunks
from longmab_pl.evaluation.helmet_metrics import answer_metrics, choice_metrics, closed_f1, output_metrics
from longmab_pl.pairs.types import PreferencePair
from longmab_pl.prompts import clarification as say
from longmab_pl.prompts import encoding
from longmab_pl.prompts.transcript import assistant
from longmab_pl.rewards.answer_match import normalize_answer
from longmab_pl.rewards.gold_agreement import agreement, node_score
from longmab_pl.rewards.parsed_answer import parsed_answer
from longmab_pl.strategies.clarification_tree import conversation
from longmab_pl.strategies.clarification_tree.paragraphs import (
    is_relevant,
    join_paragraphs,
    kept_paragraphs,
    mark_paragraphs,
    paragraph_marks,
)
from longmab_pl.strategies.clarification_tree.tree import (
    best_and_worst_nodes,
    breadth_first,
    separate_requests,
)
from longmab_pl.training.left_out import LeftOut
from longmab_pl.training.losses import IPO, SigmoidDPO
from longmab_pl.training.losses.base import PairLogps
from longmab_pl.training.tokenization import tokenize


def context_pieces(given: dict[str, Any]) -> dict[str, Any]:
    text = given["text"] if "text" in given else contexts()[given["context_id"]]
    chunks = token_chunks(text, tokenizer(), given["piece_tokens"], skip_special_tokens=True)
    if "text" in given:
        return {"pieces": [chunk.text for chunk in chunks]}
    return {
        "n": len(chunks),
        "sha1": [hashlib.sha1(chunk.text.encode()).hexdigest() for chunk in chunks],
        "heads": [chunk.text[:30] for chunk in chunks],
    }


def batched_context_retrieve(given: dict[str, Any]) -> list[dict[str, Any]]:
    pieces, replies = given["pieces"], given["replies"]
    found = []
    for question in range(given["questions"]):
        kept = kept_paragraphs(replies[question * len(pieces) : (question + 1) * len(pieces)])
        found.append(
            {
                "kept": kept,
                "context": join_paragraphs(pieces, kept) if kept else None,
                "marks": paragraph_marks(kept) if kept else None,
            }
        )
    return found


def golds(given: Any) -> list[str]:
    flat = [given] if isinstance(given, str) else given
    return [text for gold in flat for text in ([gold] if isinstance(gold, str) else gold)]


def f1_score(given: dict[str, Any]) -> list[float]:
    """The package gives F1 alone; precision and recall of equal length follow from it and the lengths."""
    f1 = closed_f1(given["prediction"], given["gold"])
    ours, theirs = (len(normalize_answer(given[name]).split()) for name in ("prediction", "gold"))
    shared = f1 * (ours + theirs) / 2
    return [f1, shared / ours, shared / theirs] if f1 else [0, 0, 0]


def post_process(given: dict[str, Any]) -> dict[str, Any]:
    return output_metrics(given["output"], given["answer"]) | {"parsed_output": parsed_answer(given["output"])}


def infbench_choice(given: dict[str, Any]) -> dict[str, Any]:
    metrics: dict[str, Any] = choice_metrics(given["output"], *given["answer"])
    return metrics | {"parsed_output": parsed_answer(given["output"])}


def judge_verdict(given: dict[str, Any]) -> float | None:
    return agreement(given["final_answer"])


def node_scores(given: dict[str, Any]) -> dict[str, Any]:
    pairs = zip(given["finals"], given["verdicts"], strict=True)
    return {"scores": [node_score(final, given["references"], verdict) for final, verdict in pairs]}


def bfs_growth(given: dict[str, Any]) -> dict[str, Any]:
    rounds = given["max_tree_depth"]
    nodes = breadth_first(given["branching"], rounds)
    return {
        "nodes_without_root": len(nodes) - 1,
        "expansions": len({node.parent for node in nodes} - {None}),
        "depth_of_nodes": sorted({node.depth + 1 for node in nodes}),
        "last_level": sum(node.depth == max(n.depth for n in nodes) for node in nodes),
    }


def select_best_worst(given: dict[str, Any]) -> dict[str, Any]:
    scores = given["scores_bfs_order"]
    pair = best_and_worst_nodes(scores)
    if pair is None:
        return {"best": None, "worst": None, "best_score": None, "worst_score": None}
    best, worst = pair
    return {"best": f"n{best}", "worst": f"n{worst}", "best_score": scores[best], "worst_score": scores[worst]}


def conversation_structure(given: dict[str, Any]) -> dict[str, Any]:
    pieces = [f"p{i}" for i in range(given["pieces"])]
    kept = kept_paragraphs(["Answer: yes"] * len(pieces))
    context, marks = join_paragraphs(pieces, kept), paragraph_marks(kept)
    done = conversation.Round(assistant("CQ"), tuple(kept), assistant("IA"), assistant("FA"))
    rounds = [done] * given["rounds"]
    turns = conversation.trace(mark_paragraphs(pieces), "Q", assistant("BA"), rounds)
    kinds = {
        say.SYSTEM: "system",
        say.base_request(mark_paragraphs(pieces), "Q"): "base_context",
        "BA": "base_answer",
        say.clarify("Q"): "clarify",
        "CQ": "clarification_question",
        say.pointed_back(marks): "mark",
        "IA": "intermediate_answer",
        say.final_request("Q"): "final_question",
        "FA": "final_answer",
    }
    before = rounds[:-1]
    requests = separate_requests(given["branching"], len(pieces))
    prompts = [
        conversation.clarification_request(before, context, "Q"),
        conversation.relevance_request(pieces[0], ["CQ"]),
        conversation.answer_request(before, "Q", done.clarification, context),
        conversation.final_request(before, "Q", done.clarification, context, done.answer),
        conversation.check_request(before, "Q", done.clarification, context, done.answer, done.final),
    ]
    return {
        "child_messages": [[turn.role, kinds.get(turn.text, "other")] for turn in turns],
        "engine_calls": [requests.clarify, requests.relevance, requests.answer, requests.final, requests.check],
        "total_requests": requests.total,
        "history_messages_before_prompt": [len(prompt) - 1 for prompt in prompts],
        "child_local_context": context,
    }


def dpo_loss(given: dict[str, Any]) -> dict[str, Any]:
    def side(name: str) -> PairLogps:
        chosen, rejected = (torch.tensor(given[f"{name}_{answer}"], dtype=float64) for answer in ("chosen", "rejected"))
        return PairLogps(chosen, rejected, torch.ones_like(chosen), torch.ones_like(rejected))

    beta = given["beta"]
    loss = IPO(beta, per_token=False) if given["ipo"] else SigmoidDPO(beta, given["label_smoothing"])
    found = loss(side("policy"), side("reference"))
    return {
        "loss": found.losses.mean().item(),
        "chosen_rewards": found.chosen_rewards.tolist(),
        "rejected_rewards": found.rejected_rewards.tolist(),
    }


def dpo_text(given: dict[str, Any]) -> dict[str, Any]:
    """Answers of several turns come with the ids of the conversation, as those that a strategy samples do."""
    prompt = tuple(given["prompt"])

    def ids(turns: list[dict[str, str]]) -> tuple[int, ...] | None:
        if len(turns) == 1:
            return None
        answer = turns[-1]["content"]
        before, whole = (encoding.chat(tokenizer(), [*prompt, *more], data=[answer]) for more in ([], turns[:-1]))
        last = whole.continued(answer)
        return (*whole.ids[len(before.ids) : last.kept], *last.ids)

    chosen, rejected = given["chosen"], given["rejected"]
    texts = ["\n".join(turn["content"] for turn in side) for side in (chosen, rejected)]
    pair = PreferencePair("row", prompt, *texts, chosen_ids=ids(chosen), rejected_ids=ids(rejected))
    try:
        example = tokenize(pair, tokenizer())
    except LeftOut as error:
        return {"left_out": error.reason}
    # The pair's own prompt ends before a token that an answer begins with changes.
    asked = encoding.chat(tokenizer(), prompt).ids
    sides = [example.prompt_ids + side for side in (example.chosen_ids, example.rejected_ids)]
    return {
        "prompt": tokenizer().decode(asked),
        "chosen_text": tokenizer().decode(sides[0]),
        "rejected_text": tokenizer().decode(sides[1]),
        "prompt_tokens": len(asked),
        "chosen_tokens": len(sides[0]),
        "rejected_tokens": len(sides[1]),
    }


ADAPTERS: dict[str, Adapter | WithDraws] = {
    "mark_context": lambda given: mark_paragraphs(given["pieces"]),
    "relevance_keep": lambda given: {"kept": is_relevant(given["reply"])},
    "batched_context_retrieve": batched_context_retrieve,
    "context_pieces": context_pieces,
    "parse_output": lambda given: parsed_answer(given["output"]),
    "f1_score": f1_score,
    "calculate_metrics": lambda given: answer_metrics(given["prediction"], golds(given["answers"])),
    "default_post_process": post_process,
    "infbench_choice": infbench_choice,
    "judge_verdict": judge_verdict,
    "node_scores": node_scores,
    "conversation_structure": conversation_structure,
    "bfs_growth": bfs_growth,
    "select_best_worst": select_best_worst,
    "dpo_text": dpo_text,
    "dpo_loss": dpo_loss,
}

# --- where ours differ: the expected values, written down without the package --------------------------------------


def verdict_text(reply: str) -> str:
    return re.split(r"answer:", reply.lower())[-1]


def only_letters_of_no(reply: str) -> bool:
    """Whether "no" occurs, but not as the first verdict among the words."""
    words = re.findall(r"[^\W_]+", verdict_text(reply))
    first = next((word for word in words if word in ("yes", "maybe", "no", "not", "none")), None)
    return "no" in verdict_text(reply) and first in (None, "yes", "maybe")


def keep_again(given: dict[str, Any], original: list[dict[str, Any]]) -> list[dict[str, Any]]:
    pieces, replies = given["pieces"], given["replies"]
    ours = []
    for question, row in enumerate(original):
        texts = replies[question * len(pieces) : (question + 1) * len(pieces)]
        kept = [i for i, text in enumerate(texts) if i in row["kept"] or only_letters_of_no(text)]
        context = "...\n\n...".join(pieces[i] for i in kept) if kept else None
        ours.append(
            {"kept": kept, "context": context, "marks": " ".join(f"<para {i}>" for i in kept) if kept else None}
        )
    return ours


def yes_or_no(text: str) -> float | None:
    words = [word for word in re.findall(r"\w+", text.lower()) if word in ("yes", "no")]
    return None if not words else float(words[0] == "yes")


def nothing_left(given: dict[str, Any]) -> bool:
    """Whether the letter is A and the output, or what it states, is empty but for articles that are not the letter."""
    texts = (given["output"], re.sub(r"(?is).*?answer:([^\n]*).*", r"\1", given["output"], count=1))
    empty = [not re.sub(r"\b(a|an|the)\b|\W", "", text.lower()) for text in texts]
    says_a = [re.search(r"\ba\b", text.lower()) is not None for text in texts]
    return given["answer"][0] == "A" and any(empty) and not any(says_a)


END = "<|im_end|>"


def says_nothing(turns: list[dict[str, str]]) -> bool:
    return not "".join(turn["content"] for turn in turns).replace(END, "").strip()


def spelled(turns: list[dict[str, str]]) -> int:
    return sum(turn["content"].count(END) for turn in turns)


def more_tokens(given: dict[str, Any], original: dict[str, Any]) -> dict[str, Any]:
    """The original's lengths, where every end token in the data is as long as its letters."""
    longer = len(tokenizer().encode(END, add_special_tokens=False, split_special_tokens=True)) - 1
    before = spelled(given["prompt"])
    return original | {
        "prompt_tokens": original["prompt_tokens"] + longer * before,
        "chosen_tokens": original["chosen_tokens"] + longer * (before + spelled(given["chosen"])),
        "rejected_tokens": original["rejected_tokens"] + longer * (before + spelled(given["rejected"])),
    }


LETTERS_WHY = (
    'the original drops a paragraph for the letters "no" anywhere in the verdict, as in "know", "notes", "now"'
)
NO_PAIR = {"best": None, "worst": None, "best_score": None, "worst_score": None}
BEFORE = "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n"
SAID = {
    "prompt": BEFORE.format("Q"),
    "chosen_text": BEFORE.format("Q") + "A<|im_end|>",
    "rejected_text": BEFORE.format("Q") + "<|im_end|>",
    "prompt_tokens": 16,
    "chosen_tokens": 18,
    "rejected_tokens": 17,
}
SPELLED = {
    "prompt": BEFORE.format(END),
    "chosen_text": BEFORE.format(END) + "A<|im_end|>",
    "rejected_text": BEFORE.format(END) + "B<|im_end|>",
}

DEVIATIONS: list[Deviation] = [
    Deviation(
        function="relevance_keep",
        condition='the letters "no" behind a yes or maybe, or within another word',
        why=LETTERS_WHY,
        when=lambda given: only_letters_of_no(given["reply"]),
        ours=lambda given, original: {"kept": True},
        example={"reply": "Answer: Yes, it notes the date"},
        original={"kept": False},
        value={"kept": True},
    ),
    Deviation(
        function="batched_context_retrieve",
        condition='a reply with the letters "no" behind a yes or maybe, or within another word',
        why=LETTERS_WHY,
        when=lambda given: any(only_letters_of_no(reply) for reply in given["replies"]),
        ours=keep_again,
        example={"pieces": ["P0"], "questions": 1, "replies": ["Answer: maybe, I know"]},
        original=[{"kept": [], "context": None, "marks": None}],
        value=[{"kept": [0], "context": "P0", "marks": "<para 0>"}],
    ),
    Deviation(
        function="judge_verdict",
        condition="the reply's first yes or no is not what stands between blanks",
        why='the original wants "yes" between blanks: "Yes." and "Yes," are a no, and "No, not yes" is a yes; a reply '
        "with neither has no verdict here and is left out, in place of a 0",
        when=lambda given: yes_or_no(given["final_answer"]) != float("yes" in given["final_answer"].lower().split(" ")),
        ours=lambda given, original: yes_or_no(given["final_answer"]),
        example={"final_answer": "Yes."},
        original=0,
        value=1.0,
    ),
    Deviation(
        function="infbench_choice",
        condition="the right letter is A and nothing is left of the output",
        why="the letter A is an article in the normal form, so that the original counts an empty output as right",
        when=nothing_left,
        ours=lambda given, original: original | {"exact_match": original["substring_exact_match"]},
        example={"output": "", "answer": ["A", "A. Paris"]},
        original={
            "exact_match": 1.0,
            "f1": 0.0,
            "rougeL_f1": 0.0,
            "rougeL_recall": 0.0,
            "rougeLsum_f1": 0.0,
            "rougeLsum_recall": 0.0,
            "substring_exact_match": 0.0,
            "parsed_output": "",
        },
        value={
            "exact_match": 0.0,
            "f1": 0.0,
            "rougeL_f1": 0.0,
            "rougeL_recall": 0.0,
            "rougeLsum_f1": 0.0,
            "rougeLsum_recall": 0.0,
            "substring_exact_match": 0.0,
            "parsed_output": "",
        },
    ),
    Deviation(
        function="select_best_worst",
        condition="all nodes have the same score",
        why="the original compares a node with itself, or with an empty conversation where all scores are 2",
        when=lambda given: len(set(given["scores_bfs_order"])) < 2,
        ours=lambda given, original: NO_PAIR,
        example={"branching": 2, "depth": 1, "scores_bfs_order": [2.0, 2.0], "root_score": 0.0},
        original={"best": "n0", "worst": None, "best_score": 2.0, "worst_score": 2},
        value=NO_PAIR,
    ),
    Deviation(
        function="dpo_text",
        condition="an answer says nothing",
        why="the original trains on it; a pair with an empty answer is left out and counted",
        when=lambda given: any(says_nothing(given[side]) for side in ("chosen", "rejected")),
        ours=lambda given, original: {"left_out": "with an empty answer"},
        example={
            "prompt": [{"role": "system", "content": "S"}, {"role": "user", "content": "Q"}],
            "chosen": [{"role": "assistant", "content": "A"}],
            "rejected": [{"role": "assistant", "content": ""}],
        },
        original=SAID,
        value={"left_out": "with an empty answer"},
    ),
    Deviation(
        function="dpo_text",
        condition="both answers are the same",
        why="the original trains on it, with a loss that has no gradient; the pair is left out and counted",
        when=lambda given: given["chosen"] == given["rejected"],
        ours=lambda given, original: {"left_out": "with equal answers"},
        example={
            "prompt": [{"role": "system", "content": "S"}, {"role": "user", "content": "Q"}],
            "chosen": [{"role": "assistant", "content": "A"}],
            "rejected": [{"role": "assistant", "content": "A"}],
        },
        original=SAID,
        value={"left_out": "with equal answers"},
    ),
    Deviation(
        function="dpo_text",
        condition="a message spells out an end token",
        why="the original ends the turn there, so that a document can speak as anybody; ours reads letters",
        when=lambda given: any(spelled(given[side]) for side in ("prompt", "chosen", "rejected")),
        ours=more_tokens,
        example={
            "prompt": [{"role": "system", "content": "S"}, {"role": "user", "content": END}],
            "chosen": [{"role": "assistant", "content": "A"}],
            "rejected": [{"role": "assistant", "content": "B"}],
        },
        original=SPELLED | {"prompt_tokens": 16, "chosen_tokens": 18, "rejected_tokens": 18},
        value=SPELLED | {"prompt_tokens": 22, "chosen_tokens": 24, "rejected_tokens": 24},
    ),
]
