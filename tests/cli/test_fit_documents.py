"""`longmab fit --documents`: the run writes its questions first, trains on them and evaluates on held-out documents."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from question_writing import write_documents
from small_config import write_config

from longmab_pl.cli.config_files import resolve_configs
from longmab_pl.cli.main import main
from longmab_pl.cli.settings.merged import merged_config
from longmab_pl.cli.settings.shortcuts import expanded
from longmab_pl.data.readers import read_records
from longmab_pl.errors import ConfigError


def fit(tmp_path: Path, model: str, *options: str) -> None:
    config = write_config(tmp_path, model)
    engine = ["--data.engine.answer", "question_writing.towns"]
    main(["fit", "--config", str(config), "--documents", str(tmp_path / "docs"), *engine, *options])


def test_a_run_writes_its_questions_and_trains_on_them(
    tmp_path: Path, tiny_model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write_documents(tmp_path / "docs", documents=5)
    fit(tmp_path, tiny_model)
    said = capsys.readouterr().out
    run = tmp_path / "run"
    assert "questions written about 10 of them" in said
    records = read_records(str(run / "documents" / "train.jsonl")).records
    assert len(records) == 8
    report = json.loads((run / "report.json").read_text())
    assert report["rounds"][0]["rollout/records"] == 8
    assert report["rounds"][0]["pairs/count"] > 0
    assert report["evaluations"][0]["n"] == 2
    assert (run / "adapter" / "adapter_config.json").exists()


def test_the_option_stands_for_files_in_the_run_folder() -> None:
    config = merged_config(
        expanded(resolve_configs(["--config", "demo", "--documents", "papers", "--output", "runs/a"]))
    )
    assert config.value("data", "train") == "runs/a/documents/train.jsonl"
    (callback,) = config.value("trainer", "callbacks")
    assert callback.inner["suite"].inner["data"] == "runs/a/documents/eval.jsonl"
    own = expanded(resolve_configs(["--config", "demo", "--documents", "papers", "--eval", "mine.jsonl"]))
    (callback,) = merged_config(own).value("trainer", "callbacks")
    assert callback.inner["suite"].inner["data"] == "mine.jsonl"


def test_what_contradicts_the_option_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ConfigError, match="--train and --documents are both given"):
        expanded(resolve_configs(["--config", "demo", "--documents", "papers", "--train", "a.jsonl"]))
    with pytest.raises(ConfigError, match="data is a PreferenceDataModule"):
        expanded(resolve_configs(["--config", "preferences", "--documents", "papers"]))
    for command in ("doctor", "validate", "rollout"):
        with pytest.raises(SystemExit):
            main([command, "--config", "demo", "--documents", str(tmp_path)])
        assert f"longmab {command} takes no --documents" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["fit", "--config", "demo", "--documents", str(tmp_path / "gone"), "--output", str(tmp_path / "run")])
    assert "no such folder" in capsys.readouterr().err
