"""Question sets of RULER's QA tasks: files in SQuAD's and HotpotQA's formats, and the shipped questions."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from longmab_pl.data.sources import open_source
from longmab_pl.errors import DataError
from longmab_pl.evaluation.ruler.questions import Question, QuestionSet, hotpot_questions, squad_questions

SQUAD = "dev-v2.0.json of SQuAD 2.0 (rajpurkar.github.io/SQuAD-explorer)"
HOTPOT = "hotpot_dev_distractor_v1.json of HotpotQA (hotpotqa.github.io)"

_PASSAGE = re.compile(r"^Passage \d+: ", re.MULTILINE)


def squad_file(path: str | Path) -> QuestionSet:
    """Return the questions of a file in SQuAD 2.0's format. Raises `DataError` for another format."""
    return _read(path, squad_questions, SQUAD)


def hotpot_file(path: str | Path) -> QuestionSet:
    """Return the questions of a file in HotpotQA's distractor format. Raises `DataError` for another format."""
    return _read(path, hotpot_questions, HOTPOT)


def shipped_questions(hops: int) -> QuestionSet:
    """Return the shipped questions of one or two steps, over all shipped passages.

    The passages that a question needs are gold; the others of its record are related.
    """
    rows = [raw.value for raw in open_source("shipped:synthetic_eval", "train")]
    others = [raw.value for raw in open_source("shipped:synthetic_train", "train")]
    texts = {id(row): _passages(row["context"]) for row in [*rows, *others]}
    documents = sorted({text for passages in texts.values() for text in passages.values()})
    number = {text: i for i, text in enumerate(documents)}
    questions = []
    for row in rows:
        if row["hops"] != hops:
            continue
        passages = texts[id(row)]
        gold = tuple(number[passages[title]] for title in row["evidence"])
        related = tuple(number[text] for title, text in passages.items() if title not in row["evidence"])
        questions.append(Question(row["input"], (row["answer"],), gold, related))
    return QuestionSet(tuple(questions), tuple(documents))


def _passages(context: str) -> dict[str, str]:
    found = {}
    for passage in _PASSAGE.split(context):
        if passage.strip():
            found[passage.split("\n", 1)[0]] = passage.strip()
    return found


def _read(path: str | Path, read: Any, wanted: str) -> QuestionSet:
    try:
        data: QuestionSet = read(json.loads(Path(path).read_text(encoding="utf-8")))
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}); RULER wants {wanted}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path} is not in the format of {wanted}: {error!r:.200}") from error
    if not data.questions:
        raise DataError(f"{path} has no question with an answer; RULER wants {wanted}")
    return data
