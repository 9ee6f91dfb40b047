"""Rollouts that are killed (SIGKILL) at random moments and continued by the same call."""

from __future__ import annotations

import contextlib
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time

import pytest
from killed import SlowEngine, in_child, kill_until_complete

from longmab_pl.cli.main import main
from longmab_pl.data.records import QARecord
from longmab_pl.engines import ScriptedEngine
from longmab_pl.engines.protocol import Sampling
from longmab_pl.errors import EngineError, LongMabError
from longmab_pl.models.embedder import Embedder
from longmab_pl.pairs.best_worst import BestWorst
from longmab_pl.prompts.formats import DirectAnswer
from longmab_pl.rewards.answer_match import AnswerMatch
from longmab_pl.rollout.round import Round, RoundPlan
from longmab_pl.rollout.round_folder import RoundFolder
from longmab_pl.strategies.bandit.strategy import BanditRollout, Chunking

RIVERS = [f"River{i} rises in the hills of Land{i}." for i in range(16)]
RECORDS = [
    QARecord(f"r{i}", f"Where does River{i % 4} rise?", (f"Land{i % 4}",), " ".join(RIVERS[: 8 + i % 8]))
    for i in range(24)
]
PLAN = RoundPlan(
    strategy=BanditRollout(
        pulls=12, top_k=2, init="uniform", chunking=Chunking(60, 0, 1), sampling=Sampling(max_tokens=8)
    ),
    rewards=(AnswerMatch(),),
    prompt_format=DirectAnswer(),
    pairs=BestWorst(),
    embedder=Embedder(),
)
RESPONSES = 24 * 12
KILLS = 10
"""Of each seed."""


def answer(request, i):
    return f" Land{random.Random(request.id).randrange(4)}"


def new_round(folder, tokenizer):
    return Round(PLAN, RoundFolder(folder, 0, "f"), RECORDS, tokenizer, {})


def files(folder):
    store = RoundFolder(folder, 0, "f")
    return {p.name: p.read_text() for p in (store.pairs, store.rollouts)}


def the_rest_is_asked_for_once(folder, tokenizer, done, uninterrupted):
    round = new_round(folder, tokenizer)
    engine = ScriptedEngine(answer)
    round.roll_out({"policy": engine})
    round.finish("base")
    assert len(engine.asked) == RESPONSES - done
    assert files(folder) == uninterrupted


def journalled(path):
    return [json.loads(line) for line in path.read_text().splitlines()[1:]]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory, byte_tokenizer):
    folder = tmp_path_factory.mktemp("uninterrupted")
    round = new_round(folder, byte_tokenizer)
    round.roll_out({"policy": ScriptedEngine(answer)})
    round.finish("base")
    assert files(folder)["pairs.jsonl"].count("\n") > 10
    return files(folder)


@pytest.mark.timeout(180)
@pytest.mark.parametrize("seed", [11, 12])
def test_ten_kills_at_random_moments_cost_and_change_nothing(tmp_path, byte_tokenizer, uninterrupted, seed):
    rng = random.Random(seed)
    store = RoundFolder(tmp_path, 0, "f")

    def work(most):
        round = new_round(tmp_path, byte_tokenizer)
        round.roll_out({"policy": SlowEngine(answer, store.journal, most)})
        round.finish("base")

    kill_until_complete(store, work, rng, kills=KILLS, apart=2500, beyond=2500)
    asked = [row["request_id"] for row in journalled(store.journal)]
    assert len(asked) == len(set(asked)) == RESPONSES, "a finished completion was asked for again"
    assert files(tmp_path) == uninterrupted


def test_a_disk_that_fills_up_is_a_clear_error_and_the_rest_is_rolled_out_later(
    tmp_path, byte_tokenizer, uninterrupted
):
    """A limit on the size of files stands in for the full disk: both fail in the middle of a write."""
    store = RoundFolder(tmp_path, 0, "f")
    message = tmp_path / "message"

    def work():
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
        try:
            new_round(tmp_path, byte_tokenizer).roll_out({"policy": ScriptedEngine(answer)})
        except LongMabError as e:
            message.write_text(str(e))

    _, status = os.waitpid(in_child(work), 0)
    assert status == 0
    assert str(store.folder) in message.read_text()
    assert "Free some space" in message.read_text()
    assert "run the same command again" in message.read_text()
    done = len(journalled(store.journal))
    assert 10 < done < RESPONSES

    the_rest_is_asked_for_once(tmp_path, byte_tokenizer, done, uninterrupted)


