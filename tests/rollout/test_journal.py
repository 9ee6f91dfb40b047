from __future__ import annotations

import errno
import json
import tracemalloc

import pytest

from longmab_pl.engines.protocol import Completion, Request, Sampling
from longmab_pl.errors import DataError, LongMabError
from longmab_pl.rollout.journal import Journal
from longmab_pl.storage.append_log import encode

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


@pytest.mark.parametrize("damage", [b'{"request_id": "r/1", "te\x00\xff', b"", None])
def test_a_damaged_line_is_named_and_costs_only_itself(tmp_path, damage, capsys):
    path = tmp_path / "c.jsonl"
    filled(path)
    lines = path.read_bytes().split(b"\n")
    lines[2] = lines[2].replace(b"newline", b"Newline") if damage is None else damage  # None: one flipped bit
    path.write_bytes(b"\n".join(lines))
    journal = Journal(path, "f1")
    assert journal.resumed == 4
    assert journal.get(request(1)) is None
    assert journal.get(request(2)) == completion(2)
    assert f"{path}, line 3: damaged on disk; its completion is asked for again" in capsys.readouterr().err


def test_another_rollouts_journal_is_refused(tmp_path):
    filled(tmp_path / "c.jsonl")
    with pytest.raises(DataError, match=r"other settings, data or policy.*move the file away"):
        Journal(tmp_path / "c.jsonl", "f2")
    (tmp_path / "d.jsonl").write_text(json.dumps({"id": 1}) + "\n")
    with pytest.raises(DataError, match="line 1: not the header of a rollout journal"):
        Journal(tmp_path / "d.jsonl", "f1")


def test_a_journal_of_another_format_is_refused(tmp_path):
    (tmp_path / "c.jsonl").write_bytes(encode({"log": "rollout journal", "format": 1, "fingerprint": "f1"}))
    with pytest.raises(DataError, match="line 1: a rollout journal of format 1"):
        Journal(tmp_path / "c.jsonl", "f1")


def test_two_at_once_are_refused_and_one_after_the_other_is_not(tmp_path):
    first = Journal(tmp_path / "c.jsonl", "f1")
    with pytest.raises(DataError, match="written by another process"):
        Journal(tmp_path / "c.jsonl", "f1")
    first.append([(request(0), completion(0))])
    first.close()
    second = Journal(tmp_path / "c.jsonl", "f1")
    assert second.get(request(0)) == completion(0)
    second.close()


def test_of_two_answers_to_one_id_each_belongs_to_its_prompt(tmp_path):
    journal = Journal(tmp_path / "c.jsonl", "f1")
    journal.append([(request(0), completion(0, "old")), (request(1), completion(1))])
    journal.append([(request(0, prompt=(7,)), completion(0, "new"))])
    journal.close()
    journal = Journal(tmp_path / "c.jsonl", "f1")
    assert journal.resumed == len(journal) == 2
    assert journal.get(request(0)) == completion(0, "old")
    assert journal.get(request(0, prompt=(7,))) == completion(0, "new")
    journal.close()


def test_texts_of_any_length_stay_on_the_disk_until_they_are_asked_for(tmp_path):
    path = tmp_path / "c.jsonl"
    texts = [f"{i} " * (1 + i * i) for i in range(200)]  # up to 160 kB, more than one block
    journal = Journal(path, "f1")
    journal.append((request(i), completion(i, text)) for i, text in enumerate(texts))
    journal.close()
    tracemalloc.start()
    journal = Journal(path, "f1")
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < path.stat().st_size / 100
    assert [journal.get(request(i)).texts[0] for i in range(200)] == texts
    journal.close()


def test_what_is_written_is_read_back_while_more_is_written(tmp_path):
    filled(tmp_path / "c.jsonl")
    journal = Journal(tmp_path / "c.jsonl", "f1")
    ticket = journal.write([(request(5), completion(5))])
    assert journal.get(request(2)) == completion(2)
    journal.wait(ticket)
    assert journal.is_durable(ticket)
    journal.write([(request(6), completion(6))])
    journal.close()
    assert Journal(tmp_path / "c.jsonl", "f1").resumed == 7


def test_a_full_disk_is_a_clear_error(tmp_path, monkeypatch):
    journal = Journal(tmp_path / "c.jsonl", "f1")

    def full(_fd):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(LongMabError, match=r"No space left on device.*run the same command again"):
        journal.append([(request(0), completion(0))])


def test_half_a_line_does_not_stay_in_front_of_the_next(tmp_path):
    """The disk is full for one line's second half and has room again later."""
    path = tmp_path / "c.jsonl"
    filled(path)
    journal = Journal(path, "f1")

    class Full:
        def __init__(self, file):
            self.file, self.fileno, self.close = file, file.fileno, file.close
            self.left = 40

        def write(self, data):
            if not self.left:
                raise OSError(errno.ENOSPC, "No space left on device")
            written = self.file.write(data[: self.left])
            self.left -= written
            return written

    real = journal._log._file
    journal._log._file = Full(real)
    with pytest.raises(LongMabError, match="No space left on device"):
        journal.append([(request(5), completion(5))])
    journal._log._file = real
    journal.append([(request(6), completion(6))])
    journal.close()
    journal = Journal(path, "f1")
    assert journal.resumed == 6
    assert journal.get(request(6)) == completion(6)
