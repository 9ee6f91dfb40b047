from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from longmab_pl.errors import ConfigError
from longmab_pl.evaluation.needle.heat_map import (
    NeedleMap,
    draw_needle_maps,
    needle_map,
    needle_table,
)
from longmab_pl.evaluation.needle.suite import NeedleSuite
from longmab_pl.evaluation.needle.task import NEEDLES, NeedleSettings, needle_task
from longmab_pl.evaluation.runner import evaluate
from longmab_pl.evaluation.suite import SuiteContext
from longmab_pl.prompts.formats import ReasonThenAnswer

SMALL = NeedleSettings(lengths=[600, 1200], depths=[0, 50, 100], needles=4, max_new_tokens=20)


def needle_in(context: str, answer: str) -> str:
    """The sentence with the answer."""
    return next(s for s in re.split(r"(?<=\.)\s+", context) if answer in s)


def answer(prompt: str) -> str:
    """A reader that finds what stands in the first or the last 90 characters of the text."""
    text, question = prompt.split("\n\nQuestion: ")
    name = re.search(r"[A-Z][a-z]+ton", question).group()  # type: ignore[union-attr]
    text = text.split("Text:\n")[1]
    seen = text[:90] + text[-90:]
    found = [s for s in re.split(r"(?<=\.)\s+", seen) if name in s]
    return f" It is {re.search(r'[0-9]{5}', found[0]).group()}." if found else " I do not know."  # type: ignore[union-attr]


def test_every_prompt_fills_its_length_and_holds_its_needle_once_where_asked(tokenizer: Any) -> None:
    task = needle_task(SMALL, tokenizer)
    assert [r.id for r in task.records[:7]] == ["600-0-0", "600-50-0", "600-100-0", "1200-0-0", "1200-50-0",
                                                "1200-100-0", "600-0-1"]  # fmt: skip
    for record in task.records:
        n = len(task.prompt(record, tokenizer, record.length).ids)
        assert record.length - 120 < n + 20 <= record.length, "full but for less than a sentence"
        assert record.context.count(record.answer) == 1
        place = 100 * record.context.index(needle_in(record.context, record.answer)) / len(record.context)
        assert place == pytest.approx(record.depth, abs=20 if record.length == 600 else 10)
        assert record.stands_at == pytest.approx(record.depth, abs=8)
        assert not re.search(r"\d{5}", record.context.replace(record.answer, ""))


def test_every_needle_has_a_haystack_of_its_own_and_depths_and_lengths_share_it(tokenizer: Any) -> None:
    task = needle_task(SMALL, tokenizer)
    hay = {}
    for record in task.records:
        text = re.sub(r"\s+", " ", record.context.replace(needle_in(record.context, record.answer), ""))
        hay[record.id] = text.strip()
    assert hay["600-0-0"] == hay["600-50-0"] == hay["600-100-0"]
    assert hay["1200-50-2"].startswith(hay["600-0-2"]), "so an engine's prefix cache holds it"
    assert len({hay[f"1200-0-{i}"] for i in range(4)}) == 4
    assert len({r.answer for r in task.records}) == 4
    questions = {r.question for r in task.records}
    assert len(questions) == len(NEEDLES) == 4


def test_the_same_settings_give_the_same_prompts_and_the_seed_other_ones(tokenizer: Any) -> None:
    assert needle_task(SMALL, tokenizer).records == needle_task(SMALL, tokenizer).records
    other = NeedleSettings(lengths=[600, 1200], depths=[0, 50, 100], needles=4, seed=1)
    mine = {r.answer for r in needle_task(SMALL, tokenizer).records}
    assert mine.isdisjoint(r.answer for r in needle_task(other, tokenizer).records)


def test_rivals_have_the_needles_form_and_other_names_and_numbers(tokenizer: Any) -> None:
    options = NeedleSettings(lengths=[1500], depths=[50], needles=1, rivals=3)
    (record,) = needle_task(options, tokenizer).records
    numbers = re.findall(r"The access code of the vault in (\w+) is (\d{5})\.", record.context)
    assert len(numbers) == len(dict(numbers)) == 4
    assert dict(numbers)[re.search(r"in (\w+)\?", record.question).group(1)] == record.answer  # type: ignore[union-attr]


def test_an_answer_counts_if_the_number_is_a_word_of_it(tokenizer: Any) -> None:
    task = needle_task(SMALL, tokenizer)
    record = task.records[0]
    number = record.answer
    said = {
        f"It is {number}.": 1,
        f"{number[:2]},{number[2:]}": 1,
        f"Answer:{number[:2]} {number[2:]}": 1,
        f"{number}7": 0,
        f"7 {number}.": 1,
        "I cannot say": 0,
        "": 0,
    }
    metric = task.metric()
    for text, expected in said.items():
        assert metric.score(text, [number]).scores == {"accuracy": expected}, text
    assert metric.score("12345", [number]).well_formed
    assert not metric.score("no number", [number]).well_formed


