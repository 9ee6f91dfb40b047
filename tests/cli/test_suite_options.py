"""Short suite names on the command line: what they and their options stand for."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from longmab_pl.cli.evaluate_start import run
from longmab_pl.cli.suite_options import value_of, with_class_paths
from longmab_pl.errors import ConfigError
from longmab_pl.evaluation import EvaluationResult, Suite
from longmab_pl.evaluation import __all__ as public
from longmab_pl.evaluation.short_names import SHORT_NAMES

OWN = {"model", "suite", "out", "engine", "config"}


def suites(*args: str) -> Any:
    """Return the suites that the arguments choose, as of a config file."""
    words = with_class_paths(args, OWN)
    return json.loads(words[words.index("--suite") + 1])


@pytest.mark.parametrize(
    ("text", "hint", "value"),
    [
        ("4k,8k,16k", Sequence[int], [4096, 8192, 16384]),
        ("1m", list[int], [1024**2]),
        ("[100, 200]", Sequence[int], [100, 200]),
        ("8k,16k", Sequence[str] | None, ["8k", "16k"]),
        ("null", Sequence[str] | None, None),
        ("32k", int | None, 32768),
        ("true", bool | None, True),
        ("0.5", float, 0.5),
        ("010", str, "010"),
        ("niah_single_1", Sequence[str] | None, ["niah_single_1"]),
        ("{a: 1}", dict[str, int], {"a": 1}),
    ],
)
def test_a_value_is_read_as_its_setting_wants_it(text, hint, value):
    assert value_of(text, hint) == value


def test_a_short_name_is_a_class_with_its_settings():
    assert suites("--suite", "ruler", "--lengths", "4k,8k", "--model", "m") == {
        "class_path": "longmab_pl.evaluation.RULERSuite",
        "init_args": {"lengths": [4096, 8192]},
    }
    assert suites("--suite=longbench_e", "--data=d")["init_args"] == {
        "tasks": ["longbench_e"],
        "name": "longbench_e",
        "data": "d",
    }
    nolima = suites("--suite", "nolima", "--needles", "n.json", "--books", "b", "--lengths", "1k")
    assert nolima["init_args"]["lengths"] == [1000], "NoLiMa counts in 1,000"
    assert with_class_paths(["--suite", "ruler", "--model", "m", "--out", "o"], OWN)[:4] == [
        "--model",
        "m",
        "--out",
        "o",
    ]


def test_settings_of_a_group_need_no_group():
    found = suites("--suite", "ruler", "--enable_thinking", "true", "--asking.system", "Be brief.")
    assert found["init_args"] == {"asking": {"enable_thinking": True, "system": "Be brief."}}
    assert suites("--suite", "needle", "--lengths", "1k,2k")["init_args"] == {"needle": {"lengths": [1024, 2048]}}


def test_suites_combine_and_an_option_goes_to_all_that_take_it(capsys):
    first, second, third = suites(
        "--suite", "ruler,needle", "--suite", "qa", "--lengths", "1k", "--ruler.samples", "3", "--data", "q.jsonl"
    )
    assert first["init_args"] == {"lengths": [1024], "samples": 3}
    assert second["init_args"] == {"needle": {"lengths": [1024]}}
    assert third["init_args"] == {"data": "q.jsonl"}
    assert "qa has no setting 'lengths'" in capsys.readouterr().err
    limited = suites("--suite", "ruler,needle,qa", "--limit", "5")
    assert [suite["init_args"] for suite in limited] == [{"samples": 5}, {"needle": {"needles": 5}}, {"limit": 5}]


def test_class_paths_and_config_files_are_left_alone():
    for args in (
        ["--suite", "longmab_pl.evaluation.RULERSuite", "--suite.lengths", "[256]"],
        ["--config", "evaluate.yaml"],
        ["--suite", '{"class_path": "longmab_pl.evaluation.RULERSuite"}'],
    ):
        assert with_class_paths(args, OWN) == args


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--suite", "rulr"], "there is no suite 'rulr'; did you mean `ruler`"),
        (["--suite", "RULERSuite"], "did you mean `ruler`"),
        (["--suite", "longbench-v2"], "did you mean `longbench_v2`"),
        (["--suite", "zzz"], "Suites are qa, longbench, "),
        (
            ["--suite", "ruler", "--length", "4k"],
            "there is no such option of ruler; did you mean `--lengths`",
        ),
        (["--suite", "ruler", "--qa.data", "x"], "a setting of qa, which --suite does not name"),
        (["--suite", "ruler,ruler"], "ruler is given twice"),
        (["--suite", "ruler", "--lengths"], "--lengths has no value"),
        (["--suite", "longbench_v2"], "--suite longbench_v2 needs --data (503 four-way choices; --data data.json"),
        (["--suite", "nolima", "--needles", "n.json"], "--suite nolima needs --books (needles without words"),
        (["--suite", "longbench_judge", "--data", "x"], "--suite longbench_judge needs --judge.model (12 tasks"),
        (["--suite", "longbench_judge", "--data", "x", "--judge.prompts", "{}"], "needs --judge.model"),
    ],
)
def test_a_mistake_is_named_with_the_nearest_name(args, message):
    with pytest.raises(ConfigError, match=message.replace("(", r"\(")):
        with_class_paths(args, OWN)


def test_what_a_config_file_may_hold_is_not_missed():
    assert with_class_paths(["--config", "evaluate.yaml", "--suite", "longbench_v2"], OWN)[:2] == [
        "--config",
        "evaluate.yaml",
    ]


def test_every_suite_of_the_package_has_a_short_name():
    home = import_module("longmab_pl.evaluation")
    classes = {name for name in public if isinstance(value := getattr(home, name), type) and Suite in value.__mro__}
    named = {row.suite.rpartition(".")[2] for row in SHORT_NAMES.values()}
    assert classes - {"Suite"} == named


def test_help_names_every_suite_and_one_shows_its_settings(capsys):
    with pytest.raises(SystemExit) as stopped:
        run(["evaluate", "--help"])
    assert stopped.value.code == 0
    lines = capsys.readouterr().out.splitlines()
    for row in SHORT_NAMES.values():
        assert any(line.split() and line.split()[0] == row.name and row.help in line for line in lines)
    with pytest.raises(SystemExit):
        run(["evaluate", "--suite", "ruler", "--help"])
    assert "score that counts as effective" in " ".join(capsys.readouterr().out.split())


def test_two_suites_in_one_command(tiny_model: str, tmp_path: Path, capsys):
    args = ["--suite", "ruler,needle", "--lengths", "1k", "--limit", "1", "--ruler.tasks", "vt,niah_single_1"]
    args += ["--needle.depths", "0,100", "--model", tiny_model, "--out", str(tmp_path / "out")]
    args += ["--engine", "longmab_pl.engines.ScriptedEngine", "--engine.answer", f"{__name__}.always_same"]
    run(["evaluate", *args])
    found = {path.parent.name: EvaluationResult.load(path) for path in (tmp_path / "out").glob("*/result.json")}
    assert {name: {task: result.tasks[task].n for task in result.tasks} for name, result in found.items()} == {
        "ruler": {"vt": 1, "niah_single_1": 1},
        "needle": {"needle": 2},
    }
    with pytest.raises(SystemExit):
        run(["evaluate", *args, "--samples", "many"])
    assert "samples" in capsys.readouterr().err


def always_same(request, i):
    return "I do not know."
