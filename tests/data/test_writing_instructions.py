from __future__ import annotations

import json
import re
from collections import Counter

import pytest

from longmab_pl.cli.synthesize import synthesize
from longmab_pl.data import shipped_path
from longmab_pl.data.readers import read_records
from longmab_pl.data.writing_instructions import LENGTHS, write_instructions, writing_instructions
from longmab_pl.errors import ConfigError


def test_the_shipped_files_are_what_the_generator_makes(tmp_path):
    for path in write_instructions(tmp_path):
        assert path.read_bytes() == shipped_path(f"writing_{path.stem}").read_bytes()


def test_every_instruction_names_its_length_and_lengths_are_spread_evenly():
    train, held_out = writing_instructions()
    assert all(f"about {one.length} words" in one.prompt for one in train + held_out)
    counts = Counter(one.length for one in train)
    assert set(counts) == set(LENGTHS)
    assert max(counts.values()) - min(counts.values()) <= 1
    assert len({one.prompt for one in train + held_out}) == 144


def test_training_and_evaluation_share_no_invented_name():
    def invented(made):
        return set(re.findall(r"\b[A-Z][a-z]+(?: [A-Z][a-z]+)?\b(?<!Write)(?<!Tell)(?<!Explain)", " ".join(made)))

    train, held_out = ([one.prompt.split(" ", 1)[1] for one in made] for made in writing_instructions())
    assert len(invented(train)) > 100
    assert not invented(train) & invented(held_out)


def test_the_reader_takes_them_as_writing_instructions():
    records = read_records("shipped:writing_eval").records
    assert len(records) == 48
    assert {record.length for record in records} == set(LENGTHS)
    assert all(record.context == "" for record in records)


def test_the_command_writes_them(tmp_path, capsys):
    synthesize(str(tmp_path), train=3, eval=2, kind="writing", lengths=[500, 2000])
    rows = [json.loads(line) for line in (tmp_path / "train.jsonl").read_text().splitlines()]
    assert [row["length"] for row in rows] == [500, 2000, 500]
    assert capsys.readouterr().out.split() == [str(tmp_path / "train.jsonl"), str(tmp_path / "eval.jsonl")]


@pytest.mark.parametrize("lengths", [[], [0], [100, -1]])
def test_impossible_lengths_are_refused(lengths):
    with pytest.raises(ConfigError, match="lengths"):
        writing_instructions(lengths=lengths)
