from __future__ import annotations

import re

import pytest
import yaml

from longmab_pl.cli.config_files import config_folder
from longmab_pl.cli.settings.check import mistakes
from longmab_pl.cli.settings.complete import complete
from longmab_pl.cli.settings.merged import merged_config

CONFIGS = sorted(path.stem for path in config_folder().glob("*.yaml"))


@pytest.mark.parametrize("name", CONFIGS)
def test_a_complete_config_means_the_same(name):
    source = config_folder() / f"{name}.yaml"
    assert yaml.safe_load(complete(source)) == yaml.safe_load(source.read_text())


@pytest.mark.parametrize("name", CONFIGS)
def test_every_config_of_the_package_has_no_mistake(name):
    config = merged_config(["--config", str(config_folder() / f"{name}.yaml")])
    whole = bool(config.class_name("data"))
    assert [str(found) for found in mistakes(config, part=True) if whole or not found.incomplete] == []


def test_settings_that_a_config_leaves_out_are_there_with_default_and_meaning():
    text = complete(config_folder() / "demo.yaml")
    assert "\n  # beta: null  # strength of the pull to the reference" in text
    assert "\n    # eval_fraction: 0.0\n" in text
    assert "\n# checkpoint:\n" in text


def test_a_setting_that_is_uncommented_where_it_stands_is_right(tmp_path):
    text = complete(config_folder() / "demo.yaml")
    for name in ("beta", "weight_decay", "epochs_per_round", "credit", "keep_best"):
        text, count = re.subn(rf"^(\s*)# ({name}: )", r"\1\2", text, flags=re.MULTILINE)
        assert count == 1, name
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    assert [str(found) for found in mistakes(merged_config(["--config", str(path)]))] == []
