"""The study of answer styles counts what changes in a run that a scripted engine made."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from longmab_pl.data.records import QARecord
from longmab_pl.engines import ScriptedEngine
from longmab_pl.engines.protocol import Request, Sampling
from longmab_pl.models.embedder import Embedder
from longmab_pl.pairs.best_worst import BestWorst
from longmab_pl.prompts.formats import ReasonThenAnswer
from longmab_pl.rewards.answer_match import AnswerMatch
from longmab_pl.rollout.round import Round, RoundPlan
from longmab_pl.rollout.round_folder import RoundFolder
from longmab_pl.strategies.best_of_n import BestOfN

STUDY = Path(__file__).parents[2] / "studies" / "answer_styles.py"
SAID = {
    "gained": ["**Answer** : two", "I do not know"],
    "lost": ["Answer: In November", "Answer: In May"],
    "same": ["Answer: 2", "Answer: 3"],
    "none": ["Answer: 3", "Answer: 4"],
}
GOLD = {"gained": "2", "lost": "no", "same": "2", "none": "2"}


def answer(request: Request, i: int) -> str:
    return SAID[request.id.split("/")[0]][i]


def test_a_runs_rewards_and_pairs_by_both_styles(tmp_path, byte_tokenizer):
    records = [QARecord(name, "How many?", (gold,), "Some text.") for name, gold in GOLD.items()]
    plan = RoundPlan(BestOfN(2, Sampling(max_tokens=64)), (AnswerMatch(),), ReasonThenAnswer(), BestWorst(), Embedder())
    train = tmp_path / "qa.jsonl"
    rows = [{"id": r.id, "input": r.question, "answer": r.answers[0], "context": r.context} for r in records]
    train.write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings = plan.settings(0, records, "tiny", "base") | {"train": str(train), "round": 0, "seed": 0}
    round = Round(plan, RoundFolder(tmp_path / "run", 0, "f"), records, byte_tokenizer, settings)
    round.roll_out({"policy": ScriptedEngine(answer)})
    round.finish("base")
    predictions = tmp_path / "run" / "evaluations" / "after-round-1" / "qa" / "qa.jsonl"
    predictions.parent.mkdir(parents=True)
    predictions.write_text(json.dumps({"pred": "**Answer**: 2", "answers": ["two"]}) + "\n")

    out = tmp_path / "styles.json"
    command = [sys.executable, str(STUDY), str(tmp_path / "run"), "--show", "2", "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(out.read_text())
    assert (found["responses"], found["records"]) == (8, 4)
    assert (found["rewards"]["pair"]["up"], found["rewards"]["pair"]["down"]) == (1, 1)
    assert found["rewards"]["in_format"]["up"] == 1
    assert found["pairs"] == {"same": 1, "other": 0, "gained": 1, "lost": 1, "none": 1}
    (evaluation,) = found["evaluations"]
    assert (evaluation["paper"]["em"], evaluation["lenient"]["em"]) == (0.0, 100.0)
    assert "0.00 -> 1.00" in done.stdout
