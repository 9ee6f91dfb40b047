"""The examples of docs/extend.md, run as they stand there: written to files, named in a config, through `fit`."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest
from small_config import write_config

from longmab_pl.cli.main import main

PAGE = (Path(__file__).parents[2] / "docs" / "extend.md").read_text(encoding="utf-8")
EXAMPLES = dict(re.findall(r"```python (\S+)\n(.*?)```\n\n```yaml\n.*?```", PAGE, re.DOTALL))
FRAGMENTS = dict(re.findall(r"```python (\S+)\n.*?```\n\n```yaml\n(.*?)```", PAGE, re.DOTALL))


@pytest.fixture
def fit(tmp_path, tiny_model, monkeypatch):
    """Run `fit` with one example; the run folder."""
    config = write_config(tmp_path, tiny_model, records=4)
    monkeypatch.syspath_prepend(tmp_path)

    def run(name: str, *options: str) -> Path:
        (tmp_path / name).write_text(EXAMPLES[name])
        fragment = tmp_path / "mine.yaml"
        fragment.write_text(FRAGMENTS[name])
        main(["fit", "--config", str(config), "--config", str(fragment), *options])
        return tmp_path / "run"

    yield run
    for name in EXAMPLES:
        sys.modules.pop(name.removesuffix(".py"), None)


def rollouts(run: Path) -> list[dict]:
    (path,) = (run / "rounds").glob("*/rollouts.jsonl")
    return [json.loads(line) for line in path.read_text().splitlines()]


def statistics(run: Path) -> dict[str, float]:
    (path,) = (run / "rounds").glob("*/round.json")
    return json.loads(path.read_text())["statistics"]


def test_every_example_has_its_config_and_fits_on_a_screen():
    assert set(EXAMPLES) == {"my_policy.py", "my_reward.py", "my_strategy.py", "my_loss.py", "my_suite.py"}
    for name, text in EXAMPLES.items():
        assert len(text.splitlines()) <= 40, name


def test_a_policy(fit):
    run = fit("my_policy.py")
    assert all(sum(row["trace"]["pulls"]) == 8 for row in rollouts(run))
    assert (run / "adapter" / "adapter_model.safetensors").is_file()


def test_a_reward(fit):
    run = fit("my_reward.py")
    scores = [response["scores"]["short_and_right"] for row in rollouts(run) for response in row["responses"]]
    values = {round(s["value"], 6) for s in scores}
    assert 1.0 in values
    assert min(values) < 0.2
    assert all(s["value"] == pytest.approx(s["parts"]["match"] * s["parts"]["short"]) for s in scores)
    assert statistics(run)["reward/short_and_right/short"] > 0
    settings = json.loads(next((run / "rounds").glob("*/settings.json")).read_text())
    assert settings["primary"] == "short_and_right"


def test_a_strategy(fit):
    run = fit("my_strategy.py")
    assert all(row["trace"]["temperatures"] == [0.3, 0.7, 1.0, 1.3] for row in rollouts(run))
    assert statistics(run)["temperatures/asked"] == 4
    assert statistics(run)["rollout/asked"] == 16


def test_a_loss(fit):
    run = fit("my_loss.py")
    assert (run / "adapter" / "adapter_model.safetensors").is_file()


def test_a_suite(fit):
    run = fit("my_suite.py", "--data.init_args.engine.init_args.answer", "scripted_answers.by_seed")
    report = json.loads((run / "report.json").read_text())
    assert {entry["suite"] for entry in report["evaluations"]} == {"rivers"}
    assert [e["when"] for e in report["evaluations"] if e["task"] is None] == ["before training", "after round 1"]
