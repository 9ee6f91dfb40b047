from __future__ import annotations

import json
from pathlib import Path

import pytest

from longmab_pl.errors import ConfigError
from longmab_pl.evaluation.longbench.scoring import SCORERS
from longmab_pl.evaluation.longbench.table import (
    GROUPS,
    LONGBENCH,
    LONGBENCH_E,
    TASKS,
    custom_spec,
    expand_tasks,
    length_bucket,
    official_settings,
    task_spec,
)

OFFICIAL_MAX_LENGTH = {
    "narrativeqa": 128, "qasper": 128, "multifieldqa_en": 64, "multifieldqa_zh": 64, "hotpotqa": 32, "2wikimqa": 32,
    "musique": 32, "dureader": 128, "gov_report": 512, "qmsum": 512, "multi_news": 512, "vcsum": 512, "trec": 64,
    "triviaqa": 32, "samsum": 128, "lsht": 64, "passage_count": 32, "passage_retrieval_en": 32,
    "passage_retrieval_zh": 32, "lcc": 64, "repobench-p": 64,
}  # fmt: skip


def test_the_table_is_longbench_with_the_official_lengths_and_flags() -> None:
    assert {name: TASKS[name].max_new_tokens for name in LONGBENCH} == OFFICIAL_MAX_LENGTH
    no_chat = {name for name in LONGBENCH if not TASKS[name].chat}
    assert no_chat == {"trec", "triviaqa", "samsum", "lsht", "lcc", "repobench-p"}
    assert {name for name in LONGBENCH if TASKS[name].first_line} == no_chat - {"lcc", "repobench-p"}
    assert {spec.metric for spec in TASKS.values()} == set(SCORERS)
    assert {spec.name for spec in TASKS.values() if spec.language == "zh"} == {
        "multifieldqa_zh", "dureader", "vcsum", "lsht", "passage_retrieval_zh",
    }  # fmt: skip
    assert len(LONGBENCH_E) == 13
    assert "musique_e" not in LONGBENCH_E


def test_every_prompt_takes_context_and_the_question_where_the_task_has_one() -> None:
    without_question = {"gov_report", "multi_news", "vcsum", "passage_count", "lcc"}
    for name, spec in TASKS.items():
        filled = spec.prompt.format(context="{CONTEXT}", input="{INPUT}")
        assert filled.count("{CONTEXT}") == 1, name
        assert filled.count("{INPUT}") == (name not in without_question), name
        assert spec.asks_input == (name not in without_question)


def test_lookup_by_longbench_e_name_and_by_group() -> None:
    assert task_spec("qasper_e") is TASKS["qasper"]
    assert expand_tasks(["infinitebench", "musique", "longbench"]) == [
        "longbook_qa_eng", "musique", *(name for name in LONGBENCH if name != "musique"),
    ]  # fmt: skip
    assert set(GROUPS) == {"longbench", "longbench_e", "infinitebench"}


def test_unknown_tasks_name_close_matches() -> None:
    with pytest.raises(ConfigError, match="'hotpot_qa'; did you mean 'hotpotqa'"):
        task_spec("hotpot_qa")
    with pytest.raises(ConfigError, match="did you mean 'my_books'"):
        task_spec("mybooks", known=["my_books"])
    with pytest.raises(ConfigError, match="known tasks: narrativeqa"):
        task_spec("zzzzzzzz")


def test_buckets() -> None:
    assert [length_bucket(n) for n in (0, 3999, 4000, 7999, 8000)] == ["0-4k", "0-4k", "4-8k", "4-8k", "8k+"]


def test_custom_tasks_are_asked_in_their_language() -> None:
    assert custom_spec("mine", "zh").metric == "f1_zh"
    assert custom_spec("mine", "python").metric == "f1"
    assert "问题" in custom_spec("mine", "zh").prompt


def write(folder: Path, prompts: object = None, lengths: object = None) -> Path:
    if prompts is not None:
        (folder / "dataset2prompt.json").write_text(json.dumps(prompts))
    if lengths is not None:
        (folder / "dataset2maxlen.json").write_text(json.dumps(lengths))
    return folder


def test_official_settings_are_read_and_either_file_may_be_absent(tmp_path: Path) -> None:
    assert official_settings(write(tmp_path, lengths={"musique": 7})) == ({}, {"musique": 7})
    assert official_settings(write(tmp_path, {"musique": "A {context} B {input}"})) == (
        {"musique": "A {context} B {input}"},
        {"musique": 7},
    )


@pytest.mark.parametrize(
    ("prompts", "lengths", "message"),
    [
        (
            {"musique": "only {input}"},
            None,
            r"'musique': the prompt's fields are \['input'\]; it must have \{context\}",
        ),
        ({"musique": "{context} {title}"}, None, "and no other"),
        ({"musique": "{context} {"}, None, "not a template"),
        ({"musique": 3}, None, "must be a string"),
        (["musique"], None, "one JSON object"),
        (None, {"musique": 0}, "not a positive number of tokens"),
        (None, None, "holds neither dataset2prompt.json nor dataset2maxlen.json"),
    ],
)
def test_wrong_official_settings_say_where(tmp_path: Path, prompts: object, lengths: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        official_settings(write(tmp_path, prompts, lengths))