def test_the_map_shows_where_a_reader_of_beginnings_and_ends_fails(scripted_engine: Any, tokenizer: Any) -> None:
    task = needle_task(SMALL, tokenizer)
    result = evaluate(task, scripted_engine(answer), tokenizer, progress=False)
    found = needle_map(SMALL, result.tasks["needle"])
    assert found.lengths == (600, 1200)
    assert found.depths == (0, 50, 100)
    assert found.accuracy == ((100.0, 0.0, 100.0), (100.0, 0.0, 100.0))
    assert found.asked == ((4, 4, 4), (4, 4, 4))
    assert found.by_depth() == (100.0, 0.0, 100.0)
    assert found.spread() == 100.0
    assert found.by_length() == pytest.approx((200 / 3, 200 / 3))
    assert result.tasks["needle"].buckets["depth 50%"] == {"score": 0.0, "n": 8}
    assert result.tasks["needle"].buckets["length 600"] == {"score": 66.67, "n": 12}


def test_a_length_over_the_engines_limit_is_left_out_and_said(scripted_engine: Any, tokenizer: Any) -> None:
    task = needle_task(SMALL, tokenizer)
    result = evaluate(task, scripted_engine(answer, max_model_len=1000), tokenizer, progress=False).tasks["needle"]
    assert result.n == 12
    assert len(result.skipped) == 12
    assert "leave this length out" in result.skipped["1200-0-0"]
    found = needle_map(SMALL, result)
    assert found.accuracy[1] == (None, None, None)
    assert found.by_length()[1] is None
    assert found.by_depth() == (100.0, 0.0, 100.0)
    assert found.longest(at_least=60) == 600


def test_haystacks_of_a_text_of_ones_own(tokenizer: Any, tmp_path: Path) -> None:
    file = tmp_path / "essay.txt"
    file.write_text("The sea is grey today. Nobody walks\non the beach! Where did they go?")
    found = needle_task(replace(SMALL, essay=str(file)), tokenizer).records
    for made in found:
        hay = made.context
        assert hay.count("The sea is grey today. Nobody walks on the beach! Where did they go?") >= 2
        assert made.answers[0] in hay
        assert made.length - 60 < len(needle_task(SMALL, tokenizer).prompt(made, tokenizer, 10_000).ids) + 32
    file.write_text(" ")
    with pytest.raises(ConfigError, match=r"the running text .* is empty"):
        needle_task(replace(SMALL, essay=str(file)), tokenizer)


def test_lengths_that_are_all_over_the_models_limit_are_refused(tokenizer: Any) -> None:
    with pytest.raises(ConfigError, match=r"needle.lengths is \[600, 1200\] and the model takes 512 tokens"):
        NeedleSuite(SMALL).tasks(tokenizer, SuiteContext(max_model_len=512))
    assert NeedleSuite(SMALL).tasks(tokenizer, SuiteContext(max_model_len=600))


def test_table_and_picture() -> None:
    first = NeedleMap(
        (512, 4096), (0.0, 50.0, 100.0), ((100.0, 50.0, 100.0), (75.0, None, 25.0)), ((4, 4, 4), (4, 0, 4))
    )
    figure = draw_needle_maps({"before": first, "after": first})
    shown = {text.get_text() for axis in figure.axes for text in axis.texts}
    assert shown == {"100", "50", "75", "25", "–"}
    assert {axis.get_title(loc="left") for axis in figure.axes} >= {"before", "after"}
    assert [image.get_clim() for axis in figure.axes for image in axis.images] == [(0, 100)] * 2
    rows = [list(column.cells) for column in needle_table({"m": first}).columns]
    assert rows == [["0%", "50%", "100%", "mean"], ["100", "50", "100", "83"], ["75", "–", "25", "50"],
                    ["88", "50", "62", "67"]]  # fmt: skip


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lengths": []}, "at least one"),
        ({"lengths": [5, 5]}, "each once"),
        ({"lengths": [0]}, "numbers of tokens"),
        ({"depths": [101]}, "from 0 to 100"),
        ({"needles": 0}, "needles is 0"),
        ({"rivals": -1}, "rivals is -1"),
        ({"max_new_tokens": 0}, "max_new_tokens is 0"),
    ],
)
def test_settings_are_checked(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        NeedleSettings(**change)


def test_a_length_without_room_is_refused_and_says_how_much_the_rest_takes(tokenizer: Any) -> None:
    with pytest.raises(ConfigError, match=r"needle.lengths has 100, which leaves no room .* take \d+ tokens"):
        needle_task(NeedleSettings(lengths=[100]), tokenizer)
    longer = needle_task(NeedleSettings(lengths=[900], depths=[0], needles=1), tokenizer, ReasonThenAnswer())
    assert "step by step" in "".join(map(chr, longer.prompt(longer.records[0], tokenizer, 900).ids))
