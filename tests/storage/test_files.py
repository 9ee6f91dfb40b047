from __future__ import annotations

import errno
import os
import threading

import pytest

from longmab_pl.errors import DataError, LongMabError
from longmab_pl.storage import files
from longmab_pl.storage.checked_json import read_checked_json, write_checked_json
from longmab_pl.storage.checksums import difference, file_checksum
from longmab_pl.storage.files import (
    atomic_folder,
    atomic_write,
    atomic_write_binary,
    disk_errors_of,
    remove_partials,
)


def everything(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_a_file_is_replaced_only_when_it_is_whole(tmp_path):
    path = tmp_path / "deep" / "a.json"
    with atomic_write(path) as file:
        file.write("é")
    with pytest.raises(KeyError), atomic_write_binary(path) as file:
        file.write({b"half": b"half"}[b"other"])
    assert path.read_text(encoding="utf-8") == "é"
    assert everything(tmp_path) == ["deep", "deep/a.json"]


def test_a_full_disk_names_the_file_and_how_to_go_on(tmp_path, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files, "fsync_file", full)
    with (
        pytest.raises(LongMabError, match=r"cannot write .*a\.json: No space left on device\. Free some space"),
        atomic_write(tmp_path / "a.json") as file,
    ):
        file.write("x")
    assert everything(tmp_path) == []


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="the system has no /dev/full")
def test_a_thread_that_a_full_disk_ends_is_one_line_and_others_keep_their_traceback(tmp_path, capsys):
    def write_to_a_full_disk():
        with open("/dev/full", "wb", buffering=0) as file:
            file.write(b"x")

    def run(target):
        thread = threading.Thread(target=target)
        thread.start()
        thread.join()
        return capsys.readouterr().err

    others = []
    before = threading.excepthook
    threading.excepthook = others.append
    try:
        with disk_errors_of(tmp_path):
            said = run(write_to_a_full_disk)
            run(lambda: {}["no such key"])
        assert threading.excepthook == others.append
    finally:
        threading.excepthook = before
    assert said == f"warning: a log of the run in {tmp_path} stopped: No space left on device\n"
    assert [failed.exc_type for failed in others] == [KeyError]


def test_a_name_that_is_too_long_is_said(tmp_path):
    with pytest.raises(LongMabError, match="Give a shorter name"), atomic_write(tmp_path / ("x" * 250)):
        pass


def test_an_error_about_another_file_is_left_alone(tmp_path):
    with pytest.raises(FileNotFoundError, match="elsewhere"), atomic_write(tmp_path / "a.json"):
        (tmp_path / "elsewhere").read_text()


def test_a_folder_appears_whole_and_replaces_an_older_one(tmp_path):
    path = tmp_path / "adapter"
    for content in ("one", "two"):
        with atomic_folder(path) as folder:
            (folder / "weights").write_text(content)
            assert not (path / "weights").exists() or (path / "weights").read_text() != content
        assert (path / "weights").read_text() == content
    with pytest.raises(TypeError), atomic_folder(path) as folder:
        (folder / "weights").write_text(3)
    assert everything(tmp_path) == ["adapter", "adapter/weights"]
    assert (path / "weights").read_text() == "two"


def test_what_kills_left_behind_is_removed_and_nothing_else(tmp_path):
    (tmp_path / "rounds").mkdir()
    (tmp_path / "rounds" / "mine.partial").write_text("")
    (tmp_path / "rounds" / f"round.json{files.PARTIAL}").write_text("{")
    (tmp_path / f"adapter{files.PARTIAL}").mkdir()
    (tmp_path / f"best{files.REPLACED}").mkdir()  # killed between the two renames: the older one is all there is
    remove_partials(tmp_path)
    assert everything(tmp_path) == ["best", "rounds", "rounds/mine.partial"]


@pytest.mark.parametrize("damage", ['{"n": 2, "checksum": "0"}', "[]", "", "{}", "[" * 100_000, "null"])
def test_checked_json_names_damage_and_its_fix(tmp_path, damage):
    path = tmp_path / "a.json"
    write_checked_json(path, {"n": 1, "by round": {3: 0.5, 20: [1, 2]}})
    assert read_checked_json(path, "") == {"n": 1, "by round": {"3": 0.5, "20": [1, 2]}}
    path.write_text(damage)
    with pytest.raises(DataError, match=r"a\.json is damaged .*: delete it"):
        read_checked_json(path, "delete it")


def test_a_whole_files_checksum_says_how_it_differs(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text("1\n2\n3\n")
    known = file_checksum(path)
    assert difference(path, known) is None
    path.write_text("1\n2\n4\n")
    assert difference(path, known) == "is damaged: its checksum differs"
    path.write_text("1\n2\n")
    assert difference(path, known) == "is damaged: it has 2 of 3 lines"
    path.unlink()
    assert difference(path, known) == "is missing"
