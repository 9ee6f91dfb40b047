from __future__ import annotations

from typing import Any

import pytest

from longmab_pl.data.records import QARecord
from longmab_pl.engines.protocol import Sampling
from longmab_pl.errors import ConfigError, PromptTooLong
from longmab_pl.evaluation.qa import QASuite, QATask
from longmab_pl.prompts.formats import DirectAnswer, ReasonThenAnswer

SHORT = Sampling(temperature=0.0, max_tokens=20)


def record(context: str = "A text.") -> QARecord:
    return QARecord("r1", "Who?", ("Ada", "Lovelace"), context)


def text_of(ids: tuple[int, ...]) -> str:
    return "".join(map(chr, ids))


def test_the_default_sampling_is_the_authors() -> None:
    sampling = QATask("qa", [record()], ReasonThenAnswer()).sampling
    assert (sampling.temperature, sampling.presence_penalty, sampling.max_tokens) == (0.0, 1.0, 1024)


def test_the_prompt_is_the_protocols_own_when_everything_fits(tokenizer: Any) -> None:
    protocol = DirectAnswer()
    prompt = QATask("qa", [record()], protocol, SHORT).prompt(record(), tokenizer, 10_000)
    assert prompt.ids == protocol.prompt_ids(tokenizer, "A text.", "Who?")
    assert not prompt.cut


@pytest.mark.parametrize(("max_context_tokens", "max_model_len", "kept"), [(10, 10_000, 10), (None, 500, None)])
def test_only_the_context_is_cut(
    tokenizer: Any, max_context_tokens: int | None, max_model_len: int, kept: int | None
) -> None:
    protocol = DirectAnswer()
    context = "a" * 3000 + "z" * 3000
    prompt = QATask("qa", [record()], protocol, SHORT, max_context_tokens).prompt(
        record(context), tokenizer, max_model_len
    )
    kept = kept or 500 - 20 - protocol.prompt_overhead(tokenizer, "Who?")
    half = kept // 2
    assert prompt.cut
    assert prompt.ids == protocol.prompt_ids(tokenizer, "a" * half + "z" * half, "Who?")


def test_the_whole_prompt_is_cut_as_in_the_authors_program(tokenizer: Any) -> None:
    long = "a" * 3000 + "z" * 3000
    (task,) = [QATask("qa", [record(long)], ReasonThenAnswer(), SHORT, 401, cut="prompt")]
    filled = ReasonThenAnswer().messages(long, "Who?")[0]["content"]
    prompt = task.prompt(record(long), tokenizer, 10_000)
    assert prompt.cut
    assert text_of(prompt.ids) == f"<u>{filled[:200]}{filled[-201:]}</u><a>", "the odd token is the end's"
    assert task.prompt(record(), tokenizer, 10_000).ids == ReasonThenAnswer().prompt_ids(tokenizer, "A text.", "Who?")
    direct = QATask("qa", [record()], DirectAnswer(), SHORT, cut="prompt")
    assert direct.prompt(record(), tokenizer, 10_000).ids == DirectAnswer().prompt_ids(tokenizer, "A text.", "Who?")
    assert task.settings()["cut"] == "prompt"
    with pytest.raises(ConfigError, match="not 'today'; leave them out"):
        QATask("qa", [record()], ReasonThenAnswer(template_arguments={"today": "2025-01-01"}), SHORT, cut="prompt")
    with pytest.raises(ConfigError, match=r"QASuite\.cut is 'middle'"):
        QASuite("q.jsonl", cut="middle")  # type: ignore[arg-type]


def test_no_room_for_a_context_is_one_clear_error(tokenizer: Any) -> None:
    with pytest.raises(PromptTooLong, match=r"record 'r1' of task 'qa'.*leave no room"):
        QATask("qa", [record()], DirectAnswer(), SHORT).prompt(record(), tokenizer, 60)


def test_scores_are_the_papers_on_the_extracted_answer_of_the_whole_turn() -> None:
    task = QATask("qa", [record()], DirectAnswer(), SHORT)
    scored = task.metric().score(task.response(" Ada Byron"), record().answers)
    assert scored.scores == pytest.approx({"f1": 2 / 3, "em": 0.0, "subem": 1.0})
    assert scored.well_formed
    nothing = QATask("qa", [record()], ReasonThenAnswer(), SHORT).metric().score("It was Ada", record().answers)
    assert nothing.scores == {"f1": 0.0, "em": 0.0, "subem": 0.0}
    assert not nothing.well_formed


def test_another_style_reads_more_and_is_another_evaluation() -> None:
    paper = QATask("qa", [record()], ReasonThenAnswer(), SHORT)
    lenient = QATask("qa", [record()], ReasonThenAnswer(), SHORT, style="lenient")
    said = "It was Ada. **Answer** : “Ada”"
    assert paper.metric().score(said, record().answers).scores == {"f1": 0.0, "em": 0.0, "subem": 0.0}
    scored = lenient.metric().score(said, record().answers)
    assert scored.scores == {"f1": 1.0, "em": 1.0, "subem": 1.0}
    assert scored.well_formed
    assert lenient.settings() == {**paper.settings(), "style": "lenient"}
    with pytest.raises(ConfigError, match=r"QASuite\.style is 'strict'"):
        QASuite(style="strict")  # type: ignore[arg-type]


def test_settings_hold_whatever_a_prediction_depends_on() -> None:
    base = QATask("qa", [record()], DirectAnswer(), SHORT).settings()
    assert base == QATask("qa", [record("other")], DirectAnswer(), SHORT).settings()
    for other in (
        QATask("qa", [record()], ReasonThenAnswer(), SHORT),
        QATask("qa", [record()], DirectAnswer(prefill="A:"), SHORT),
        QATask("qa", [record()], DirectAnswer(), Sampling(temperature=0.0, max_tokens=21)),
        QATask("qa", [record()], DirectAnswer(), SHORT, max_context_tokens=99),
    ):
        assert other.settings() != base


def test_settings_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ConfigError, match="'qa' has no records"):
        QATask("qa", [], DirectAnswer())
    with pytest.raises(ConfigError, match="max_context_tokens of evaluation task 'qa' is 0"):
        QATask("qa", [record()], DirectAnswer(), max_context_tokens=0)
