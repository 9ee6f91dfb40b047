from __future__ import annotations

import json
import time
from collections import Counter

import pytest

from longmab_pl.data.hard_contexts import HardSettings, hard_records, write_hard_dataset
from longmab_pl.data.hard_questions import TASKS, UNANSWERABLE_HINT
from longmab_pl.data.readers import read_records
from longmab_pl.errors import ConfigError


def words(text: str) -> int:
    return len(text.split())


def made(count: int = 10, split: str = "train", **settings):
    settings = {"min_tokens": 600, "max_tokens": 1200} | settings
    return list(hard_records(HardSettings(**settings), split, count, words))


def test_tasks_come_in_turn_and_lengths_lie_between_the_limits():
    records = made(40)
    assert Counter(record.draft.task for record in records) == dict.fromkeys(TASKS, 8)
    assert all(record.tokens == words(record.context) for record in records)
    assert all(600 <= record.tokens <= 1200 for record in records)
    assert max(r.tokens for r in records) - min(r.tokens for r in records) > 300
    assert {record.draft.task for record in made(3, tasks=("list",))} == {"list"}


def test_the_same_seed_gives_the_same_records_whatever_their_number():
    first = [record.to_json() for record in made(12)]
    assert [record.to_json() for record in made(5)] == first[:5]
    assert [record.to_json() for record in made(5, seed=1)] != first[:5]
    own = {title for row in first for title in row["evidence"] if not title.startswith("Slip")}
    other = {title for record in made(12, "eval") for title in record.to_json()["evidence"]}
    assert own
    assert not own & other, "splits share no entity"


def test_rows_say_where_the_evidence_is(tmp_path):
    train, held_out = write_hard_dataset(tmp_path, HardSettings(min_tokens=600, max_tokens=900), 15, 5, words)
    rows = [json.loads(line) for line in train.read_text().splitlines()]
    records = read_records(str(train)).records
    assert len(read_records(str(held_out)).records) == 5
    for row, record in zip(rows, records, strict=True):
        assert row["context"].count("Passage ") == row["passages"]
        texts = [record.context[start:end] for start, end in record.evidence]
        assert sorted(text.partition("\n")[0] for text in texts) == sorted(row["evidence"])
        assert record.answerable == row["answerable"] == (row["task"] != "unanswerable")
        assert record.question.endswith(UNANSWERABLE_HINT)
        if row["task"] in ("hops", "chain"):
            assert any(record.answer in text for text in texts)
            assert sum(record.answer.lower() in part.lower() for part in record.context.split("\n\n")) == 1
        if row["task"] in ("list", "count"):
            assert len(texts) == row["hops"]
    written = train.read_bytes()
    write_hard_dataset(tmp_path, HardSettings(min_tokens=600, max_tokens=900), 15, 5, words)
    assert train.read_bytes() == written


def test_only_sets_with_unanswerable_questions_say_what_to_answer_then():
    assert all(UNANSWERABLE_HINT not in record.draft.question for record in made(8, tasks=("hops", "count")))


def test_distractors_of_the_topic_state_the_asked_fact():
    (all_of_it,) = made(1, tasks=("hops",), hops=1, near=0, topic=1.0)
    (none_of_it,) = made(1, tasks=("hops",), hops=1, near=0, topic=0.0)
    ((kind, _),) = all_of_it.draft.topic
    assert kind.name in [k.name for k, _ in none_of_it.draft.topic]
    openings = [opening.split("}")[-1] for opening in kind.openings]

    def of_the_kind(record):
        return sum(any(o in p.text for o in openings) for p in record.passages) / len(record.passages)

    assert of_the_kind(all_of_it) == 1.0
    assert of_the_kind(none_of_it) < 0.5


def test_time_grows_in_proportion_to_the_length_up_to_128k():
    def seconds(tokens: int) -> float:
        settings = HardSettings(min_tokens=tokens, max_tokens=tokens)
        next(iter(hard_records(settings, "train", 1, words)))
        began = time.process_time()
        records = list(hard_records(settings, "train", 5, words))
        spent = time.process_time() - began
        assert all(tokens - 60 < record.tokens <= tokens for record in records)
        return spent

    assert seconds(131_072) < 3 * 16 * seconds(8_192), "16 times the length"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"tasks": ()}, "tasks is empty"),
        ({"tasks": ("riddle",)}, "tasks is 'riddle'; use"),
        ({"min_tokens": 100}, "min_tokens is 100; it must be at least 256"),
        ({"min_tokens": 2000, "max_tokens": 1000}, "max_tokens is 1000; it must be at least min_tokens"),
        ({"hops": 4}, "hops is 4"),
        ({"near": -1}, "near is -1"),
        ({"topic": 1.5}, "topic is 1.5"),
        ({"links": 0}, "links is 0"),
        ({"chains": 0}, "chains is 0"),
    ],
)
def test_settings_are_checked(settings, message):
    with pytest.raises(ConfigError, match=message):
        HardSettings(**settings)


def test_a_length_without_room_for_the_needed_passages_is_refused():
    with pytest.raises(ConfigError, match=r"min_tokens is 256, but the passages that a chain question needs take \d+"):
        made(1, tasks=("chain",), min_tokens=256, max_tokens=256, links=20)
    with pytest.raises(ConfigError, match="train is -1"):
        write_hard_dataset("nowhere", HardSettings(), -1, 0, words)
