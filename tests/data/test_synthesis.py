from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

import pytest

from longmab_pl.data import shipped_path, synthetic_world
from longmab_pl.data.readers import read_records
from longmab_pl.data.synthesis import SyntheticRecord, SyntheticSet, synthesize, write_dataset, write_records
from longmab_pl.data.synthetic_world import KINDS
from longmab_pl.errors import ConfigError, LongMabError


@pytest.fixture(scope="module")
def made() -> SyntheticSet:
    return synthesize()


def passages(record: SyntheticRecord) -> dict[str, str]:
    parts = [part.split("\n", 1) for part in record.context.split("\n\n")]
    return {re.sub(r"^Passage \d+: ", "", title): text for title, text in parts}


@pytest.mark.parametrize("split", ["train", "eval"])
def test_the_shipped_files_are_what_the_generator_makes(split: str, made: SyntheticSet, tmp_path: Path) -> None:
    path = write_records(getattr(made, split), tmp_path / "made.jsonl")
    shipped = shipped_path(f"synthetic_{split}")
    assert path.read_bytes() == shipped.read_bytes()
    assert shipped.stat().st_size < 600_000


@pytest.mark.parametrize("split", ["train", "eval"])
def test_the_shipped_multi_hop_files_are_what_the_generator_makes(split: str, tmp_path: Path) -> None:
    made = synthesize(seed=12, n_train=96, n_eval=48, two_hop=1.0)
    path = write_records(getattr(made, split), tmp_path / "made.jsonl")
    assert path.read_bytes() == shipped_path(f"multihop_{split}").read_bytes()
    assert all(record.hops == 2 for record in getattr(made, split))


def test_counts_and_hops(made: SyntheticSet) -> None:
    assert (len(made.train), len(made.eval)) == (240, 100)
    assert Counter(record.hops for record in made.train) == {1: 180, 2: 60}
    assert Counter(record.hops for record in made.train[:40]) == {1: 30, 2: 10}  # a prefix is mixed alike
    assert len({record.input for record in made.train + made.eval}) == 340
    assert len({record.id for record in made.train + made.eval}) == 340


def test_answers_stand_in_the_evidence_and_nowhere_else(made: SyntheticSet) -> None:
    for record in made.train + made.eval:
        texts = passages(record)
        assert len(texts) == 6
        assert len(record.evidence) == record.hops
        assert record.answer in texts[record.evidence[-1]]
        assert record.answer.lower() not in record.input.lower()
        for title, text in texts.items():
            if title not in record.evidence:
                assert record.answer.lower() not in f"{title} {text}".lower()


def test_two_hop_questions_name_only_the_first_passage(made: SyntheticSet) -> None:
    for record in made.train + made.eval:
        first, last = record.evidence[0], record.evidence[-1]
        assert first in record.input
        if record.hops == 2:
            assert last not in record.input
            assert last in passages(record)[first]


def test_distractors_state_the_same_relation(made: SyntheticSet) -> None:
    statements = {
        relation.name: [re.sub(r"\\{[so]\\}", ".+", re.escape(text)) for text in relation.statements]
        for kind in KINDS
        for relation in kind.relations
    }
    assert len(statements) >= 10

    def stated(name: str, text: str) -> bool:
        sentences = re.split(r"(?<=\.) ", text)
        return any(re.fullmatch(pattern, s) for pattern in statements[name] for s in sentences)

    for record in made.train + made.eval:
        texts = passages(record)
        asked = {
            relation.name
            for kind in KINDS
            for relation in kind.relations
            for question in relation.questions
            if re.fullmatch(re.sub(r"\\{s\\}", ".+", re.escape(question)), record.input)
            and stated(relation.name, texts[record.evidence[-1]])
        }
        assert asked
        rivals = [t for t in texts if t not in record.evidence and any(stated(name, texts[t]) for name in asked)]
        assert len(rivals) >= (3 if record.hops == 1 else 1), record.id


def test_splits_share_no_entity(made: SyntheticSet) -> None:
    def words(records: tuple[SyntheticRecord, ...]) -> set[str]:
        return {word for record in records for word in re.findall(r"\w+", record.context + record.input)}

    pools = [value for name, value in vars(synthetic_world).items() if name.isupper() and isinstance(value, tuple)]
    ordinary = {"Passage", "and", "Works", "Brothers", "Mills", "House"}
    for text in [str(pool) for pool in pools]:
        ordinary |= set(re.findall(r"\w+", text)) | {word.capitalize() for word in re.findall(r"\w+", text)}
    shared = words(made.train) & words(made.eval)
    assert {word for word in shared - ordinary if not word.isdigit()} == set()
    assert "Reramdale" in words(made.train) - ordinary  # an invented name is not taken for an ordinary word


def test_contexts_have_the_size_asked_for(made: SyntheticSet, tokenizer) -> None:
    sizes = [len(tokenizer(record.context).input_ids) for record in made.train]
    assert 260 < sum(sizes) / len(sizes) < 350
    long = synthesize(seed=3, n_train=2, n_eval=1, passages=250)
    assert all(10_000 < len(tokenizer(record.context).input_ids) < 16_000 for record in long.train)
    assert all(len(passages(record)) == 250 for record in long.train)


def test_seeds(made: SyntheticSet) -> None:
    assert synthesize(seed=5, n_train=9, n_eval=3) == synthesize(seed=5, n_train=9, n_eval=3)
    assert synthesize(seed=6, n_train=9, n_eval=3) != synthesize(seed=5, n_train=9, n_eval=3)


@pytest.mark.parametrize("two_hop", [0.0, 1.0])
@pytest.mark.parametrize("size", [4, 5, 20])
def test_every_size_and_share_works(size: int, two_hop: float) -> None:
    made = synthesize(seed=1, n_train=30, n_eval=0, passages=size, two_hop=two_hop)
    assert {record.hops for record in made.train} == {1 + int(two_hop)}
    assert all(len(passages(record)) == size for record in made.train)
    assert made.eval == ()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"passages": 3}, "at least 4"), ({"two_hop": 1.5}, "share"), ({"n_train": -1}, "n_train is -1")],
)
def test_bad_settings(arguments: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        synthesize(**arguments)


def test_written_sets_are_read_back(tmp_path: Path) -> None:
    train, evaluation = write_dataset(tmp_path / "new" / "folder", seed=2, n_train=5, n_eval=3)
    assert [len(read_records(str(path)).records) for path in (train, evaluation)] == [5, 3]
    row = json.loads(train.read_text(encoding="utf-8").splitlines()[3])
    assert list(row) == ["id", "input", "answer", "context", "hops", "evidence"]
    assert sorted(path.name for path in train.parent.iterdir()) == ["eval.jsonl", "train.jsonl"]


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LongMabError, match="cannot write"):
        write_dataset(tmp_path / "file" / "sub", n_train=1, n_eval=1)
