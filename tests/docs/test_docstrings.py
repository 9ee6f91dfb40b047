"""Examples in the docstrings of public names run as they stand, with all public names imported."""

from __future__ import annotations

import doctest
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import pytest
from transformers import AutoTokenizer

from longmab_pl.engines import ScriptedEngine
from longmab_pl.exports import PACKAGES

FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def examples() -> Iterator[Any]:
    modules = sorted({module for package in PACKAGES for module in import_module(package).HOMES.values()})
    for module in [*modules, "longmab_pl.exports"]:
        for test in doctest.DocTestFinder().find(import_module(module), module):
            if test.examples:
                yield pytest.param(test, id=test.name)


@pytest.fixture(scope="module")
def names(tiny_model: Any) -> dict[str, Any]:
    """Every public name, and a run's `engine` and `tokenizer`."""
    public = {name: getattr(import_module(p), name) for p in PACKAGES for name in import_module(p).HOMES}
    return public | {
        "engine": ScriptedEngine(lambda request, i: "an answer"),
        "tokenizer": AutoTokenizer.from_pretrained(tiny_model),
    }


@pytest.mark.parametrize("test", examples())
def test_the_example_of(
    test: doctest.DocTest, names: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path
) -> None:
    monkeypatch.chdir(tmp_path)
    test.globs = names | dict(test.globs)
    said: list[str] = []
    result = doctest.DocTestRunner(optionflags=FLAGS).run(test, out=said.append)
    assert not result.failed, "".join(said)
