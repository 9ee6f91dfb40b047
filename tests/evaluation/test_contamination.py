from __future__ import annotations

import random
import time

import pytest

from longmab_pl.data.readers import read_records
from longmab_pl.data.records import QARecord
from longmab_pl.errors import ConfigError
from longmab_pl.evaluation.contamination import find_contamination, normalized, shingles, words


def text(seed: int, n: int = 200) -> str:
    generator = random.Random(seed)
    return " ".join(f"w{generator.randrange(10_000)}" for _ in range(n))


def record(id: str, question: str = "", context: str = "nothing in common") -> QARecord:
    return QARecord(id, question or f"What of {id}?", ("x",), context)


def test_words_leave_out_case_and_punctuation_and_split_scripts_without_spaces() -> None:
    assert normalized("  Who, in “Paris”, was\nIT?  ") == "who in paris was it"
    assert words("谁在2024年ABC?") == ["谁", "在", "2024", "年", "abc"]


def test_a_question_is_found_again_whatever_its_case_punctuation_and_spacing() -> None:
    training = [record("t0", context=text(1)), record("t1", "who  wrote the BOOK", text(2))]
    evaluation = [record("e0", "Who wrote the book?"), record("e1", "Who wrote a book?"), record("e2", " ")]
    found = find_contamination(training, {"qa": evaluation})
    assert [(o.record, o.kind, o.training_record) for o in found.overlaps] == [("e0", "question", "t1")]
    assert (found.checked, found.count("question"), found.count("context")) == (3, 1, 0)
    assert "'e0': its question is in training record 't1'" in found.message()


def test_questions_that_are_empty_in_both_are_no_overlap() -> None:
    blank = QARecord("t", "?!", ("x",), text(1))
    assert not find_contamination([blank], {"summary": [QARecord("e", "", ("x",), text(2))]})


def test_the_same_context_in_other_spacing_and_a_short_one() -> None:
    training = [record("t0", context="A short. Text"), record("t1", context=text(3).replace(" ", "\n").upper())]
    evaluation = {"a": [record("e0", context="a SHORT text!")], "b": [record("e1", context=text(3))]}
    found = find_contamination(training, evaluation)
    assert [(o.task, o.record, o.training_record, o.share) for o in found.overlaps] == [
        ("a", "e0", "t0", 1.0),
        ("b", "e1", "t1", 1.0),
    ]


@pytest.mark.parametrize(("kept", "expected"), [(88, False), (116, True)])
def test_a_context_counts_from_half_of_its_shingles_on(kept: int, expected: bool) -> None:
    listed = text(5).split()  # 188 shingles; the first n words hold n - 12 of them
    training = [record("t0", context=" ".join(listed[:kept]) + " " + text(6))]
    found = find_contamination(training, {"qa": [record("e0", context=" ".join(listed))]})
    assert bool(found) is expected
    if expected:
        assert found.overlaps[0].share == pytest.approx((kept - 12) / 188)
        assert "55% of its context" in found.message()


def test_a_context_put_together_from_several_training_contexts_names_the_one_with_most() -> None:
    parts = [text(seed, n) for seed, n in ((10, 60), (11, 100), (12, 60))]
    training = [record(f"t{i}", context=f"{text(20 + i, 40)} {part}") for i, part in enumerate(parts)]
    found = find_contamination(training, {"qa": [record("e0", context=" ".join(parts))]})
    assert [(o.training_record, round(o.share, 2)) for o in found.overlaps] == [("t1", round((48 + 88 + 48) / 208, 2))]
    assert not find_contamination(training[:1], {"qa": [record("e0", context=" ".join(parts))]})


def test_chinese_contexts_are_compared_by_characters() -> None:
    generator = random.Random(0)
    chinese = "".join(chr(0x4E00 + generator.randrange(3000)) for _ in range(300))
    found = find_contamination(
        [record("t", context="前言。" + chinese[:250])],
        {"zh": [record("e", context="，".join(chinese[i : i + 9] for i in range(0, 300, 9)))]},
    )
    assert found.overlaps[0].share == pytest.approx(238 / 288)


def test_shingles_are_those_of_a_direct_count() -> None:
    listed = [random.Random(i).choice("abc") for i in range(400)]
    direct = {tuple(listed[i : i + 5]) for i in range(396)}
    assert len(shingles(listed, 5)) == len(direct)
    assert set(shingles(listed[7:12], 5)) <= set(shingles(listed, 5))
    assert len(shingles(listed[:4], 5)) == 0


def test_the_shipped_sets_are_clean() -> None:
    training = read_records("shipped:synthetic_train").records
    evaluation = read_records("shipped:synthetic_eval").records
    assert not find_contamination(training, {"qa": evaluation})
    found = find_contamination(training, {"qa": training[:3]})
    assert (found.count("question"), found.count("context")) == (3, 3)


def test_time_grows_with_the_number_of_words_only() -> None:
    evaluation = {"qa": [record(f"e{i}", context=text(1000 + i, 2000)) for i in range(20)]}

    def seconds(n: int) -> float:
        training = [record(f"t{i}", context=text(i, 2000)) for i in range(n)]
        started = time.process_time()
        assert not find_contamination(training, evaluation)
        return time.process_time() - started

    small = min(seconds(20) for _ in range(3))
    assert min(seconds(160) for _ in range(2)) < 8 * 2.5 * small


def test_the_threshold_is_checked() -> None:
    with pytest.raises(ConfigError, match="threshold is 0"):
        find_contamination([], {}, threshold=0)


def test_questions_and_contexts_without_words_never_count() -> None:
    training = [QARecord("t", "", ("x",), " \n")]
    blank = [QARecord("e", "", ("y",), ""), QARecord("f", "?", ("y",), "-")]
    assert not find_contamination(training, {"writing": blank})
