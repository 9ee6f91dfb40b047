"""Suites of long answers through `longmab evaluate`: scores, buckets, judges, and rows that cannot be used."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from longmab_pl.cli.evaluate import evaluate
from longmab_pl.engines import ScriptedEngine
from longmab_pl.errors import DataError
from longmab_pl.evaluation import Judge, LongBenchWriteSuite, LongGenBenchSuite
from longmab_pl.evaluation.longbench_write import DIMENSIONS
from longmab_pl.evaluation.longbench_write_suite import quality_form
from longmab_pl.evaluation.short_names import SHORT_NAMES


def text_of(request):
    from tokenizers import pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    return "".join(alphabet[i - 1] if i else "<end>" for i in request.prompt_ids).replace("Ġ", " ").replace("Ċ", "\n")


def run(tmp_path, tiny_model, suite, answer, out="out"):
    engine = ScriptedEngine(answer)
    result = evaluate(model=tiny_model, suite=suite, out=str(tmp_path / out), engine=engine)[suite.name]
    return suite.scores(result), result


@pytest.fixture
def instructions(tmp_path):
    rows = [
        {"prompt": "Write a story. WORDS=100", "type": "Story", "length": 100},
        {"prompt": "Write a story. WORDS=300", "type": "Story", "length": 100},
        {"prompt": "Write an essay. WORDS=0", "type": "Essay", "length": 3000},
        {"prompt": "Write an essay. WORDS=2000", "type": "Essay", "length": 3000},
        {"prompt": "No length.", "length": 0},
    ]
    path = tmp_path / "write.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def as_told(request, i):
    """As many words as the instruction says."""
    return " ".join(["word"] * int(re.search(r"WORDS=(\d+)", text_of(request))[1]))


def test_length_scores_are_those_of_longwriter_by_bucket_and_zero_words_do_not_crash(
    tmp_path, tiny_model, instructions, capsys
):
    scores, result = run(tmp_path, tiny_model, LongBenchWriteSuite(instructions, max_new_tokens=400), as_told)
    # 100 of 100 words; 300 of 100: 100 (1 - 2/3); none; 2000 of 3000: 100 (1 - 0.5/2).
    assert scores["s_l"].value == pytest.approx((100 + 33.33 + 0 + 75) / 4, abs=0.01)
    assert scores["s_l-words-0-500"].value == pytest.approx(66.67, abs=0.01)
    assert scores["s_l-words-2000-4000"].value == 37.5
    assert scores["s_l-type-Essay"].value == 37.5
    assert scores["score"] == scores["s_l"]
    assert scores["repetition"].value > 70
    assert "s_q" not in scores
    assert result.tasks["longbench_write"].n == 4
    assert "1 rows left out" in capsys.readouterr().err


def dims(value):
    return dict.fromkeys(DIMENSIONS, value)


def rating(request, i):
    """5 for the shortest text, no verdict for the essay, 3 for others."""
    text = re.search(r"<\w+-text>\n(.*?)\n</", text_of(request), re.DOTALL)[1]
    words = len(text.split())
    return "Hm." if words == 2000 else json.dumps(dims(5 if words == 100 else 3))


def test_quality_is_the_mean_of_six_judged_dimensions_and_an_unjudged_text_keeps_its_length_score(
    tmp_path, tiny_model, instructions
):
    judge = ScriptedEngine(rating)
    suite = LongBenchWriteSuite(instructions, Judge(tiny_model, judge), max_new_tokens=400)
    scores, result = run(tmp_path, tiny_model, suite, as_told)
    assert scores["s_q"].value == 75.0
    assert scores["s_q-Breadth-and-Depth"].value == 75.0
    assert scores["score"].value == pytest.approx((scores["s_l"].value + 75) / 2)
    assert scores["unrated"].value == 2, "the empty text and the one without a verdict"
    assert result.tasks["longbench_write"].n == 4
    reasons = result.tasks["longbench_write_quality"].skipped
    assert "empty answer" in reasons["3"]
    assert "no verdict" in reasons["4"]
    asked = len(judge.asked)
    again = LongBenchWriteSuite(instructions, Judge(tiny_model, ScriptedEngine(rating)), max_new_tokens=400)
    assert run(tmp_path, tiny_model, again, as_told)[0] == scores
    assert again.judge.engine.asked == []
    assert asked == 3, "three texts, one attempt each"


def test_a_judge_that_says_nothing_usable_is_named(tmp_path, tiny_model, instructions):
    suite = LongBenchWriteSuite(instructions, Judge(tiny_model, ScriptedEngine(lambda r, i: "?")), max_new_tokens=400)
    with pytest.raises(DataError, match="rated none of 4 answers"):
        run(tmp_path, tiny_model, suite, as_told)


def test_the_schema_of_quality_asks_for_all_dimensions():
    form = quality_form(structured=True)
    assert json.loads(form.schema)["required"] == ["analysis", *DIMENSIONS]
    assert form.parse(json.dumps({"analysis": "", **dims(2)})) == dims(2.0)
    assert form.parse(json.dumps(dims(6))) is None


def test_a_file_without_lengths_is_refused_with_its_first_row(tmp_path, tiny_model):
    path = tmp_path / "none.jsonl"
    path.write_text('{"prompt": "Write."}\n')
    with pytest.raises(DataError, match=r"none\.jsonl:1: length is missing"):
        LongBenchWriteSuite(str(path)).tasks(None, None)


def test_the_shipped_instructions_are_a_suite(tmp_path, tiny_model):
    suite = LongBenchWriteSuite("shipped:writing_eval", limit=5, max_new_tokens=100)
    scores, _ = run(tmp_path, tiny_model, suite, lambda request, i: "One short sentence.")
    assert 0 <= scores["s_l"].value < 10


# LongGenBench


@pytest.fixture
def sections(tmp_path):
    row = {
        "prompt": "Write a diary of 3 weeks. *** started ***\n#*# Week 1:",
        "prefix": "#*# Week 1:",
        "type": "Week",
        "number": 3,
        "checks_once": {"1": "my wife birthday"},
        "checks_range": {"2": "Sailing school", "3": "Sailing school"},
        "checks_periodic": {},
    }
    path = tmp_path / "Dataset.json"
    path.write_text(json.dumps([row, row | {"type": "Floor", "prefix": "", "checks_once": {}}]))
    return str(path)


DIARY = " It was my wife's birthday. #*# Week 2: Nothing happened in the rain."


def test_sections_and_tasks_are_counted_from_the_prefix_on(tmp_path, tiny_model, sections):
    scores, result = run(tmp_path, tiny_model, LongGenBenchSuite(sections, max_new_tokens=200), lambda r, i: DIARY)
    first, second = result.tasks["longgenbench"].items
    assert first.scores["completion"] == pytest.approx(2 / 3)
    assert first.scores["stc1"] == 0.5
    assert first.scores["stc2"] == pytest.approx(1 / 3)
    assert (first.scores["once"], first.scores["range"], first.scores["periodic"]) == (1.0, 0.0, 0.0)
    assert (second.scores["completion"], second.well_formed) == (0.0, False)
    assert scores["completion"].value == pytest.approx(33.33, abs=0.01)
    assert scores["score"].value == pytest.approx((33.33 + 16.67) / 2, abs=0.01)


def test_a_judge_decides_whether_a_section_fulfils_its_task(tmp_path, tiny_model, sections):
    def yes_to_sailing(request, i):
        task = re.search(r"<\w+-task>\n(.*?)\n</", text_of(request))[1]
        return json.dumps({"answer": "yes" if "Sailing" in task else "no"})

    judge = ScriptedEngine(yes_to_sailing)
    suite = LongGenBenchSuite(sections, Judge(tiny_model, judge), max_new_tokens=200)
    _, result = run(tmp_path, tiny_model, suite, lambda r, i: DIARY)
    first = result.tasks["longgenbench"].items[0]
    assert (first.scores["once"], first.scores["range"]) == (0.0, 0.5)
    assert len(judge.asked) == 2, "week 3 is not there"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"number": 0}, "field 'number'"),
        ({"checks_once": ["a"]}, "field 'checks_once'"),
        ({"checks_range": {"x": "a"}}, "field 'checks_range'"),
        ({"type": None}, "field 'type'"),
    ],
)
def test_rows_of_another_form_are_named(tmp_path, sections, change, message):
    rows = json.loads(Path(sections).read_text())
    path = tmp_path / "bad.json"
    path.write_text(json.dumps([rows[0] | change]))
    with pytest.raises(DataError, match=f"row 1: {message}"):
        LongGenBenchSuite(str(path)).tasks(None, None)


def test_both_have_short_names():
    assert {"longbench_write", "longgenbench"} <= set(SHORT_NAMES)
