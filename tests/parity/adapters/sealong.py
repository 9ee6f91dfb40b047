"""SeaLong: minimum Bayes risk, context assembly, normal forms and the loss."""

from __future__ import annotations

import hashlib
import math
from typing import Any

import torch
from parity import Adapter, Deviation, WithDraws
from resources import tokenizer

from longmab_pl.data.passages import fill_budget, join_passages
from longmab_pl.data.titles import normalize_title, question_documents, title_of_url
from longmab_pl.pairs.selection import best_and_lower_half
from longmab_pl.prompts.reasoning import INSTRUCTIONS, reasoning_prompt
from longmab_pl.rewards.answer_match import normalize_answer, substring_match
from longmab_pl.rewards.consistency import consistency_scores
from longmab_pl.training.losses import ORPO
from longmab_pl.training.losses.base import PairLogps


def mbr_scores(given: dict[str, Any]) -> dict[str, Any]:
    scores = consistency_scores(given["embeddings"], style="original")
    return {"scores": scores.tolist(), "chosen_index": int(scores.argmax())}


def pair_from_scores(given: dict[str, Any]) -> dict[str, Any]:
    scores, predictions = given["scores"], given["predictions"]
    selected = best_and_lower_half(scores)
    if selected is None:
        return {"error": "IndexError"}
    chosen, pool = selected
    hits = [substring_match(text, given["answer"]) for text in predictions]
    answer = predictions[chosen]
    return {
        "chosen_index": chosen,
        "rejected_pool": pool,
        "record_keys": ["chosen", "messages", "prompt", "rejected"],
        "chosen": answer,
        "messages": [{"role": "user", "content": "RP"}, {"role": "assistant", "content": answer}],
        "sub_em_average": 100 * sum(hits) / len(hits),
        "sub_em_max": 100.0 * max(hits),
        "sub_em_chosen": 100.0 * hits[chosen],
    }


def context_assembly(given: dict[str, Any]) -> dict[str, Any]:
    documents = {document["title"]: document for document in given["documents"]}
    tokens = {title: document["tokens"] for title, document in documents.items()}
    order = given["distractor_visit_order"]
    filled = fill_budget(
        sum(tokens[title] for title in given["support"]), [tokens[title] for title in order], given["target_tokens"]
    )
    included = [*given["support"], *(order[i] for i in filled)]
    shuffled = given["draws"]["document_order_after_shuffle"]
    assert sorted(shuffled) == sorted(included), (shuffled, included)
    context = join_passages([documents[title]["unit"] * documents[title]["repeat"] for title in shuffled])
    return {
        "document_order_after_shuffle": shuffled,
        "included": sorted(included),
        "num_tokens": len(tokenizer().tokenize(context)),
        "context_sha1": hashlib.sha1(context.encode()).hexdigest(),
        "context_head": context[:40],
        "context_tail": context[-20:],
    }


def context_text(given: dict[str, Any]) -> dict[str, Any]:
    context = join_passages(given["documents_in_order"])
    return {"context": context, "num_tokens": len(tokenizer().tokenize(context))}


def musique_filter(given: dict[str, Any]) -> dict[str, Any]:
    known = {normalize_title(title) for title in given["wikipedia_titles"]}
    titles = [(paragraph["title"], paragraph["is_supporting"]) for paragraph in given["paragraphs"]]
    documents = question_documents(titles, known) if given["answerable"] else None
    if documents is None:
        return {"kept": False, "support": None, "distractors": None}
    return {"kept": True, "support": sorted(documents.support), "distractors": sorted(documents.distractors)}


def orpo_loss(given: dict[str, Any]) -> dict[str, Any]:
    """The package gives the loss alone: its parts follow from it, and the log odds from the odds term."""
    sides = [torch.tensor(given[f"{name}_token_logps"], dtype=torch.float64) for name in ("chosen", "rejected")]
    sums, lengths = ([f(side) for side in sides] for f in (torch.sum, lambda side: torch.tensor(float(len(side)))))
    policy = PairLogps(*(value.reshape(1) for value in (*sums, *lengths)))
    beta = given["beta"]
    nll = -policy.means()[0].item()
    loss = ORPO(beta)(policy, None).losses.item()
    odds = loss - nll
    return {"log_odds": -math.log(math.expm1(odds / beta)), "or_term": odds, "nll": nll, "loss": loss}


def golds(given: Any) -> list[str]:
    flat = [given] if isinstance(given, str) else given
    return [text for gold in flat for text in ([gold] if isinstance(gold, str) else gold)]


