"""The needle probe inside a whole fit: tiny random model, real DPO steps, a reader that learns to look further."""

from __future__ import annotations

import json

import pytest
from evaluated_fit import LearningEngine, fit
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from longmab_pl.callbacks import Evaluation
from longmab_pl.errors import ConfigError
from longmab_pl.evaluation import NeedleSuite
from longmab_pl.evaluation.needle.task import NeedleSettings, needle_task

SETTINGS = NeedleSettings(lengths=[500, 900], depths=[0, 100], needles=2, max_new_tokens=12)


class ReadingEngine(LearningEngine):
    """Finds needles at the beginning only, and after the first new adapter those at the end too."""

    def __init__(self, tokenizer, **options):
        super().__init__(**options)
        self.records = needle_task(SETTINGS, tokenizer).records

    def say(self, request, i):
        if not request.id.startswith("evaluation/"):
            return super().say(request, i)
        record = self.records[int(request.id.rsplit("/", 1)[1])]
        return f" {record.answer}" if record.depth == 0 or self.synced else " none"


def test_scores_maps_and_pictures_by_round(tmp_path, tiny_model, byte_tokenizer, qa_file, capsys):
    run = tmp_path / "run"
    probe = Evaluation(NeedleSuite(SETTINGS))
    loggers = [
        CSVLogger(tmp_path / "log", name="", version=""),
        TensorBoardLogger(tmp_path / "tb", name="", version=""),
    ]
    fit(run, tiny_model, qa_file, probe, engine=ReadingEngine(byte_tokenizer), logger=loggers, rounds=1)
    first, last = probe.history
    assert (first.when, last.when) == ("before training", "after round 1")
    expected = {
        "accuracy": 50.0,
        "spread": 100.0,
        "length-500": 50.0,
        "length-900": 50.0,
        "depth-0": 100.0,
        "depth-100": 0.0,
    }
    assert {key: score.value for key, score in first.scores.items()} == expected
    assert (last.scores["accuracy"].value, last.scores["spread"].value) == (100.0, 0.0)

    assert "eval/needle/depth-100" in (tmp_path / "log" / "metrics.csv").read_text().splitlines()[0]
    events = EventAccumulator(str(tmp_path / "tb")).Reload()
    assert [event.value for event in events.Scalars("eval/needle/accuracy")] == [50.0, 100.0]
    assert [event.step for event in events.Images("eval/needle/map")] == [first.step, last.step]

    folder = run / "evaluations" / "after-round-1" / "needle"
    assert json.loads((folder / "map.json").read_text())["accuracy"] == [[100.0, 100.0], [100.0, 100.0]]
    predictions = [json.loads(line) for line in (folder / "needle.jsonl").read_text().splitlines()]
    assert {(p["length"], p["depth"]) for p in predictions} == {(500, 0), (500, 100), (900, 0), (900, 100)}
    for picture in (folder / "map.png", run / "needle-map.png"):
        assert picture.read_bytes().startswith(b"\x89PNG")
    shown = capsys.readouterr().out
    for part in ("needles found, %", "before training", "after round 1", "needle-map.png"):
        assert part in shown


def test_a_length_without_room_is_refused_at_set_up(tmp_path, tiny_model, qa_file):
    with pytest.raises(ConfigError, match="leaves no room"):
        fit(tmp_path / "run", tiny_model, qa_file, Evaluation(NeedleSuite(NeedleSettings(lengths=[100]))))
