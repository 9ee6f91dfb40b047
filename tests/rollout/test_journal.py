from __future__ import annotations

import errno
import json

import pytest

from longmab_pl.engine.protocol import Completion, Request, Sampling
from longmab_pl.errors import DataError, LongMabError
from longmab_pl.rollout.journal import Journal

SAMPLING = Sampling()


def request(i: int, prompt=(1, 2, 3), n=1) -> Request:
    return Request(f"r/{i}", prompt, SAMPLING, n=n)


def completion(i: int, text="Ünïcode\nand a newline") -> Completion:
    return Completion(f"r/{i}", (text,), ("stop",), (5,), 3, 1)


def filled(path, n=5):
    journal = Journal(path, "f1")
    for i in range(n):
        journal.append([(request(i), completion(i))])
    journal.close()


def test_what_was_appended_is_found_again(tmp_path):
    path = tmp_path / "deep" / "c.jsonl"
    filled(path)
    journal = Journal(path, "f1")
    assert journal.resumed == 5
    assert [journal.get(request(i)) for i in range(5)] == [completion(i) for i in range(5)]
    assert journal.get(request(9)) is None


def test_an_answer_belongs_to_its_prompt_and_sample_count(tmp_path):
    filled(tmp_path / "c.jsonl")
    journal = Journal(tmp_path / "c.jsonl", "f1")
    assert journal.get(request(0, prompt=(1, 2, 4))) is None
    assert journal.get(request(0, n=2)) is None


@pytest.mark.parametrize("keep", range(1, 12))
def test_a_torn_last_line_is_cut_off_wherever_it_tears(tmp_path, keep):
    path = tmp_path / "c.jsonl"
    filled(path)
    whole = path.read_bytes()
    last = whole.rstrip(b"\n").rfind(b"\n") + 1
    torn = last + (len(whole) - last) * keep // 12
    path.write_bytes(whole[:torn])
    journal = Journal(path, "f1")
    assert journal.resumed == 4
    journal.append([(request(4), completion(4))])
    journal.close()
    assert path.read_bytes() == whole, "the file continues as if nothing had happened"


def test_a_header_torn_in_its_middle_starts_anew(tmp_path):
    path = tmp_path / "c.jsonl"
    path.write_bytes(b'{"journal": 1, "finge')
    journal = Journal(path, "f1")
    journal.append([(request(0), completion(0))])
    journal.close()
    assert Journal(path, "f1").resumed == 1


def test_a_damaged_line_costs_only_itself(tmp_path):
    path = tmp_path / "c.jsonl"
    filled(path)
    lines = path.read_bytes().split(b"\n")
    lines[2] = b'{"request_id": "r/1", "te\x00\xff'
    path.write_bytes(b"\n".join(lines))
    journal = Journal(path, "f1")
    assert journal.resumed == 4
    assert journal.get(request(1)) is None
    assert journal.get(request(2)) == completion(2)


def test_another_rollouts_journal_is_refused(tmp_path):
    filled(tmp_path / "c.jsonl")
    with pytest.raises(DataError, match=r"another rollout.*move the file away"):
        Journal(tmp_path / "c.jsonl", "f2")
    (tmp_path / "d.jsonl").write_text(json.dumps({"id": 1}) + "\n")
    with pytest.raises(DataError, match="line 1: not a rollout journal"):
        Journal(tmp_path / "d.jsonl", "f1")


def test_a_full_disk_is_a_clear_error(tmp_path, monkeypatch):
    journal = Journal(tmp_path / "c.jsonl", "f1")

    def full(_fd):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(LongMabError, match=r"No space left on device.*run the same command again"):
        journal.append([(request(0), completion(0))])
