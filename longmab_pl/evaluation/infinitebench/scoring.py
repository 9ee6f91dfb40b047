"""InfiniteBench's scores of one prediction, by the program behind the published tables and by its later state.

`published` is the program of June 2024 (88b3daa), `corrected` that of September 2024 (51d9b37). They differ in
key-value retrieval, En.Dia, En.MC and Code.Debug.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Literal

from longmab_pl.evaluation.longbench.scoring import normalize_zh
from longmab_pl.rewards.answer_match import token_f1
from longmab_pl.rewards.rouge import plain_words, rouge_l_sum

Version = Literal["published", "corrected"]
Label = str | int | float
Labels = Label | Sequence[Label] | Sequence[Sequence[int]]
Scorer = Callable[[str, Labels], float]

_KV_BLANKS = str.maketrans(dict.fromkeys("\n:\"'.,?!{}", " "))
_RUN_BLANKS = str.maketrans(dict.fromkeys("\n.`'\":", " "))
_CHOICE_BLANKS = str.maketrans(dict.fromkeys("\n\"'.,?!{}", " "))
_DEBUG_PREFIXES = ("answer is:", "is:", "answer:", "correct option is:")
_CHOICE_PREFIXES = ("answer is:", "answer:", "answer is", "option is")


def first_integer(text: str) -> str:
    """Return the first run of the digits 0 to 9, or an empty text."""
    found = re.search(r"[0-9]+", text)
    return found[0] if found else ""


def number(prediction: str, labels: Labels) -> float:
    """Return 1 if the first integer is the label (passkey and number string)."""
    return float(first_integer(prediction) == _first(labels))


def key_value(prediction: str, labels: Labels, version: Version = "published") -> float:
    """Return 1 if the label is a word; the published program never finds a label that is given as a list."""
    label = _first(labels) if version == "corrected" else labels
    return float(label in prediction.translate(_KV_BLANKS).split())


def code_run(prediction: str, labels: Labels) -> float:
    """Return 1 if the last word is the label's number; a text label never matches."""
    words = prediction.strip().translate(_RUN_BLANKS).split()
    try:
        return float(bool(words) and int(words[-1]) == _first(labels))
    except ValueError:
        return 0.0


def code_debug(prediction: str, labels: Labels, version: Version = "published") -> float:
    """Return 1 if the answer names the letter of the option, or the function."""
    name, letter = _pair(labels)
    if version == "published":
        if prediction.startswith((f"{letter}.", f"{letter}:")):
            return 1.0
    else:
        last = re.search(r"\b[A-J]\b(?!.*\b[A-J]\b)", prediction)
        if last is not None and last[0] == letter:
            return 1.0
    text = re.sub(r"[`\"'*-]|[Oo]ption", " ", prediction)
    while "  " in text:
        text = text.replace("  ", " ")
    if version == "corrected" and text.startswith((letter, name)):
        return 1.0
    return _after_prefix(text, _DEBUG_PREFIXES, (letter, name)) or 0.0


def math_find(prediction: str, labels: Labels) -> float:
    """Return 1 if the first number, read as the label's type, is the label.

    Raises:
        ValueError: a decimal number for an integer label.
        TypeError: the label is neither an integer nor a decimal number.
    """
    label = _first(labels)
    if not isinstance(label, int | float):
        raise TypeError(f"the label of a math_find item is {type(label).__name__}, not a number")
    found = re.search(r"\d+\.\d+|\d+", prediction)
    if found is None:
        return 0.0
    return float((int if isinstance(label, int) else float)(found[0]) == label)


def dialogue(prediction: str, labels: Labels, version: Version = "published") -> float:
    """Return 1 if the first label is a word of the upper-cased answer (published), or any occurs in it (corrected)."""
    if version == "published":
        return float(_first(labels) in prediction.upper().translate(_KV_BLANKS).split())
    return float(any(str(label).upper() in prediction.upper() for label in _listed(labels)))


def choice(prediction: str, labels: Labels, version: Version = "published") -> float:
    """Return 1 if the answer names the letter, or is the option's text."""
    name, letter = _pair(labels)
    if version == "corrected":
        last = re.search(r"\b[A-D]\b(?!.*\b[A-D]\b)", prediction)
        if last is not None and last[0] == letter:
            return 1.0
    if not prediction:
        return 0.0
    if prediction[0] in "ABCD":
        return float(prediction[0] == letter)
    if prediction in (name, letter):
        return 1.0
    text = prediction.translate(_CHOICE_BLANKS)
    while "  " in text:
        text = text.replace("  ", " ")
    decided = _after_prefix(text, _CHOICE_PREFIXES, (name, letter))
    if decided is not None:
        return decided
    for word in text.split():
        if word in "ABCD":
            return float(word == letter)
    return 0.0


def english_qa(prediction: str, labels: Labels) -> float:
    """Return the best token F1 against an answer, after lower-casing, without punctuation and articles.

    A label that is a text in place of a list counts as its characters, as in the original.
    """
    assert isinstance(labels, Sequence)
    return max(token_f1(prediction, str(label)) for label in labels)


def chinese_qa(prediction: str, labels: Labels) -> float:
    """Return the best F1 against an answer over characters, without punctuation and white space."""
    return max(_f1(list(normalize_zh(prediction)), list(normalize_zh(str(label)))) for label in _listed(labels))


def summary(prediction: str, labels: Labels) -> float:
    """Return ROUGE-Lsum F (`rouge_score` without stemmer), the best over the references."""
    return max(rouge_l_sum(prediction, str(label), plain_words).f1 for label in _listed(labels))


def calculation(prediction: str, labels: Labels, *, skip_first: bool = False) -> float:
    """Return the share of results that are right before the first wrong one.

    Args:
        prediction: the model's text; digit runs count in their order, signs are ignored.
        labels: the results, or a list with the list of results.
        skip_first: leave the first number out, as the original does for GPT-4, which repeats the first operand.
    """
    listed = _listed(labels)
    wanted = listed[0] if listed and isinstance(listed[0], Sequence) and not isinstance(listed[0], str) else listed
    numbers = [int(run) for run in re.findall(r"[0-9]+", prediction)][int(skip_first) :]
    right = 0
    for found, label in zip(numbers, wanted, strict=False):
        if found != label:
            break
        right += 1
    return right / len(wanted)


def _first(labels: Labels) -> object:
    return labels[0] if isinstance(labels, list | tuple) else labels


def _listed(labels: Labels) -> Sequence[object]:
    return labels if isinstance(labels, list | tuple) else [labels]


def _pair(labels: Labels) -> tuple[str, str]:
    assert isinstance(labels, list | tuple)
    return str(labels[0]), str(labels[1])


def _after_prefix(text: str, prefixes: Sequence[str], wanted: tuple[str, ...]) -> float | None:
    """Return whether the text after the first prefix that occurs, and one more character, starts with a wanted text."""
    for prefix in prefixes:
        at = text.find(prefix)
        if at >= 0:
            rest = text[at + len(prefix) + 1 :]
            return float(rest.startswith(wanted))
    return None


def _f1(prediction: list[str], gold: list[str]) -> float:
    common = sum((Counter(prediction) & Counter(gold)).values())
    if not common:
        return 0.0
    precision, recall = common / len(prediction), common / len(gold)
    return 2 * precision * recall / (precision + recall)
