from __future__ import annotations

import hashlib
import http.server
import json
import threading
import zipfile
from pathlib import Path
from typing import Any, ClassVar

import pytest

from longmab_pl.errors import ConfigError, DataError
from longmab_pl.evaluation.benchmark_files import sample
from longmab_pl.evaluation.longbench.loading import LongBenchItem, load_items, tasks_there
from longmab_pl.evaluation.longbench.task import longbench_tasks


def row(number: int = 0, **changes: Any) -> dict[str, Any]:
    official = {
        "input": f"Who is number {number}?",
        "context": f"Passage {number}.",
        "answers": ["Ada"],
        "length": 3,
        "dataset": "musique",
        "language": "en",
        "all_classes": None,
        "_id": f"id{number}",
    }
    return {key: value for key, value in (official | changes).items() if value != "ABSENT"}


def write(path: Path, *rows: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [r if isinstance(r, str) else json.dumps(r, ensure_ascii=False) for r in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_a_folder_its_data_folder_and_a_zip_give_the_same_items(tmp_path: Path) -> None:
    file = write(tmp_path / "flat" / "musique.jsonl", row(1), row(2, language="zh"))
    write(tmp_path / "official" / "data" / "musique.jsonl", row(1), row(2, language="zh"))
    with zipfile.ZipFile(tmp_path / "data.zip", "w") as archive:
        archive.write(file, "data/musique.jsonl")
    found = [load_items(tmp_path / source, "musique") for source in ("flat", "official", "data.zip")]
    assert found[0][0] == found[1][0] == found[2][0]
    assert found[0][0][0] == LongBenchItem("id1", "Who is number 1?", ("Ada",), "Passage 1.", 3, None, "en")
    assert [f[1].name for f in found] == ["musique"] * 3
    assert all(bad == [] for _, _, bad in found)
    assert tasks_there(tmp_path / "official") == tasks_there(tmp_path / "data.zip") == ["musique"]


def test_infinitebench_rows(tmp_path: Path) -> None:
    infinite = {"id": 7, "context": "A book.", "input": "Who?", "answer": ["Ada", "Ada L."], "options": []}
    write(tmp_path / "longbook_qa_eng.jsonl", infinite)
    (item,), spec, _ = load_items(tmp_path, "longbook_qa_eng")
    assert (item.id, item.answers, item.length, spec.metric) == ("7", ("Ada", "Ada L."), None, "f1")


def test_any_jsonl_is_a_custom_qa_task_in_both_formats(tmp_path: Path) -> None:
    write(tmp_path / "mine.jsonl", {"id": 1, "question": "Who?", "answer": "Ada", "context": "Ada is."}, row(2))
    items, spec, bad = load_items(tmp_path, "mine")
    assert [(item.id, item.question) for item in items] == [("1", "Who?"), ("id2", "Who is number 2?")]
    assert (spec.name, spec.metric, spec.chat, bad) == ("mine", "f1", True, [])
    write(tmp_path / "zh.jsonl", row(language="zh"))
    assert load_items(tmp_path / "zh.jsonl", "zh")[1].metric == "f1_zh"
    assert tasks_there(tmp_path) == ["mine", "zh"]


def test_a_single_file_without_a_task_name_is_the_task_of_its_name(tmp_path: Path) -> None:
    file = write(tmp_path / "mine.jsonl", row(1), row(2), row(3))
    (task,), bad = longbench_tasks(file, limit=2)
    assert (task.name, len(task.records), bad) == ("mine", 2, [])


@pytest.mark.parametrize(
    ("bad", "task", "field", "problem"),
    [
        ("{torn", "musique", "(line)", "not JSON"),
        ("[1]", "musique", "(line)", "must be an object"),
        (row(context=" "), "musique", "context", "is empty or blank"),
        (row(context="ABSENT"), "musique", "context", "missing"),
        (row(input=""), "musique", "input", "is empty or blank"),
        (row(input=5), "musique", "input", "is an integer; give a string"),
        (row(answers=[]), "musique", "answers", "at least one"),
        (row(answers=["", " "]), "musique", "answers", "at least one"),
        (row(answers=[None]), "musique", "answers", "a list of strings"),
        (row(answers="ABSENT"), "musique", "answer", "missing"),
        (row(answers=["14"]), "passage_retrieval_en", "answers", "Paragraph 7"),
        (row(all_classes=None), "trec", "all_classes", "labels"),
        (row(all_classes="Date"), "trec", "all_classes", "list of labels"),
        (row(length=None), "qasper_e", "length", "whole number"),
        (row(_id="good"), "musique", "_id", "also the id of line 1"),
    ],
)
def test_a_bad_row_is_reported_with_its_place_and_the_rest_is_kept(
    tmp_path: Path, bad: Any, task: str, field: str, problem: str
) -> None:
    good = row(_id="good", answers=["Paragraph 3"], all_classes=["Date"])
    file = write(tmp_path / f"{task}.jsonl", good, "", bad, row(9, answers=["Paragraph 4"], all_classes=["Date"]))
    items, _, reported = load_items(tmp_path, task)
    assert [item.id for item in items] == ["good", "id9"]
    assert len(reported) == 1
    assert (reported[0].file, reported[0].line, reported[0].field) == (str(file), 3, field)
    assert problem in str(reported[0])


def test_half_a_character_is_a_bad_row_and_not_the_end(tmp_path: Path) -> None:
    whole = json.dumps(row(1))
    halves = [json.dumps(row(2, **{field: value})) for field, value in HALVES.items()]
    items, _, bad = load_items(write(tmp_path / "musique.jsonl", whole, *halves), "musique")
    assert [item.id for item in items] == ["id1"]
    assert [b.field for b in bad] == list(HALVES)
    assert all("half a surrogate pair" in b.problem for b in bad)


HALVES = {"_id": "a\ud83d", "input": "Who\ud83d?", "context": "Text \ude00.", "answers": ["Ada", "A\ud83d"]}


def test_longbench_e_is_not_asked_beside_the_same_tasks_unless_it_is_named(tmp_path: Path) -> None:
    for name in ("qasper", "qasper_e", "trec_e", "mine_e"):
        write(tmp_path / f"{name}.jsonl", row(1, all_classes=["Ada", "Bob"]))
    assert tasks_there(tmp_path) == ["qasper", "trec_e", "mine_e"]
    assert [task.name for task in longbench_tasks(tmp_path, ["qasper_e"])[0]] == ["qasper_e"]


def test_a_group_is_asked_without_the_files_that_are_missing_and_they_are_named(tmp_path: Path, capsys: Any) -> None:
    for name in ("qasper_e", "trec_e"):
        write(tmp_path / f"{name}.jsonl", row(1, all_classes=["Ada", "Bob"]))
    assert [task.name for task in longbench_tasks(tmp_path, ["longbench_e"])[0]] == ["qasper_e", "trec_e"]
    said = capsys.readouterr().err
    assert "lacks 11 of the 13 tasks of longbench_e (multifieldqa_en_e, hotpotqa_e, " in said
    assert said.count("\n") == 1
    with pytest.raises(DataError, match="none of the 21 tasks of longbench is there; it needs narrativeqa, qasper, "):
        longbench_tasks(tmp_path, ["longbench"])
    with pytest.raises(DataError, match=r"no file hotpotqa_e\.jsonl"):
        longbench_tasks(tmp_path, ["longbench_e", "hotpotqa_e"])
    with zipfile.ZipFile(tmp_path / "data.zip", "w") as archive:
        archive.write(tmp_path / "trec_e.jsonl", "data/trec_e.jsonl")
    assert [task.name for task in longbench_tasks(tmp_path / "data.zip", ["longbench_e"])[0]] == ["trec_e"]


def test_what_a_hub_name_stands_for() -> None:
    assert len(tasks_there("THUDM/LongBench")) == 21
    assert tasks_there("xinrongzhang2022/InfiniteBench") == ["longbook_qa_eng"]


def test_tasks_without_a_question_take_an_empty_input(tmp_path: Path) -> None:
    write(tmp_path / "multi_news.jsonl", row(input=""))
    assert load_items(tmp_path, "multi_news")[0][0].question == ""


def test_empty_gold_answers_among_others_are_dropped(tmp_path: Path) -> None:
    write(tmp_path / "musique.jsonl", row(answers=["", "Ada"]))
    assert load_items(tmp_path, "musique")[0][0].answers == ("Ada",)


def test_missing_and_unusable_data_say_what_to_give(tmp_path: Path) -> None:
    write(tmp_path / "musique.jsonl", "{torn")
    with pytest.raises(DataError, match=r"no file qasper.jsonl .*it holds musique"):
        load_items(tmp_path, "qasper")
    with pytest.raises(ConfigError, match="did you mean 'musique'"):
        load_items(tmp_path, "musqiue")
    with pytest.raises(DataError, match=r"not one usable row .*musique.jsonl:1"):
        load_items(tmp_path, "musique")
    with pytest.raises(DataError, match=r"nowhere/at/all: no such file or folder"):
        load_items(str(tmp_path / "nowhere/at/all"), "musique")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no JSONL file"):
        longbench_tasks(tmp_path / "empty")
    with zipfile.ZipFile(tmp_path / "data.zip", "w") as archive:
        archive.writestr("data/other.jsonl", "{}")
    with pytest.raises(DataError, match=r"no file qasper.jsonl .*it holds other"):
        load_items(tmp_path / "data.zip", "qasper")


def test_a_hub_that_cannot_be_reached_is_one_clear_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(DataError, match=r"THUDM/LongBench: no such local file or folder, and the hub did not provide"):
        load_items("THUDM/LongBench", "musique")
    with pytest.raises(ConfigError, match="did you mean 'musique'"):
        load_items("THUDM/LongBench", "musiqe")


class _Hub(http.server.BaseHTTPRequestHandler):
    """A hub's answers for one data set: its files, and "no such entry" for others."""

    files: ClassVar[dict[str, bytes]] = {}

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        name = self.path.split("?")[0].removeprefix("/datasets/owner/bench/resolve/main/")
        content = self.files.get(name, b"")
        self.send_response(200 if name in self.files else 404)
        self.send_header("X-Repo-Commit", "0" * 40)
        if name in self.files:
            self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        else:
            self.send_header("X-Error-Code", "EntryNotFound")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def log_message(self, *_: object) -> None: ...


@pytest.mark.parametrize("layout", ["data.zip", "musique.jsonl", "other.jsonl"])
def test_a_hub_data_set_as_longbench_and_as_infinitebench_lay_theirs_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, layout: str
) -> None:
    file = write(tmp_path / "musique.jsonl", row(1), row(2), row(3))
    content = file.read_bytes()
    if layout == "data.zip":
        with zipfile.ZipFile(tmp_path / "data.zip", "w") as archive:
            archive.write(file, "data/musique.jsonl")
        content = (tmp_path / "data.zip").read_bytes()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), type("Hub", (_Hub,), {"files": {layout: content}}))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    endpoint = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", endpoint)
    monkeypatch.setattr(
        "huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", endpoint + "/{repo_id}/resolve/{revision}/{filename}"
    )
    try:
        if layout == "other.jsonl":
            with pytest.raises(
                DataError, match=r"owner/bench: this hub data set has neither musique.jsonl nor data.zip"
            ):
                load_items("owner/bench", "musique")
        else:
            items, spec, bad = load_items("owner/bench", "musique")
            assert (len(items), spec.name, bad) == (3, "musique", [])
            renamed, _, _ = load_items("owner/bench", "musique", fields={"question": "context"})
            assert [item.question for item in renamed] == [item.context for item in items]
    finally:
        server.shutdown()
        server.server_close()
    if layout != "other.jsonl":
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        assert load_items("owner/bench", "musique")[0] == items, "what was fetched once is found without a network"


def test_samples_are_seeded_and_keep_the_order() -> None:
    items = list(range(100))
    assert sample(items, 10, 1) == sorted(sample(items, 10, 1)) == sample(items, 10, 1)
    assert sample(items, 10, 1) != sample(items, 10, 2)
    assert sample(items, None, 1) == sample(items, 100, 1) == items
