"""The questions of `fit --documents`: sized by the run's training prompts, and what stops them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from question_writing import towns, write_documents

from longmab_pl.cli.given_documents import GivenDocuments
from longmab_pl.cli.written_questions import refuse_unwritten, write_questions
from longmab_pl.datamodules.rollouts import RolloutDataModule
from longmab_pl.engines import Request, ScriptedEngine
from longmab_pl.engines.protocol import Sampling
from longmab_pl.errors import ConfigError, DataError, EngineError
from longmab_pl.pairs import BestWorst
from longmab_pl.prompts import DirectAnswer
from longmab_pl.strategies import BestOfN


def data_module(engine: ScriptedEngine, max_prompt_length: int = 500) -> RolloutDataModule:
    strategy = BestOfN(n=2, sampling=Sampling(max_tokens=16))
    pairs = BestWorst(max_prompt_length=max_prompt_length)
    return RolloutDataModule(engine=engine, prompt_format=DirectAnswer(), strategy=strategy, pairs=pairs)


def test_contexts_fit_the_training_prompt_and_the_engine_sleeps(tmp_path: Path, tiny_model: str) -> None:
    documents = GivenDocuments(str(write_documents(tmp_path / "docs", documents=10)), evaluated=True)
    engine = ScriptedEngine(towns)
    write_questions(documents, data_module(engine), tiny_model, tmp_path / "set")
    lengths = [json.loads(line)["num_tokens"] for line in (tmp_path / "set" / "train.jsonl").read_text().splitlines()]
    assert max(lengths) <= 500 - 128 - 16
    assert min(lengths) > 100
    assert (engine.slept, engine.closed) == (1, False)
    refuse_unwritten(tmp_path / "set")


def test_nothing_is_held_out_where_other_questions_are_asked(tmp_path: Path, tiny_model: str) -> None:
    documents = GivenDocuments(str(write_documents(tmp_path / "docs", documents=1)), evaluated=False)
    write_questions(documents, data_module(ScriptedEngine(towns)), tiny_model, tmp_path / "set")
    assert not (tmp_path / "set" / "eval.jsonl").exists()


def test_too_few_documents_to_hold_one_out_are_named_with_what_to_do(tmp_path: Path, tiny_model: str) -> None:
    documents = GivenDocuments(str(write_documents(tmp_path / "docs", documents=1)), evaluated=True)
    with pytest.raises(DataError, match="none to evaluate on; give --eval FILE, or more documents"):
        write_questions(documents, data_module(ScriptedEngine(towns)), tiny_model, tmp_path / "set")


def test_a_failed_or_interrupted_engine_is_closed(
    tmp_path: Path, tiny_model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    documents = GivenDocuments(str(write_documents(tmp_path / "docs", documents=2)), evaluated=False)
    failing = ScriptedEngine(towns, fail_after=1)
    with pytest.raises(EngineError, match="run the same command again"):
        write_questions(documents, data_module(failing), tiny_model, tmp_path / "set")
    assert failing.closed

    def interrupted(request: Request, i: int) -> str:
        raise KeyboardInterrupt

    stopped = ScriptedEngine(interrupted)
    with pytest.raises(SystemExit):
        write_questions(documents, data_module(stopped), tiny_model, tmp_path / "set")
    assert stopped.closed
    assert "The same command goes on" in capsys.readouterr().err


def test_a_prompt_without_room_for_chunks_and_a_set_that_is_not_there_are_refused(
    tmp_path: Path, tiny_model: str
) -> None:
    documents = GivenDocuments(str(write_documents(tmp_path / "docs", documents=2)), evaluated=True)
    with pytest.raises(ConfigError, match="max_prompt_length is 200, which leaves 56 tokens"):
        write_questions(documents, data_module(ScriptedEngine(towns), 200), tiny_model, tmp_path / "set")
    with pytest.raises(ConfigError, match="several processes were started at once"):
        refuse_unwritten(tmp_path / "set")
