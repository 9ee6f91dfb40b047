from __future__ import annotations

import random
import threading

import pytest

from longmab_pl.errors import DataError, LongMabError
from longmab_pl.storage.append_log import AppendLog, LogKind, decode, encode, read_fingerprint, read_rows

KIND = LogKind("test log", 1, lost="its row is written again", durable=True)
ROWS = [{"n": n, "text": 'Ünïcode, a "quote", a newline\n and \ud800'} for n in range(20)]


def opened(path, fingerprint="f", kind=KIND):
    rows = []
    return AppendLog(path, kind, fingerprint, lambda row, place: rows.append(row)), rows


def written(path, kind=KIND):
    log, _ = opened(path, kind=kind)
    log.wait(log.write(ROWS))
    log.close()
    return path


def test_rows_come_back_and_can_be_read_by_place(tmp_path):
    log, rows = opened(written(tmp_path / "a.jsonl"))
    assert rows == ROWS
    place = log.write_one({"n": 20})
    assert log.read(place) == {"n": 20}
    assert [row for _, _, row in read_rows(log.path)] == [*ROWS, {"n": 20}]
    assert read_fingerprint(log.path, KIND) == "f"
    assert read_fingerprint(tmp_path / "none", KIND) is None


def test_a_log_without_a_header_is_lines_of_rows_only(tmp_path):
    kind = LogKind("bare log", 1, lost="it is lost", header=False)
    path = written(tmp_path / "a.jsonl", kind)
    assert path.read_bytes() == b"".join(map(encode, ROWS))
    assert opened(path, kind=kind)[1] == ROWS


@pytest.mark.parametrize("seed", range(20))
def test_no_flipped_bit_is_believed(tmp_path, seed):
    rng = random.Random(seed)
    path = written(tmp_path / "a.jsonl")
    content = bytearray(path.read_bytes())
    header = content.index(b"\n") + 1
    encoded_header = bytes(content[:header])
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    path.write_bytes(content)
    if bytes(content[:header]) != encoded_header:
        with pytest.raises(DataError, match="line 1"):
            opened(path)
    else:
        _, rows = opened(path)
        assert len(rows) < len(ROWS)
        assert all(row in ROWS for row in rows)


def test_damaged_lines_are_named_a_few_of_them_one_by_one(tmp_path, capsys):
    path = written(tmp_path / "a.jsonl")
    lines = path.read_bytes().split(b"\n")
    path.write_bytes(b"\n".join([*lines[:3], *[line[:-9] for line in lines[3:12]], *lines[12:]]))
    log, rows = opened(path)
    assert log.damaged == list(range(4, 13))
    assert (
        f"{path}, lines 4, 5, 6, 7, 8 and 4 more: damaged on disk; its row is written again" in capsys.readouterr().err
    )
    assert rows == [*ROWS[:2], *ROWS[11:]]


def test_two_lines_that_lost_the_break_between_them_are_one_damaged_line():
    assert decode(encode(ROWS[0])) == ROWS[0]
    assert decode(encode(ROWS[0]).removesuffix(b"\n") + encode(ROWS[1])) is None
    assert decode(b"") is decode(b'{"n": 1}\n') is decode(b"\0" * 50) is None


def test_a_thread_that_dies_wakes_all_who_wait_for_it(tmp_path, monkeypatch):
    log, _ = opened(tmp_path / "a.jsonl")
    go = threading.Event()

    def dies(_):
        go.wait()
        raise MemoryError("not today")

    monkeypatch.setattr("os.fsync", dies)
    failed = []

    def wait():
        try:
            log.wait(ticket)
        except LongMabError as error:
            failed.append(str(error))

    ticket = log.write(ROWS)
    waiting = [threading.Thread(target=wait) for _ in range(3)]
    for thread in waiting:
        thread.start()
    go.set()
    for thread in waiting:
        thread.join(timeout=10)
    assert len(failed) == 3
    assert "not today" in failed[0]
    assert not log.is_durable(ticket)


def test_another_kind_another_fingerprint_and_a_second_writer_are_refused(tmp_path):
    path = written(tmp_path / "a.jsonl")
    with pytest.raises(DataError, match="line 1: not the header of a other log"):
        opened(path, kind=LogKind("other log", 1, lost=""))
    with pytest.raises(DataError, match="this version writes 2"):
        opened(path, kind=LogKind("test log", 2, lost=""))
    with pytest.raises(DataError, match="fingerprint f, this one is g"):
        opened(path, "g")
    first, _ = opened(path)
    with pytest.raises(DataError, match="being written by another process"):
        opened(path)
    first.close()
