"""`longmab fit` on given answers: the config, and the message where two answers would be compared."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from longmab_pl.cli.config_files import resolve_configs
from longmab_pl.cli.inputs_check import refuse_missing_inputs
from longmab_pl.cli.main import main
from longmab_pl.cli.settings.merged import merged_config
from longmab_pl.errors import ConfigError


@pytest.fixture
def answers(tmp_path: Path) -> Path:
    path = tmp_path / "answers.jsonl"
    rows = ({"context": f"Number {i}.", "query": f"Which is {i}?", "response": f"number {i}"} for i in range(6))
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def options(source: Path, model: str, run: Path) -> list[str]:
    return [
        *("--data.train", str(source), "--model.model", model, "--trainer.default_root_dir", str(run)),
        *("--trainer.accelerator", "cpu", "--trainer.logger", "false", "--data.val_fraction", "0"),
    ]


def test_the_sft_config_trains_an_adapter_on_answers(
    tmp_path: Path, tiny_model: str, answers: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["fit", "--config", "sft", *options(answers, tiny_model, tmp_path / "run")])
    assert "epochs over given answers" in capsys.readouterr().out
    assert (tmp_path / "run" / "adapter" / "adapter_config.json").exists()
    card = (tmp_path / "run" / "adapter" / "README.md").read_text()
    assert "SFTPhase" in card


def test_a_comparing_run_refuses_answers_alone_in_one_line(
    tmp_path: Path, tiny_model: str, answers: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["fit", "--config", "preferences", *options(answers, tiny_model, tmp_path / "run")])
    *plan, message = capsys.readouterr().err.strip().splitlines()
    assert not [line for line in plan if line.startswith("error")]
    assert f"data.train {answers}: its rows have one answer each and no worse one" in message
    assert "model.phases: [longmab_pl.training.SFTPhase]" in message
    assert "data.columns: {rejected: NAME}" in message


def test_the_check_reads_the_configs_phases_and_columns(answers: Path, tmp_path: Path) -> None:
    pairs = tmp_path / "pairs.jsonl"
    pairs.write_text(json.dumps({"question": "Q", "chosen": "a", "rejected": "b"}) + "\n")

    def check(config: str, *args: str) -> None:
        refuse_missing_inputs(merged_config(resolve_configs(["--config", config, *args])))

    given = ("--data.train", str(answers))
    with pytest.raises(ConfigError, match="no worse one"):
        check("preferences", *given)
    with pytest.raises(ConfigError, match="no worse one"):
        check("preferences", *given, "--model.phases", "[SFTPhase, longmab_pl.training.PreferencePhase]")
    with pytest.raises(ConfigError, match=r"data\.val"):
        check("preferences", "--data.train", str(pairs), "--data.val", str(answers))
    check("preferences", *given, "--model.phases", "[longmab_pl.training.SFTPhase]")
    check("preferences", "--data.train", str(pairs))
    check("sft", *given)
