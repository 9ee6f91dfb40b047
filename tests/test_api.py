"""A run from Python: in one call, and from the parts with imports from the package's root only."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from river_rounds import sometimes_right, write_rivers
from safetensors.torch import load_file

import longmab_pl
from longmab_pl import AdapterExport, BanditRollout, DirectAnswer, DPOModule, RolloutDataModule, RoundReport
from longmab_pl.engines import Sampling, ScriptedEngine
from longmab_pl.pairs import BestWorst
from longmab_pl.strategies import Chunking
from longmab_pl.training import SFTPhase

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
SNIPPETS = re.findall(r"```python\n(.*?)```", README.partition("## From Python")[2].partition("\n## ")[0], re.DOTALL)


def rollout_settings() -> dict:
    sampling = Sampling(max_tokens=16, presence_penalty=0.0)
    return {
        "engine": ScriptedEngine(sometimes_right),
        "strategy": BanditRollout(pulls=4, top_k=2, init="uniform", chunking=Chunking(60, 0, 1), sampling=sampling),
        "prompt_format": DirectAnswer(),
        "pairs": BestWorst(max_prompt_length=1500),
        "records_per_round": 6,
        "verify_sync": False,
    }


POLICY = {"dtype": "fp32", "gradient_checkpointing": False, "learning_rate": 1e-2}
TRAINER = {"accelerator": "cpu", "logger": False, "enable_progress_bar": False}


def test_one_call_and_the_parts_make_the_same_adapter(tmp_path, tiny_model):
    from lightning import Trainer, seed_everything

    train = str(write_rivers(tmp_path / "qa.jsonl"))
    seed_everything(0)
    run = longmab_pl.train(
        train, model=tiny_model, rounds=2, output=str(tmp_path / "a"), data=rollout_settings(), policy=POLICY,
        trainer=TRAINER, callbacks=[],
    )  # fmt: skip
    assert [row["round"] for row in run.report["rounds"]] == [1, 2]
    seed_everything(0)
    trainer = Trainer(
        **TRAINER, default_root_dir=tmp_path / "b", enable_checkpointing=False,
        callbacks=[RoundReport(picture=False), AdapterExport()],
    )  # fmt: skip
    trainer.fit(DPOModule(tiny_model, **POLICY), RolloutDataModule(train=train, rounds=2, **rollout_settings()))
    assert trainer.current_epoch == 2, "max_epochs needs no arithmetic"
    assert run.adapter is not None
    first, second = (
        load_file(folder / "adapter_model.safetensors") for folder in (run.adapter, tmp_path / "b/adapter")
    )
    assert first.keys() == second.keys()
    assert all(first[name].equal(second[name]) for name in first)


def test_a_tenth_is_held_out_and_evaluated_without_questions_of_ones_own(tmp_path, tiny_model, capsys):
    settings = rollout_settings() | {
        "engine": ScriptedEngine(lambda request, i: " number 3" if "/" in request.id else "")
    }
    run = longmab_pl.train(
        str(write_rivers(tmp_path / "qa.jsonl")), model=tiny_model, output=str(tmp_path / "a"), rounds=1,
        data=settings, policy=POLICY, trainer=TRAINER,
    )  # fmt: skip
    assert run.adapter is None, "no round had a usable pair"
    assert "held out for evaluation: 1 of 12 records" in capsys.readouterr().err
    (result,) = (tmp_path / "a" / "evaluations").glob("before-training/qa/result.json")
    assert json.loads(result.read_text())["tasks"]["qa"]["n"] == 1


def test_given_answers_are_trained_on_in_one_call(tmp_path, tiny_model):
    source = tmp_path / "answers.jsonl"
    rows = ({"question": f"Which is {i}?", "answer": f"number {i}"} for i in range(4))
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    run = longmab_pl.train_on_file(
        str(source), model=tiny_model, epochs=2, output=str(tmp_path / "run"),
        policy={**POLICY, "phases": [SFTPhase()]}, trainer=TRAINER,
    )  # fmt: skip
    assert run.adapter is not None
    first, second = run.report["rounds"]
    assert second["train/loss"] < first["train/loss"]
    assert second["answers/count"] == 4


@pytest.mark.slow
@pytest.mark.parametrize("number", range(len(SNIPPETS)))
def test_the_readmes_examples_run_as_they_stand(number, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = longmab_pl.data.sources.shipped_path("synthetic_train").read_text().splitlines()[:12]
    Path("my_records.jsonl").write_text("\n".join(rows) + "\n")
    exec(compile(SNIPPETS[number], f"README.md, example {number + 1}", "exec"), {})


def test_the_readmes_examples_import_from_the_root_only_and_are_short():
    assert len(SNIPPETS) >= 2
    for text in SNIPPETS:
        assert "from longmab_pl." not in text
        assert len([line for line in text.splitlines() if line.strip()]) <= 25
