"""Settings read from source are those that the classes take."""

from __future__ import annotations

import inspect
import subprocess
import sys
from importlib import import_module

import pytest

from longmab_pl.cli.options import SECTIONS, classes_of
from longmab_pl.cli.settings.classes import class_settings, full_path
from longmab_pl.cli.settings.source import public_homes

CONFIGURED = sorted({path for section in SECTIONS for path in classes_of(section) if path.startswith("longmab_pl.")})


@pytest.mark.parametrize("path", CONFIGURED)
def test_names_and_defaults_are_those_of_the_class(path):
    module, _, name = path.rpartition(".")
    found = class_settings(path)
    assert found is not None
    declared = inspect.signature(getattr(import_module(module), name)).parameters
    named = {key for key, value in declared.items() if value.kind not in (value.VAR_KEYWORD, value.VAR_POSITIONAL)}
    assert {setting.name for setting in found.settings} == named
    required = {key for key in named if declared[key].default is inspect.Parameter.empty}
    assert {setting.name for setting in found.settings if setting.default is None} == required
    assert found.summary, "its docstring says what it is"


def test_every_setting_of_the_data_and_the_model_has_a_description():
    for path in ("longmab_pl.RolloutDataModule", "longmab_pl.DPOModule"):
        found = class_settings(path)
        assert found is not None
        assert [setting.name for setting in found.settings if not setting.help] == []


def test_classes_are_found_by_their_last_part():
    assert full_path("BanditRollout") == "longmab_pl.strategies.BanditRollout"
    assert full_path("longmab_pl.strategies.BanditRollout") == "longmab_pl.strategies.BanditRollout"
    assert full_path("NoSuchClass") is None
    assert full_path("train") is full_path("longmab_pl.train") is None, "a function, not a class"
    assert all(class_settings(path) for path in public_homes() if full_path(path))


def test_nothing_is_imported_to_read_settings():
    code = (
        "import sys; from longmab_pl.cli.settings.classes import class_settings\n"
        "assert class_settings('longmab_pl.DPOModule').find('beta') is not None\n"
        "assert class_settings('lightning.pytorch.trainer.trainer.Trainer').find('devices') is not None\n"
        "loaded = {'torch', 'lightning', 'transformers', 'numpy', 'jsonargparse'} & set(sys.modules)\n"
        "assert not loaded, loaded"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