ADAPTERS: dict[str, Adapter | WithDraws] = {
    "normalize_string": lambda given: normalize_title(given["title"]),
    "extract_title": lambda given: title_of_url(given["url"]),
    "normalize_answer": lambda given: normalize_answer(given["text"]),
    "substring_exact_match_score": lambda given: substring_match(given["prediction"], given["gold"]),
    "max_over_golds_subem": lambda given: substring_match(given["prediction"], golds(given["golds"])),
    "raw_prompt_default": lambda given: reasoning_prompt(given["context"], given["question"], INSTRUCTIONS["plain"]),
    "mbr_scores": mbr_scores,
    "pair_from_scores": pair_from_scores,
    "context_assembly": WithDraws(context_assembly, ("document_order_after_shuffle",)),
    "context_text": context_text,
    "musique_filter": musique_filter,
    "orpo_loss": orpo_loss,
}


def supporting(given: dict[str, Any]) -> set[str]:
    return {normalize_title(paragraph["title"]) for paragraph in given["paragraphs"] if paragraph["is_supporting"]}


def both_kinds(given: dict[str, Any]) -> set[str]:
    others = {
        normalize_title(paragraph["title"]) for paragraph in given["paragraphs"] if not paragraph["is_supporting"]
    }
    return supporting(given) & others


NOT_KEPT = {"kept": False, "support": None, "distractors": None}


def without_support(given: dict[str, Any], original: dict[str, Any]) -> dict[str, Any]:
    if not original["kept"]:
        return original
    return original | {"distractors": [title for title in original["distractors"] if title not in supporting(given)]}


def finite_odds(given: dict[str, Any], original: dict[str, Any]) -> dict[str, Any]:
    rejected = math.exp(sum(given["rejected_token_logps"]) / len(given["rejected_token_logps"]))
    return original | {"log_odds": math.log(1e6) - math.log(rejected / (1 - rejected))}


DEVIATIONS: list[Deviation] = [
    Deviation(
        function="musique_filter",
        condition="the question is marked unanswerable",
        why="one unanswerable item ends the original's whole run with an AssertionError; ours leaves the item out",
        when=lambda given: not given["answerable"],
        ours=lambda given, original: NOT_KEPT,
        example={
            "paragraphs": [{"title": "Paris", "is_supporting": True}],
            "answerable": False,
            "wikipedia_titles": ["paris"],
        },
        original={"error": "AssertionError"},
        value=NOT_KEPT,
    ),
    Deviation(
        function="musique_filter",
        condition="no paragraph supports the answer",
        why="the original keeps the item, whose context then holds nothing to answer from",
        when=lambda given: not supporting(given),
        ours=lambda given, original: NOT_KEPT,
        example={
            "paragraphs": [{"title": "Paris", "is_supporting": False}],
            "answerable": True,
            "wikipedia_titles": ["paris"],
        },
        original={"kept": True, "support": [], "distractors": ["paris"]},
        value=NOT_KEPT,
    ),
    Deviation(
        function="musique_filter",
        condition="a title has paragraphs that support the answer and others that do not",
        why="the original counts the article as support and as distractor, so it can stand in one context twice",
        when=lambda given: bool(both_kinds(given)),
        ours=without_support,
        example={
            "paragraphs": [
                {"title": "Paris", "is_supporting": True},
                {"title": "Paris", "is_supporting": False},
                {"title": "Lyon", "is_supporting": False},
            ],
            "answerable": True,
            "wikipedia_titles": ["paris", "lyon"],
        },
        original={"kept": True, "support": ["paris"], "distractors": ["lyon", "paris"]},
        value={"kept": True, "support": ["paris"], "distractors": ["lyon"]},
    ),
    Deviation(
        function="max_over_golds_subem",
        condition="there is no gold answer",
        why="the original fails with an IndexError; nothing can match",
        when=lambda given: given["golds"] == [],
        ours=lambda given, original: False,
        example={"prediction": "Paris", "golds": []},
        original={"error": "IndexError"},
        value=False,
    ),
    Deviation(
        function="orpo_loss",
        condition="the chosen answer has probability 1",
        why="its odds are infinite, and so is their gradient; ours takes a probability of 1 - 1e-6",
        when=lambda given: sum(given["chosen_token_logps"]) == 0,
        ours=finite_odds,
        example={"chosen_token_logps": [0.0], "rejected_token_logps": [math.log(0.5)], "beta": 1.0},
        original={"log_odds": "Infinity", "or_term": -0.0, "nll": -0.0, "loss": -0.0},
        value={"log_odds": math.log(1e6), "or_term": 0.0, "nll": 0.0, "loss": 0.0},
    ),
]
