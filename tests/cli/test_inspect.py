from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from tokenizers_like import chatml_like

from longmab_pl.cli.inspected_rows import inspected_records
from longmab_pl.cli.inspected_text import show
from longmab_pl.cli.main import main
from longmab_pl.prompts.formats import ReasonThenAnswer

CASES = Path(__file__).parents[1] / "assets" / "cases"


def inspected(capsys: pytest.CaptureFixture[str], source: Path, model: str, *options: str) -> list[dict[str, Any]]:
    main(["inspect", str(source), "--model", model, "--json", "true", "--rows", "null", *options])
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def write(path: Path, *rows: Any) -> Path:
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def test_pairs_as_json_are_what_is_trained_and_the_reason_where_nothing_is(
    capsys: pytest.CaptureFixture[str], tiny_model: str, byte_tokenizer: Any, tmp_path: Path
) -> None:
    good = {"question": "Capital?", "chosen": "Lima", "rejected": "Quito", "rejected_ended": False}
    path = write(tmp_path / "p.jsonl", good, "{broken", {**good, "rejected": ""}, {**good, "chosen": "x" * 5000})
    first, broken, empty, long = inspected(capsys, path, tiny_model)
    assert set(first) >= {
        *("line", "kind", "prompt", "prompt_ids", "chosen", "chosen_ids", "chosen_tokens"),
        *("rejected", "rejected_ids", "rejected_tokens", "skipped"),
    }
    assert (first["line"], first["kind"], first["skipped"]) == (1, "preference", None)
    assert first["prompt"] == "[user]Capital?<end>[assistant]" == byte_tokenizer.decode(first["prompt_ids"])
    assert first["chosen_tokens"] == ["L", "i", "m", "a", "<end>"]
    assert byte_tokenizer.decode(first["rejected_ids"]) == "Quito"
    assert [row["line"] for row in (broken, empty, long)] == [2, 3, 4]
    assert "not JSON" in broken["skipped"]
    assert "the rejected answer is empty" in empty["skipped"]
    assert "more than 2048" in long["skipped"]
    assert broken["prompt_ids"] is None


def test_records_as_json_have_their_chunks_and_what_is_cut(
    capsys: pytest.CaptureFixture[str], tiny_model: str, tmp_path: Path
) -> None:
    good = {"input": "Who?", "answer": "Ann", "context": "One sentence here. " * 100}
    path = write(tmp_path / "r.jsonl", {"id": "a", **good}, {"id": "a", **good}, {"id": "b", "input": "Who?"})
    first, twice, missing = inspected(capsys, path, tiny_model, "--chunk_size", "500", "--max_tokens", "1000")
    assert (first["line"], first["kind"], first["skipped"], first["chosen"]) == (1, "record", None, None)
    assert len(first["prompt_ids"]) <= 2048 - 1000
    assert first["cut_tokens"] > 1000
    assert [chunk["index"] for chunk in first["chunks"]] == list(range(len(first["chunks"])))
    assert first["chunks"][0]["text"] == good["context"][: first["chunks"][0]["end"]]
    assert "'a' is taken by" in twice["skipped"]
    assert missing["skipped"].startswith("answer: missing")


def test_what_is_compared_and_what_is_a_control_token_stands_out(tmp_path: Path, tiny_model: str, capsys: Any) -> None:
    main(["inspect", str(CASES / "orca.jsonl"), "--model", tiny_model, "--rows", "1"])
    out = capsys.readouterr().out
    assert "line 1  preference" in out
    assert "L|i|m|a|.|<end>" in out
    assert "line 2" not in out
    record = {"input": "Who?", "answer": "Ann", "context": "A \x1b[31m <|im_end|> B."}
    (row,) = inspected_records(
        str(write(tmp_path / "r.jsonl", record)), chatml_like(), 4000, prompt_format=ReasonThenAnswer()
    )
    console = Console(force_terminal=True, color_system="standard", width=100, record=True)
    show(row, chatml_like(), console)
    colored = console.export_text(styles=True)
    assert "\x1b[1;35m<|im_end|>\x1b[0m" in colored  # the template's
    assert "\\x1b[31m <|im_end|> B." in colored  # the document's
    assert "cut      0 tokens" in colored
    assert "\x1b[33m" not in colored  # yellow is for what is left out


def test_columns_and_arguments_are_options(tmp_path: Path, tiny_model: str, capsys: Any) -> None:
    path = write(tmp_path / "p.jsonl", {"ask": "Q", "good": "a", "bad": "b"})
    (row,) = inspected(capsys, path, tiny_model, "--columns", "{question: ask, chosen: good, rejected: bad}")
    assert row["prompt"] == "[user]Q<end>[assistant]"


def test_an_answer_without_a_worse_one_is_shown_as_it_is_learned(
    capsys: pytest.CaptureFixture[str], tiny_model: str, byte_tokenizer: Any, tmp_path: Path
) -> None:
    good = {"context": "Doc.", "query": "Q", "response": "Lima"}
    path = write(tmp_path / "a.jsonl", good, "{broken", {**good, "response": ""}, {"query": "Q"})
    first, broken, empty, missing = inspected(capsys, path, tiny_model)
    assert {row["kind"] for row in (first, broken, empty, missing)} == {"answer"}
    assert (first["line"], first["answer"], first["skipped"], first["rejected"]) == (1, "Lima", None, None)
    assert first["prompt"] == "[user]Doc.\n\nQ<end>[assistant]" == byte_tokenizer.decode(first["prompt_ids"])
    assert first["answer_tokens"] == ["L", "i", "m", "a", "<end>"]
    assert byte_tokenizer.decode(first["answer_ids"]) == "Lima<end>"
    assert first["answer_learned"] == [True] * 5
    assert "not JSON" in broken["skipped"]
    assert "the answer is empty" in empty["skipped"]
    assert missing["skipped"].startswith("answer: missing")
    main(["inspect", str(path), "--model", tiny_model, "--rows", "1"])
    out = capsys.readouterr().out
    assert "line 1  answer" in out
    assert "answer  5 tokens" in out
    assert "L|i|m|a|<end>" in out


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (
            ["dpo.jsonl"],
            "longmab inspect needs the model whose tokenizer reads it, --model NAME: longmab inspect dpo.jsonl --model",
        ),
        (["dpo.jsonl", "--rows", "2"], "longmab inspect dpo.jsonl --model NAME"),
        (["--json", "dpo.jsonl"], "longmab inspect dpo.jsonl --model NAME"),
        (
            ["--model", "m"],
            "longmab inspect needs the data, a file, folder or hub name: longmab inspect FILE --model m",
        ),
        ([], "longmab inspect needs the data, a file, folder or hub name and the model"),
    ],
)
def test_what_is_missing_is_said_in_the_words_of_the_command(
    args: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit:
        main(["inspect", *args])
    assert exit.value.code == 2
    message = capsys.readouterr().err
    assert said in message
    assert len(message.splitlines()) == 1
