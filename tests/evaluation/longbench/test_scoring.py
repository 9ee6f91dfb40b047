from __future__ import annotations

import gzip
import json
import random
import string
import sys
import warnings
from pathlib import Path

import pytest

from longmab_pl.errors import ConfigError, DataError
from longmab_pl.evaluation.longbench import scoring
from longmab_pl.evaluation.longbench.metrics import score
from longmab_pl.evaluation.longbench.scoring import (
    best_score,
    classification,
    edit_similarity,
    f1_zh,
    first_line,
    rouge_l,
)
from longmab_pl.evaluation.longbench.table import LONGBENCH

VECTORS = Path(__file__).parents[2] / "assets" / "longbench_scores.jsonl.gz"


def test_score_equals_the_official_scorer_on_every_vector() -> None:
    with gzip.open(VECTORS, "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    assert {row["task"] for row in rows} == set(LONGBENCH)
    wrong = [
        row for row in rows if score(row["task"], row["prediction"], row["answers"], row["all_classes"]) != row["score"]
    ]
    assert not wrong


def test_longbench_e_names_score_like_their_task() -> None:
    assert score("qasper_e", "The blue whale.", ["blue whale"]) == 100.0
    assert score("trec_e", "\nDate\nand Food", "Date", ["Food", "Date"]) == 100.0


def test_classification_reproduces_the_list_mutation_bug_and_offers_the_fixed_variant() -> None:
    classes = ["Other", "Other loc", "Other location"]
    # Both shorter labels are proper substrings of the gold one; removing the first skips the second.
    assert classification("Other location", "Other location", classes) == pytest.approx(1 / 2)
    assert classification("Other location", "Other location", classes, fixed=True) == 1.0
    assert classification("Other", "Other location", classes) == 0.0
    assert score("trec", "Other location", "Other location", classes, fixed_classification=True) == 100.0


def test_classification_equals_python_removing_from_the_list_it_iterates() -> None:
    def literally(prediction: str, answer: str, classes: list[str]) -> float:
        matched = [name for name in classes if name in prediction]
        for name in matched:
            if name in answer and name != answer:
                matched.remove(name)
        return 1 / len(matched) if answer in matched else 0.0

    generator = random.Random(0)
    values = set()
    for _ in range(3000):
        classes = ["".join(generator.choices("ab", k=generator.randint(1, 3))) for _ in range(6)]  # repeats included
        prediction = "".join(generator.choices("ab", k=generator.randint(1, 8)))
        answer = generator.choice(classes)
        values.add(got := classification(prediction, answer, classes))
        assert got == literally(prediction, answer, classes)
    assert len(values) > 3


def test_edit_similarity_is_fuzzywuzzy_without_the_levenshtein_package() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fuzz = pytest.importorskip("fuzzywuzzy.fuzz")
    if not fuzz.SequenceMatcher.__module__.startswith("difflib"):
        pytest.skip("fuzzywuzzy uses python-Levenshtein here")
    generator = random.Random(1)
    for _ in range(500):
        a, b = ("".join(generator.choices("xy= (.", k=generator.choice([0, 1, 5, 40, 260]))) for _ in range(2))
        assert edit_similarity(a, b) == fuzz.ratio(a.lstrip("\n"), b) / 100


def test_edit_similarity_takes_the_first_line_that_is_neither_fence_nor_comment() -> None:
    assert edit_similarity("\n```python\n# why\nx = 1 // 2\nreturn x\nreturn y", "return x") == 1.0
    assert edit_similarity("# only a comment", "return x") == 0.0


def test_rouge_does_not_depend_on_how_deep_the_caller_is() -> None:
    # The package recurses about 450 deep here: that and the depth of the caller below exceed Python's limit.
    words = [f"w{i}" for i in range(450)]
    prediction, answer = " ".join(words), " ".join(reversed(words))
    shallow = rouge_l(prediction, answer)
    assert 0 < shallow < 0.1

    def deep(levels: int) -> float:
        return rouge_l(prediction, answer) if levels == 0 else deep(levels - 1)

    assert deep(sys.getrecursionlimit() - 400) == shallow


def test_rouge_of_texts_that_the_package_cannot_handle_is_zero_as_in_the_official_scorer() -> None:
    assert rouge_l("", "a gold summary") == 0.0
    assert rouge_l("...", "a gold summary") == 0.0
    far_too_long = " ".join(f"w{i}" for i in range(1100))
    assert rouge_l(far_too_long, " ".join(reversed(far_too_long.split()))) == 0.0  # RecursionError inside the package


def test_f1_zh_ignores_chinese_punctuation_but_not_the_opening_book_mark() -> None:
    assert f1_zh("厦门大学。", "“厦门大学”") == 1.0
    assert f1_zh("》厦门大学", "厦门大学") == 1.0
    assert f1_zh("《厦门大学", "厦门大学") < 1.0  # the official set lacks it


def test_first_line_strips_newlines_only() -> None:
    assert first_line("\n\n  Date \nType: x") == "  Date "
    assert first_line("") == ""


def test_the_best_gold_answer_counts_and_no_gold_answer_gives_zero() -> None:
    assert best_score("f1", "blue", ["red", "blue"]) == 1.0
    assert best_score("f1", "blue", []) == 0.0


def test_counts_need_equal_digit_strings() -> None:
    assert best_score("count", "07 of 7 in 77", ["7"]) == pytest.approx(1 / 3)
    assert best_score("retrieval", "Paragraph 12, not 3", ["Paragraph 12"]) == 0.5
    assert best_score("retrieval_zh", "没有", ["段落29"]) == 0.0


def test_errors_say_what_to_do() -> None:
    with pytest.raises(ConfigError, match="did you mean 'musique'"):
        score("musiqe", "a", "b")
    with pytest.raises(ConfigError, match="needs all_classes"):
        score("trec", "Date", "Date")
    with pytest.raises(DataError, match="must contain 'Paragraph '"):
        score("passage_retrieval_en", "Paragraph 1", "1")
    with pytest.raises(ConfigError, match="unknown metric 'bleu'"):
        best_score("bleu", "a", ["b"])


def test_a_missing_library_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jieba", None)  # what Python itself does to make an import fail
    scoring._jieba.cache_clear()
    with pytest.raises(ConfigError, match=r"'jieba'.*pip install 'longmab-pl\[longbench\]'"):
        score("multifieldqa_zh", "厦门", "厦门")


def test_jieba_is_silent(capfd: pytest.CaptureFixture[str]) -> None:
    scoring._jieba.cache_clear()
    score("dureader", "厦门大学", "厦门大学")
    assert capfd.readouterr() == ("", "")


def test_normalize_zh_keeps_letters_and_drops_every_ascii_mark() -> None:
    assert scoring.normalize_zh(f" AbC{string.punctuation}　大 学。") == "abc大学"
