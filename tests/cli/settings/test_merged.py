from __future__ import annotations

from pathlib import Path

import pytest
from lightning import Trainer

from longmab_pl.cli.settings.merged import merged_config, read_yaml
from longmab_pl.errors import ConfigError


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text(
        "trainer: {callbacks: [{class_path: longmab_pl.callbacks.RunLogging}]}\n"
        "data:\n  class_path: longmab_pl.RolloutDataModule\n  init_args:\n    rounds: 2\n"
        "    engine: {class_path: VLLMEngine, init_args: {concurrency: 3, max_model_len: 1024}}\n"
    )
    return str(path)


def test_options_win_over_files_with_and_without_init_args(config):
    merged = merged_config(["--config", config, "--data.rounds", "3", "--data.init_args.train=my.jsonl"])
    assert merged.value("data", "rounds") == 3
    assert merged.value("data", "train") == "my.jsonl"


def test_another_class_keeps_only_the_settings_that_it_knows(config, tmp_path):
    (tmp_path / "b.yaml").write_text("data: {init_args: {engine: {class_path: ServerEngine}}}")
    merged = merged_config(["--config", config, "--config", str(tmp_path / "b.yaml")])
    assert merged.class_name("data", "engine") == "ServerEngine"
    assert dict(merged.value("data", "engine").inner) == {"max_model_len": 1024}


def test_lists_grow_and_options_reach_their_last_item(config):
    merged = merged_config(
        ["--config", config, "--trainer.callbacks+=Evaluation", "--trainer.callbacks.suite=QASuite",
         "--trainer.callbacks.suite.limit=3"]
    )  # fmt: skip
    first, second = merged.value("trainer", "callbacks")
    assert first.class_path == "longmab_pl.callbacks.RunLogging"
    assert second.inner["suite"].inner["limit"] == 3


def test_flags_are_no_settings_and_take_no_value():
    merged = merged_config(["--print_config=skip_null", "--dry-run", "--model.model", "a", "--print_config"])
    assert merged.root.keys() == {"model"}


def test_the_run_folder_is_the_trainers(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    assert merged_config([]).run_folder == Path("runs/longmab")
    for asked in ("~/runs/a", "null", "runs/b"):
        found = merged_config([f"--trainer.default_root_dir={asked}"]).run_folder
        trainer = Trainer(default_root_dir=None if asked == "null" else asked, logger=False, accelerator="cpu")
        assert found.absolute() == Path(trainer.default_root_dir).absolute()


def test_files_that_are_no_mapping_or_no_yaml_are_refused_with_their_line(tmp_path):
    path = tmp_path / "bad.yaml"
    path.write_text("model:\n  model: a\n lora: {r: 8}\n")
    with pytest.raises(ConfigError, match=r"bad\.yaml:3: not YAML"):
        read_yaml(str(path))
    path.write_text("- a\n- b\n")
    with pytest.raises(ConfigError, match=r"bad\.yaml: a config is a mapping"):
        read_yaml(str(path))
    path.write_bytes(b"model: \xff\n")
    with pytest.raises(ConfigError, match=r"bad\.yaml: not UTF-8"):
        read_yaml(str(path))
