from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from longmab_pl.data.truncation import middle_truncated
from longmab_pl.errors import ConfigError, PromptTooLong
from longmab_pl.evaluation.longbench.loading import LongBenchItem
from longmab_pl.evaluation.longbench.table import TASKS
from longmab_pl.evaluation.longbench.task import LongBenchTask, longbench_tasks


def item(number: int = 0, context: str = "A text.", **changes: Any) -> LongBenchItem:
    return replace(LongBenchItem(str(number), "Who?", ("Ada",), context), **changes)


def text_of(ids: tuple[int, ...]) -> str:
    return "".join(map(chr, ids))


def test_middle_truncation_keeps_two_halves_and_an_odd_budget_loses_a_token(tokenizer: Any) -> None:
    assert middle_truncated("abcdefghij", tokenizer, 10) == ("abcdefghij", False)
    assert middle_truncated("abcdefghij", tokenizer, 4) == ("abij", True)
    assert middle_truncated("abcdefghij", tokenizer, 5) == ("abij", True)
    assert middle_truncated("abcdefghij", tokenizer, 1) == ("", True)


def test_chat_tasks_go_through_the_template_and_few_shot_and_code_do_not(tokenizer: Any) -> None:
    chat = LongBenchTask("musique", [item()], TASKS["musique"]).prompt(item(), tokenizer, 10_000)
    filled = TASKS["musique"].prompt.format(context="A text.", input="Who?")
    assert text_of(chat.ids) == f"<u>{filled}</u><a>"
    assert not chat.cut
    plain = LongBenchTask("lcc", [item()], TASKS["lcc"]).prompt(item(), tokenizer, 10_000)
    assert text_of(plain.ids) == TASKS["lcc"].prompt.format(context="A text.")


def test_a_model_without_a_chat_template_gets_the_plain_prompt(tokenizer: Any) -> None:
    tokenizer.chat_template = None
    prompt = LongBenchTask("musique", [item()], TASKS["musique"]).prompt(item(), tokenizer, 10_000)
    assert text_of(prompt.ids) == TASKS["musique"].prompt.format(context="A text.", input="Who?")


def test_the_whole_filled_prompt_is_cut_before_the_template_as_the_official_program_does(tokenizer: Any) -> None:
    spec = replace(TASKS["musique"], prompt="BEGIN {context} {input} END")
    record = item(context="x" * 500)
    prompt = LongBenchTask("musique", [record], spec, max_prompt_tokens=40).prompt(record, tokenizer, 10_000)
    filled = spec.prompt.format(context=record.context, input="Who?")
    assert text_of(prompt.ids) == f"<u>{filled[:20]}{filled[-20:]}</u><a>"
    assert prompt.cut


def test_template_and_response_are_reserved_when_the_models_limit_cuts(tokenizer: Any) -> None:
    record = item(context="x" * 5000)
    task = LongBenchTask("musique", [record], TASKS["musique"])
    prompt = task.prompt(record, tokenizer, 1000)
    assert len(prompt.ids) in (1000 - 32, 1000 - 33)  # an odd budget loses a token
    assert text_of(prompt.ids).startswith("<u>Below are")
    assert text_of(prompt.ids).endswith("Who?\nAnswer:</u><a>")


def test_cut_again_when_encoding_the_halves_gives_more_tokens_than_were_kept(tokenizer: Any) -> None:
    class Growing(type(tokenizer)):  # type: ignore[misc]
        def encode(self, text: str, add_special_tokens: bool = True) -> list[int]:
            return (
                [ord(c) for c in text.replace("x" * 50, "x" * 51)] if text.startswith("<u>") else super().encode(text)
            )

    record = item(context="x" * 5000)
    prompt = LongBenchTask("musique", [record], TASKS["musique"]).prompt(record, Growing(), 1000)
    assert 930 < len(prompt.ids) <= 1000 - 32


def test_no_room_at_all_is_one_clear_error(tokenizer: Any) -> None:
    with pytest.raises(PromptTooLong, match=r"record '0' of task 'musique'.*takes 40 tokens and 32 are kept"):
        LongBenchTask("musique", [item()], TASKS["musique"]).prompt(item(), tokenizer, 40)


def test_braces_in_a_document_are_left_alone(tokenizer: Any) -> None:
    record = item(context="{input} {0} {", question="{context}?")
    prompt = LongBenchTask("musique", [record], TASKS["musique"]).prompt(record, tokenizer, 10_000)
    assert "{input} {0} {" in text_of(prompt.ids)
    assert "{context}?" in text_of(prompt.ids)


def test_scores_are_fractions_and_well_formed_asks_for_digits_where_a_number_is_asked() -> None:
    count = LongBenchTask("passage_count", [item()], TASKS["passage_count"])
    metric = count.metric()
    assert metric.score("7 of 14", ["7"]).scores == {"count": 0.5}
    assert metric.score("7", ["7"]).well_formed
    assert not metric.score("seven", ["7"]).well_formed
    trec = LongBenchTask("trec", [item()], TASKS["trec"])
    labels = ["Date", "Food"]
    assert trec.metric().score("\nDate\nFood", ["Date"], labels).scores == {"classification": 1.0}
    assert not trec.metric().score(" \n", ["Date"], labels).well_formed


def test_classification_without_the_list_mutation_bug_is_the_tasks_choice() -> None:
    labels = ["Other", "Other location", "Other entity"]
    said = {"prediction": "Other location, not Other entity", "answers": ["Other location"], "all_classes": labels}
    official, fixed = (
        LongBenchTask("trec", [item()], TASKS["trec"], fixed_classification=choice).metric() for choice in (False, True)
    )
    assert official.score(**said).scores == fixed.score(**said).scores == {"classification": 0.5}
    said["all_classes"] = ["Other", "location", "Other location"]
    assert official.score(**said).scores["classification"] < fixed.score(**said).scores["classification"] == 1.0


def test_greedy_and_the_tasks_own_length(tokenizer: Any) -> None:
    task = LongBenchTask("gov_report", [item()], TASKS["gov_report"], presence_penalty=1.0)
    assert (task.sampling.temperature, task.sampling.max_tokens, task.sampling.presence_penalty) == (0.0, 512, 1.0)


def test_official_wording_and_lengths_replace_ours_for_longbench_e_too(tmp_path: Path) -> None:
    (tmp_path / "dataset2prompt.json").write_text('{"qasper": "OFFICIAL {context} | {input}"}')
    (tmp_path / "dataset2maxlen.json").write_text('{"qasper": 5}')
    row = '{"_id": "a", "input": "Who?", "context": "c", "answers": ["Ada"], "length": 5000}\n'
    (tmp_path / "qasper_e.jsonl").write_text(row)
    (task,), _ = longbench_tasks(tmp_path, ["qasper_e"], official=tmp_path)
    assert (task.spec.prompt, task.spec.max_new_tokens) == ("OFFICIAL {context} | {input}", 5)
    assert task.buckets() == {"0-4k": [], "4-8k": ["a"], "8k+": []}
    assert "OFFICIAL" in str(task.settings())


def test_settings_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ConfigError, match="has no records"):
        LongBenchTask("musique", [], TASKS["musique"])
    with pytest.raises(ConfigError, match="max_prompt_tokens of evaluation task 'musique' is 1"):
        LongBenchTask("musique", [item()], TASKS["musique"], max_prompt_tokens=1)