@pytest.mark.parametrize("refuses", [False, True], ids=["polled", "submitted to"])
def test_an_engine_that_dies_is_a_clear_error_and_the_rest_is_rolled_out_later(
    tmp_path, byte_tokenizer, uninterrupted, refuses
):
    class Dying(ScriptedEngine):
        def submit(self, request):
            if refuses and len(self.asked) == 100:
                raise EngineError("the engine died")
            super().submit(request)

        def abort(self):
            raise EngineError("dead engines cannot be asked to stop")

    dying = Dying(answer, fail_after=None if refuses else 100)
    with pytest.raises(EngineError, match=r"(?s)the engine died.*completions.jsonl.*run the same command again"):
        new_round(tmp_path, byte_tokenizer).roll_out({"policy": dying})
    done = len(journalled(RoundFolder(tmp_path, 0, "f").journal))
    assert 90 <= done <= 100

    the_rest_is_asked_for_once(tmp_path, byte_tokenizer, done, uninterrupted)


REAL = """
trainer: {accelerator: cpu}
model: {model: "bundled:smollm2-135m-instruct", dtype: fp32}
data:
  class_path: longmab_pl.RolloutDataModule
  init_args:
    records_per_round: 8
    engine: {class_path: longmab_pl.engines.VLLMEngine, init_args: {concurrency: 4, max_model_len: 512}}
    prompt_format: longmab_pl.prompts.DirectAnswer
    strategy:
      class_path: longmab_pl.strategies.BanditRollout
      init_args:
        pulls: 5
        top_k: 1
        samples_per_pull: 2
        init: uniform
        chunking: {chunk_size: 64, overlap: 0, min_sentences: 1}
        sampling: {temperature: 0.7, presence_penalty: 0.0, max_tokens: 12}
    pairs: {class_path: longmab_pl.pairs.BestWorst, init_args: {max_prompt_length: 512}}
"""


@pytest.mark.slow
def test_the_command_killed_at_random_moments_ends_as_if_nothing_had_happened(tmp_path):
    """`longmab rollout` with vLLM and the bundled model. That a killed run and another get the same texts is up to the
    engine (rounding); here the same completions give the same files, and each of them has been asked for once."""
    rng = random.Random(13)
    config = tmp_path / "rollout.yaml"
    config.write_text(REAL)

    def command(run):
        return [
            *(sys.executable, "-m", "longmab_pl", "rollout", "--config", str(config)),
            *("--trainer.default_root_dir", str(tmp_path / run)),
        ]

    def journal(run="killed"):
        return next((tmp_path / run).glob("rounds/*/completions.jsonl"), tmp_path / "none yet")

    for moment in sorted(rng.sample(range(1, 36), 2)):
        with (tmp_path / "log").open("w") as log, subprocess.Popen(command("killed"), stdout=log, stderr=log) as child:
            while child.poll() is None and lines(journal()) < 1 + moment:
                time.sleep(0.02)
            time.sleep(rng.random() * 0.3)
            assert child.poll() is None, f"it ended before it was killed:\n{(tmp_path / 'log').read_text()}"
            child.send_signal(signal.SIGKILL)
    done = lines(journal()) - 1
    folder = journal().parent
    assert not (folder / "pairs.jsonl").exists()
    finished = subprocess.run(command("killed"), capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    assert f"continued from {done} journalled completions" in finished.stderr

    rows = journalled(journal())
    assert len(rows) == len({row["request_id"] for row in rows}) == 8 * 5, "a completion was asked for again"

    # An uninterrupted run over the same completions: with an engine that answers nothing, all come from the journal.
    again = tmp_path / "whole" / "rounds" / folder.name
    again.mkdir(parents=True)
    shutil.copy(journal(), again)
    silent = {"class_path": "longmab_pl.engines.ScriptedEngine", "init_args": {"answer": "scripted_answers.numbered"}}
    weight_format = json.loads((folder / "settings.json").read_text())["weight_format"]  # other weights: another round
    silent["init_args"] |= {"max_model_len": 512, "fail_after": 0, "weight_format": weight_format}
    main([*command("whole")[3:], "--data.init_args.engine", json.dumps(silent)])
    for name in ("pairs.jsonl", "rollouts.jsonl"):
        assert (again / name).read_bytes() == (folder / name).read_bytes()


def lines(path):
    with contextlib.suppress(FileNotFoundError):
        return path.read_bytes().count(b"\n")
    return 0
