"""Runs with a judge from config files, through the command line."""

from __future__ import annotations

import json

import pytest
import yaml
from small_config import write_config

from longmab_pl.cli.main import main
from longmab_pl.prompts.judge import ENGLISH

JUDGE = """
data:
  init_args:
    engines:
      judge:
        engine:
          class_path: longmab_pl.engines.ScriptedEngine
          init_args: {{answer: scripted_answers.judged, structured_output: true, max_model_len: 1000000}}
        model: {model}
        budget: {{calls: 100000}}
    rewards:
{rewards}
"""

HALVES = """
      - class_path: longmab_pl.rewards.WeightedSum
        init_args:
          terms:
            - {weight: 0.5, reward: longmab_pl.rewards.AnswerMatch}
            - {weight: 0.5, reward: longmab_pl.rewards.LLMJudge}
"""


@pytest.fixture
def configs(tmp_path, tiny_model, monkeypatch):
    """Options of a bandit run with the given rewards."""
    monkeypatch.chdir(tmp_path)

    def made(rewards: str) -> list[str]:
        judge = tmp_path / "judge.yaml"
        judge.write_text(JUDGE.format(model=tiny_model, rewards=rewards))
        return ["--config", str(write_config(tmp_path, tiny_model)), "--config", str(judge)]

    return made


def responses(tmp_path):
    (path,) = tmp_path.glob("run/rounds/*/rollouts.jsonl")
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    return [response for row in rows for response in row["responses"]]


def test_a_bandit_learns_from_half_the_gold_answer_and_half_a_judge(configs, tmp_path, capsys):
    main(["rollout", *configs(HALVES)])
    found = responses(tmp_path)
    assert len(found) == 6 * 4
    for response in found:
        score = response["scores"]["weighted_sum"]
        parts = score["parts"]
        assert score["excluded"] is None
        assert score["value"] == pytest.approx(0.5 * parts["answer_match"] + 0.5 * parts["llm_judge"])
        assert 0 <= parts["llm_judge/completeness"] <= 10
    assert len({response["scores"]["weighted_sum"]["value"] for response in found}) > 10
    said = capsys.readouterr()
    assert "judge: " in said.err
    assert "weighted_sum/llm_judge/helpfulness" in said.out


def test_a_dry_run_says_what_a_round_will_ask_and_asks_nothing(configs, tmp_path, capsys):
    rewards = "      - longmab_pl.rewards.LLMJudge"
    main(["rollout", *configs(rewards), "--dry-run", "--data.init_args.engines.judge.budget.calls=10"])
    out = " ".join(capsys.readouterr().out.split())
    assert "round 1, about: 6 records" in out
    assert "data.engines.judge.budget.calls is 10, about" in out
    assert not (tmp_path / "run").exists()
    assert "llm_judge" in out
    assert "strategy" in out


def test_prompts_of_ones_own_are_a_file_that_the_config_names(configs, tmp_path, capsys):
    texts = {name: getattr(ENGLISH, name) for name in ENGLISH.__dataclass_fields__}
    texts["helpfulness_of_all"] = "Be kind.\n" + texts["helpfulness_of_all"]
    (tmp_path / "kind.yaml").write_text(yaml.safe_dump(texts))
    rewards = "      - {class_path: longmab_pl.rewards.LLMJudge, init_args: {english: kind.yaml}}"
    main(["rollout", *configs(rewards)])
    (settings,) = tmp_path.glob("run/rounds/*/settings.json")
    assert "Be kind." in settings.read_text()
    texts["helpfulness_of_all"] = "Be kind."
    (tmp_path / "kind.yaml").write_text(yaml.safe_dump(texts))
    with pytest.raises(SystemExit):
        main(["rollout", *configs(rewards)])
    assert "the judge's prompt 'helpfulness_of_all' holds no $names" in " ".join(capsys.readouterr().err.split())


def test_an_embedder_that_is_missing_is_said_before_anything_is_asked(configs, tmp_path, capsys):
    options = configs("      - longmab_pl.rewards.LLMJudge")
    with pytest.raises(SystemExit):
        main(["rollout", *options, "--data.init_args.embedder.init_args.model=./no-such-embedder"])
    assert "no-such-embedder" in " ".join(capsys.readouterr().err.split())
    assert not list(tmp_path.glob("run/rounds/*/completions.jsonl"))
