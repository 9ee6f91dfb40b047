from __future__ import annotations

import pytest

from longmab_pl.cli.config_files import resolve_configs
from longmab_pl.cli.settings.check import mistakes
from longmab_pl.cli.settings.merged import MergedConfig, merged_config
from longmab_pl.cli.settings.short_names import with_full_names
from longmab_pl.cli.settings.shortcuts import expanded
from longmab_pl.errors import ConfigError


def config_of(*args: str) -> MergedConfig:
    merged = merged_config(expanded(resolve_configs(args)))
    assert [str(found) for found in mistakes(merged)] == []
    return merged


def suite_of(config: MergedConfig):
    (callback,) = config.value("trainer", "callbacks")
    return callback.inner["suite"]


def test_own_data_is_evaluated_on_own_questions():
    config = config_of("--config", "demo", "--train", "a.jsonl", "--eval", "b.jsonl", "--output", "runs/mine")
    assert config.value("data", "train") == "a.jsonl"
    assert suite_of(config).inner["data"] == "b.jsonl"
    assert suite_of(config).inner["limit"] == 64, "the config's own settings stay"
    assert config.value("data", "eval_fraction") == 0
    assert config.value("trainer", "default_root_dir") == "runs/mine"


def test_without_own_questions_a_tenth_is_held_out_and_never_the_packages_asked():
    config = config_of("--config", "demo", "--train", "a.jsonl")
    assert suite_of(config).inner["data"] is None
    assert config.value("data", "eval_fraction") == 0.1


def test_a_config_without_evaluation_gets_one(tmp_path):
    (tmp_path / "mine.yaml").write_text("data: {class_path: RolloutDataModule, init_args: {rounds: 1}}")
    config = config_of("--config", str(tmp_path / "mine.yaml"), "--train", "a.jsonl")
    assert suite_of(config).class_path == "longmab_pl.evaluation.QASuite"


def test_given_pairs_are_validated_on():
    config = config_of("--config", "preferences", "--train", "a.jsonl", "--eval", "b.jsonl", "--rounds", "3")
    assert config.value("data", "val") == "b.jsonl"
    assert config.value("data", "val_fraction") == 0
    assert config.value("data", "epochs") == 3


def test_loggers_are_named_shortly_and_need_no_folder():
    config = config_of("--config", "demo", "--output", "runs/a", "--logger", "csv")
    assert config.value("trainer", "logger").class_path == "lightning.pytorch.loggers.CSVLogger"
    assert config.value("trainer", "logger", "save_dir") == "runs/a"
    with pytest.raises(ConfigError, match="--logger tensorbord: there is no such logger; use tensorboard, wandb"):
        config_of("--logger", "tensorbord")


def test_a_short_option_without_its_value_is_refused():
    with pytest.raises(ConfigError, match="--train needs a value: training records"):
        expanded(["--train", "--eval", "a.jsonl"])


def test_short_class_names_are_written_out_line_by_line(tmp_path):
    path = tmp_path / "mine.yaml"
    text = "model: {loss: {class_path: SimPO}}  # SimPO\ndata:\n  init_args:\n    prompt_format: DirectAnswer\n"
    path.write_text(text)
    _, full = with_full_names(["--config", str(path)])
    assert "class_path: longmab_pl.training.losses.SimPO}}  # SimPO" in full
    assert "prompt_format: longmab_pl.prompts.DirectAnswer" in full
    assert full.count("\n") == text.count("\n")
    assert with_full_names(["--data.strategy=BestOfN"]) == ["--data.strategy=longmab_pl.strategies.BestOfN"]


def test_a_word_that_is_also_the_name_of_a_public_function_stays(tmp_path):
    assert with_full_names(["--data.split=train"]) == ["--data.split=train"]
    path = tmp_path / "mine.yaml"
    path.write_text("data: {init_args: {split: train}}\n")
    assert with_full_names(["--config", str(path)]) == ["--config", str(path)]


def test_the_short_form_of_config_is_the_same_option():
    assert resolve_configs(["-c", "demo"]) == resolve_configs(["--config", "demo"])
    assert resolve_configs(["-c=demo"]) == resolve_configs(["--config=demo"])
    assert config_of("-c", "demo").class_name("data") == "RolloutDataModule"
