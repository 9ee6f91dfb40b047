from __future__ import annotations

import inspect
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from longmab_pl.cli.config_errors import summary
from longmab_pl.errors import DataError
from longmab_pl.exports import PACKAGES, RENAMED, find_class, options_of, public_name, public_names
from longmab_pl.pairs.best_worst import BestWorst
from longmab_pl.prompts.formats import DirectAnswer, PromptFormat
from longmab_pl.strategies.bandit.strategy import BanditRollout
from longmab_pl.strategies.base import Strategy

NAMES = sorted(public_names())
REFERENCE = (Path(__file__).parents[1] / "docs" / "reference.md").read_text()


def test_every_public_name_leads_to_its_object():
    for name in NAMES:
        package, _, short = name.rpartition(".")
        found = getattr(import_module(package), short)
        assert inspect.getmodule(found) is not None, name
        if inspect.isclass(found):
            assert public_name(found).rpartition(".")[2] == short


def test_tables_and_promises_of_a_package_agree():
    for package in PACKAGES:
        module = import_module(package)
        assert set(module.HOMES) <= set(module.__all__), package


def test_a_class_has_one_public_name():
    assert public_name(BanditRollout) == "longmab_pl.strategies.BanditRollout"
    assert public_name(BestWorst) == "longmab_pl.pairs.BestWorst"
    assert public_name(dict) == "builtins.dict"


def test_classes_are_found_by_public_name_and_by_their_own_module():
    assert find_class("longmab_pl.pairs.BestWorst", BestWorst) is BestWorst
    assert find_class("longmab_pl.pairs.best_worst.BestWorst", BestWorst) is BestWorst
    assert find_class("longmab_pl.prompts.DirectAnswer", PromptFormat) is DirectAnswer
    assert find_class("longmab_pl.strategies.BanditRollout", Strategy) is BanditRollout


@pytest.mark.parametrize(
    "name",
    [
        "os.system",
        "antigravity.fly",
        "longmab_pl.pairs.rule.random",
        "longmab_pl.pairs.import_module",
        "longmab_pl.cli.main.main",
        "longmab_pl.nothing.BestWorst",
        "longmab_plus.pairs.BestWorst",
        "BestWorst",
        "",
        "\x1b[31m" + "x" * 100_000,
    ],
)
def test_other_names_are_refused_and_nothing_is_imported(name):
    before = set(sys.modules)
    with pytest.raises(DataError, match="none of the public classes") as refused:
        find_class(name, BestWorst)
    assert set(sys.modules) == before
    assert len(str(refused.value)) < 200
    assert str(refused.value).isprintable()


def test_a_public_class_of_another_kind_is_refused():
    with pytest.raises(DataError, match="is not a BestWorst"):
        find_class("longmab_pl.prompts.DirectAnswer", BestWorst)
    with pytest.raises(DataError, match="is not a PromptFormat"):
        find_class("longmab_pl.pairs.BestWorst", PromptFormat)
    with pytest.raises(DataError, match="is not a PromptFormat"):
        find_class("longmab_pl.prompts.PromptFormat", PromptFormat)
    with pytest.raises(DataError, match="is not a BestWorst"):
        find_class("longmab_pl.extract_answer", BestWorst)


def test_finding_a_pair_rule_does_not_wait_for_torch():
    code = (
        "import sys; from longmab_pl.exports import find_class; from longmab_pl.pairs.best_worst import BestWorst\n"
        "find_class('longmab_pl.pairs.BestWorst', BestWorst); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_names_of_today_are_where_the_renames_lead():
    classes = {name: getattr(import_module(name.rpartition(".")[0]), name.rpartition(".")[2]) for name in NAMES}
    options = set().union(*map(options_of, classes.values()))
    for old, new in RENAMED.items():
        assert new in (classes if "." in new else options), (old, new)
        assert old not in {name.rpartition(".")[2] for name in classes}, old


@pytest.mark.parametrize("name", NAMES)
def test_every_public_name_is_in_the_docs(name):
    package, _, short = name.rpartition(".")
    section = REFERENCE.partition(f"## `{package}`\n")[2].partition("\n## ")[0]
    assert f"| `{short}` |" in section, "add a row to docs/reference.md"


@pytest.mark.parametrize("name", NAMES)
def test_every_public_name_is_suggested_for_a_path_that_does_not_exist(name):
    short = name.rpartition(".")[2]
    message = summary(f"Expected a dot import path string: longmab_pl.elsewhere.{short}", own=())
    assert message.endswith(f".{short}`?")


def test_options_of_every_public_class_are_suggested():
    for name in NAMES:
        package, _, short = name.rpartition(".")
        found = getattr(import_module(package), short)
        for option in filter(lambda option: len(option) > 2, options_of(found) if inspect.isclass(found) else ()):
            message = f"given class_path '{name}':\n Option '{option}z' is not accepted"
            assert summary(message, own=()).endswith("`?"), (name, option)
