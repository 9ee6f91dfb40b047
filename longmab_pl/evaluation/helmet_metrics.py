"""HELMET's metrics of short answers: exact match, F1, substring match and ROUGE, over the raw and the parsed output."""

from __future__ import annotations

import string
from collections.abc import Sequence

from longmab_pl.rewards.answer_match import normalize_answer, substring_match, token_f1
from longmab_pl.rewards.parsed_answer import parsed_answer
from longmab_pl.rewards.rouge import rouge_l, rouge_l_sum

_CLOSED = frozenset({"yes", "no", "noanswer"})


def closed_f1(prediction: str, gold: str) -> float:
    """Return the token F1, where "yes", "no" and "noanswer" match only as the whole answer.

    Example:
        >>> closed_f1("yes it is", "yes"), closed_f1("blue whale whale", "whale blue")
        (0.0, 0.8)

    Source: HELMET, `utils.f1_score`.
    """
    ours, theirs = normalize_answer(prediction), normalize_answer(gold)
    if ours != theirs and (ours in _CLOSED or theirs in _CLOSED):
        return 0.0
    return token_f1(prediction, gold)


def answer_metrics(prediction: str, golds: Sequence[str]) -> dict[str, float]:
    """Return each metric of one text, the best over the gold answers.

    Source: HELMET, `utils.calculate_metrics`.
    """
    rouge, rouge_sum = ([f(prediction, gold) for gold in golds] for f in (rouge_l, rouge_l_sum))
    normal = normalize_answer(prediction)
    return {
        "exact_match": float(any(normal == normalize_answer(gold) for gold in golds)),
        "f1": max((closed_f1(prediction, gold) for gold in golds), default=0.0),
        "substring_exact_match": float(substring_match(prediction, golds)),
        "rougeL_f1": max((r.f1 for r in rouge), default=0.0),
        "rougeL_recall": max((r.recall for r in rouge), default=0.0),
        "rougeLsum_f1": max((r.f1 for r in rouge_sum), default=0.0),
        "rougeLsum_recall": max((r.recall for r in rouge_sum), default=0.0),
    }


def output_metrics(output: str, golds: Sequence[str]) -> dict[str, float]:
    """Return each metric of an output: the better of the whole text and of the answer parsed from it.

    Example:
        >>> output_metrics("I think so.\\nAnswer: Paris", ["Paris"])["exact_match"]
        1.0

    Source: HELMET, `default_post_process`.
    """
    raw, stated = (answer_metrics(text, golds) for text in (output, parsed_answer(output)))
    return {name: max(raw[name], stated[name]) for name in raw}


def choice_metrics(output: str, letter: str, option: str) -> dict[str, float]:
    """Return the metrics of an answer to a question with options.

    An exact match is the letter, the option as it was shown, or an output that holds the option as it was shown; the
    substring match is the last of these. An output that is empty after normalization is no match, although the letter A
    is an article in the answers' normal form.

    Args:
        output: the model's text.
        letter: of the right option: "A".
        option: the right option as it was shown: "A. Paris".

    Source: HELMET, InfiniteBench's multiple choice.
    """
    metrics = output_metrics(output, [letter, option])
    holds = float(option.lower() in output.lower())
    if not any(_names(text, letter) or _same(text, option) for text in (output, parsed_answer(output))):
        metrics["exact_match"] = 0.0
    return metrics | {"exact_match": max(metrics["exact_match"], holds), "substring_exact_match": holds}


def _names(text: str, letter: str) -> bool:
    return letter.lower() in text.lower().translate(str.maketrans("", "", string.punctuation)).split()


def _same(text: str, option: str) -> bool:
    return normalize_answer(text) == normalize_answer(option)
