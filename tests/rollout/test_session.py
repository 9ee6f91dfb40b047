"""A session with a second engine: a judge that a reward asks."""

from __future__ import annotations

import copy
import json
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest
from judging import verdict

from longmab_pl.bandits import BanditSettings
from longmab_pl.cli.pairs import pairs as remake_pairs
from longmab_pl.data.records import QARecord
from longmab_pl.engines.protocol import Request, RequestStream, Sampling
from longmab_pl.engines.scripted import ScriptedEngine
from longmab_pl.errors import ConfigError, EngineError
from longmab_pl.models.embedder import Embedder
from longmab_pl.pairs.best_worst import BestWorst
from longmab_pl.pairs.readers import read_round_pairs
from longmab_pl.prompts.citing import CiteThenAnswer
from longmab_pl.prompts.formats import DirectAnswer
from longmab_pl.rewards import Grounding, LLMJudge, Weighted, WeightedSum
from longmab_pl.rewards.answer_match import AnswerMatch
from longmab_pl.rewards.base import RewardContext, Score
from longmab_pl.rollout.account import EngineBudget
from longmab_pl.rollout.rollout_log import RolloutFile
from longmab_pl.rollout.round import RoundPlan
from longmab_pl.rollout.session import NamedEngine, RecordSelection, RolloutSession
from longmab_pl.strategies.bandit.strategy import BanditRollout, Chunking
from longmab_pl.strategies.best_of_n import BestOfN


@dataclass(frozen=True)
class Verdicts:
    """Asks the judge for a digit for every response; no digit is no verdict."""

    name: ClassVar[str] = "verdict"
    engines: ClassVar[tuple[str, ...]] = ("judge",)
    needs_embedder: ClassVar[bool] = False

    def score(self, record: QARecord, responses: Sequence[str], context: RewardContext) -> RequestStream[list[Score]]:
        completions = yield [
            Request(f"{context.key}/{i}", tuple(text.encode()), Sampling(max_tokens=4), to="judge")
            for i, text in enumerate(responses)
        ]
        return [
            Score(int(said) / 10, notes={"said": said}) if said.isdigit() else Score(0.0, excluded="no verdict")
            for said in (completion.texts[0] for completion in completions)
        ]


def answer(request: Request, i: int) -> str:
    return f" number {i}"


def judge_of(request: Request, i: int) -> str:
    said = bytes(request.prompt_ids).decode().rsplit(" ", 1)[1]
    return "cannot say" if said == "3" else said


class Sleeper(ScriptedEngine):
    """Keeps when it slept and woke, beside what its `log` says of others."""

    def __init__(self, answer, log, name):
        super().__init__(answer, concurrency=4)
        self.log, self.name = log, name

    def start(self, model):
        super().start(model)
        self.log.append(f"{self.name} starts {model.rsplit('/', 1)[-1]}")

    def sleep(self):
        super().sleep()
        self.log.append(f"{self.name} sleeps")

    def wake(self):
        super().wake()
        self.log.append(f"{self.name} wakes")


REWARDS = (Verdicts(), AnswerMatch())


def session(tmp_path, judge, engine=None, rewards=REWARDS, **others):
    train = tmp_path / "qa.jsonl"
    rows = [
        {"id": f"r{i}", "input": f"Which {i}?", "answer": "number 1", "context": "Some text. " * 5} for i in range(6)
    ]
    train.write_text("".join(json.dumps(row) + "\n" for row in rows))
    plan = RoundPlan(BestOfN(5, Sampling(max_tokens=8)), rewards, DirectAnswer(), BestWorst(400), Embedder())
    named = {} if judge is None else {"judge": judge}
    return RolloutSession(plan, RecordSelection(str(train)), engine or ScriptedEngine(answer), named, **others)


def rolled(made, tmp_path, model):
    made.load(model)
    making = made.new_round(tmp_path / "run", 0, model, "base")
    made.engine.start(model)
    made.roll_out(making, "round 1", adapter=None)
    return making, making.finish("base")


def test_a_judges_scores_are_stored_and_decide_the_pairs(tmp_path, tiny_model):
    judge = ScriptedEngine(judge_of)
    making, summary = rolled(session(tmp_path, NamedEngine(judge, tiny_model)), tmp_path, tiny_model)
    rows = [json.loads(line) for line in making.store.rollouts.read_text().splitlines()]
    scores = [response["scores"] for response in rows[0]["responses"]]
    assert [s["verdict"]["value"] for s in scores] == [0.0, 0.1, 0.2, 0.0, 0.4]
    assert [s["verdict"]["excluded"] for s in scores] == [None, None, None, "no verdict", None]
    assert [s["answer_match"]["value"] for s in scores] == [0.25, 1.0, 0.25, 0.25, 0.25]
    pair = next(iter(read_round_pairs(making.store.pairs)))
    assert (pair.chosen, pair.rejected) == ("Answer: number 4", "Answer: number 0"), (
        "the judge's, not the gold answer's"
    )
    statistics = summary["statistics"]
    assert statistics["reward/verdict/excluded_rate"] == pytest.approx(0.2)
    assert statistics["rollout/asked"] == statistics["rollout/responses"] == 30, "what the judge says is no response"
    assert len(judge.asked) == 30


def test_pairs_by_another_score_ask_no_judge(tmp_path, tiny_model):
    judge = ScriptedEngine(judge_of)
    made = session(tmp_path, NamedEngine(judge, tiny_model))
    making, _ = rolled(made, tmp_path, tiny_model)
    asked = len(judge.asked)
    rollout = RolloutFile(making.store.rollouts).read("r0")
    context = made.plan.pair_context(made.tokenizer, 0)
    (pair,) = BestWorst(400, by="answer_match").pairs(made.records[0], rollout, context)
    assert pair.chosen == "Answer: number 1"
    assert len(judge.asked) == asked


def test_engines_on_one_device_are_never_awake_together(tmp_path, tiny_model):
    log: list[str] = []
    policy, judge = Sleeper(answer, log, "policy"), Sleeper(judge_of, log, "judge")
    rolled(session(tmp_path, NamedEngine(judge, tiny_model, shares_device=True), policy), tmp_path, tiny_model)
    awake = {"policy"}
    for name, did in (entry.split()[:2] for entry in log[1:]):
        if did == "sleeps":
            awake.discard(name)
        else:
            awake.add(name)
        assert len(awake) <= 1, log
    assert len(judge.asked) == 30
    assert awake == {"policy"}, "the judge sleeps, and the policy answers what is asked next"


class Adapted(ScriptedEngine):
    """Keeps the adapter that each request was submitted under."""

    def __init__(self):
        super().__init__(lambda request, i: judge_of(request, i) if request.to == "judge" else answer(request, i))
        self.under: list[tuple[str, Path | None]] = []

    def submit(self, request):
        self.under.append((request.to, self.synced[-1] if self.synced else None))
        super().submit(request)


def test_the_policys_own_weights_judge_with_the_adapter_off(tmp_path, tiny_model):
    engine, adapter = Adapted(), tmp_path / "adapter"
    made = session(tmp_path, NamedEngine(), engine)
    made.load(tiny_model)
    making = made.new_round(tmp_path / "run", 0, tiny_model, "step-1")
    engine.start(tiny_model)
    engine.sync(adapter)
    made.roll_out(making, "round 1", adapter=adapter)
    assert set(engine.under) == {("policy", adapter), ("judge", None)}
    assert len(engine.under) == 6 + 30
    assert engine.synced[-1] == adapter, "the policy answers evaluations after the round"
    assert engine.slept == 0
    assert making.origin["engines"]["judge"] == {"model": tiny_model, "weight_format": "scripted"}


def test_the_adapter_is_there_again_after_a_failure_while_the_base_model_judges(tmp_path, tiny_model):
    engine, adapter = Adapted(), tmp_path / "adapter"
    engine.fail_after = 20  # 6 answers of the policy, then the judge's
    made = session(tmp_path, NamedEngine(), engine)
    made.load(tiny_model)
    making = made.new_round(tmp_path / "run", 0, tiny_model, "step-1")
    engine.start(tiny_model)
    engine.sync(adapter)
    with pytest.raises(EngineError, match="told to break"):
        made.roll_out(making, "round 1", adapter=adapter)
    assert engine.under[-1] == ("judge", None)
    assert engine.synced[-1] == adapter, "the policy's next answer, in this process too, is with its adapter"


def judged_in(tmp_path, model, judge, **budget):
    named = NamedEngine(judge, model, budget=EngineBudget(**budget))
    return session(tmp_path, named, rewards=(LLMJudge(), AnswerMatch()), max_live=1)  # one record after the other


def test_a_budget_leaves_answers_without_a_score_and_a_larger_one_goes_on(tmp_path, tiny_model, byte_tokenizer, capsys):
    def judge():
        return ScriptedEngine(lambda request, i: verdict(byte_tokenizer.decode(request.prompt_ids)))

    first = judge()
    making, summary = rolled(judged_in(tmp_path, tiny_model, first, calls=50), tmp_path, tiny_model)
    assert 0 < len(first.asked) <= 50
    reasons = summary["exclusions"]["llm_judge"]
    assert all("budget used up" in reason for reason in reasons)
    left_out = sum(reasons.values())
    assert 0 < left_out < 30
    assert summary["statistics"]["reward/answer_match/excluded_rate"] == 0.0, "other rewards have scored them"
    said = capsys.readouterr().err
    assert f"{left_out} responses have no score by llm_judge" in said
    assert f"remove {making.store.summary}" in said

    making.store.summary.unlink()
    second = judge()
    making, summary = rolled(judged_in(tmp_path, tiny_model, second, calls=5000), tmp_path, tiny_model)
    assert summary["exclusions"] == {}
    sent = [request.prompt_ids for engine in (first, second) for request in engine.asked]
    assert len(sent) == len(set(sent)), "nothing was asked twice"

    third = judge()
    made = judged_in(tmp_path, tiny_model, third)
    made.load(tiny_model)
    later = made.new_round(tmp_path / "run", 1, tiny_model, "base")
    made.engine.start(tiny_model)
    made.roll_out(later, "round 2", adapter=None)
    assert third.asked == [], "the answers of round 2 are those of round 1, and so are their verdicts"


def test_a_judge_that_dies_ends_the_run_and_the_same_command_asks_only_what_is_missing(
    tmp_path, tiny_model, byte_tokenizer
):
    def judge(**options):
        return ScriptedEngine(lambda request, i: verdict(byte_tokenizer.decode(request.prompt_ids)), **options)

    dying, policy = judge(fail_after=20), ScriptedEngine(answer)
    made = session(tmp_path, NamedEngine(dying, tiny_model), policy, rewards=(LLMJudge(),))
    with pytest.raises(EngineError, match="run the same command again and it continues from there"):
        rolled(made, tmp_path, tiny_model)
    healthy = judge()
    made = session(tmp_path, NamedEngine(healthy, tiny_model), ScriptedEngine(answer), rewards=(LLMJudge(),))
    _, summary = rolled(made, tmp_path, tiny_model)
    assert summary["exclusions"] == {}
    assert summary["failures"] == []
    known = {row["key"] for path in tmp_path.glob("run/engines/judge-*.jsonl") for row in rows_of(path)}
    assert len(known) == len(dying.asked) + len(healthy.asked) - unanswered(dying, healthy)


def rows_of(path):
    return [row for line in path.read_text().splitlines() if "key" in (row := json.loads(line))]


def unanswered(dying, healthy):
    """Requests that the dying judge had in flight: they are asked again."""
    return len({request.prompt_ids for request in dying.asked} & {request.prompt_ids for request in healthy.asked})


def test_a_model_without_an_engine_is_refused():
    with pytest.raises(ConfigError, match="has the model 'a/b' and no engine"):
        NamedEngine(model="a/b")


@dataclass(frozen=True)
class InItsOwnWords(Verdicts):
    """Asks the judge in its own chat format."""

    def score(self, record, responses, context):
        judge = context.addressee("judge")
        ids = judge.chat.prompt_ids([{"role": "user", "content": "1"}])
        assert judge.max_model_len == 777
        assert judge.structured_output
        yield [Request(f"{context.key}/0", ids, Sampling(max_tokens=4), to="judge", schema="{}")]
        return [Score(0.0) for _ in responses]


def test_a_judge_is_asked_by_its_own_tokenizer_and_template(tmp_path, tiny_model, byte_tokenizer):
    other = copy.deepcopy(byte_tokenizer)
    other.chat_template = "{{ messages[0].content }}{% if loud %}!{% endif %}"
    other.save_pretrained(tmp_path / "other")
    shutil.copy(Path(tiny_model) / "config.json", tmp_path / "other")
    judge = ScriptedEngine(lambda request, i: "7", max_model_len=777, structured_output=True)
    named = NamedEngine(judge, str(tmp_path / "other"), template_arguments={"loud": True})
    rolled(session(tmp_path, named, rewards=(InItsOwnWords(),)), tmp_path, tiny_model)
    assert {byte_tokenizer.decode(request.prompt_ids) for request in judge.asked} == {"1!"}


def test_another_judge_makes_another_round(tmp_path, tiny_model):
    made = session(tmp_path, NamedEngine(ScriptedEngine(judge_of), tiny_model))
    made.load(tiny_model)
    other = session(tmp_path, NamedEngine(ScriptedEngine(judge_of, weight_format="fp8"), tiny_model))
    other.load(tiny_model)
    first = made.new_round(tmp_path / "run", 0, tiny_model, "base")
    assert first.store.folder != other.new_round(tmp_path / "run", 0, tiny_model, "base").store.folder


def test_an_engine_that_is_asked_and_not_there_is_said_before_anything_is_loaded(tmp_path):
    with pytest.raises(ConfigError, match=r"asks an engine named 'judge', which data\.engines does not have"):
        session(tmp_path, None)
    with pytest.raises(ConfigError, match="name it otherwise"):
        RolloutSession(
            session(tmp_path, None, rewards=(AnswerMatch(),)).plan,
            RecordSelection("x.jsonl"),
            ScriptedEngine(answer),
            {"policy": NamedEngine(ScriptedEngine(answer), "m")},
        )


def test_two_rewards_of_one_name_are_refused():
    with pytest.raises(ConfigError, match="two rewards of the name 'answer_match'"):
        RoundPlan(BestOfN(), (AnswerMatch(), AnswerMatch()), DirectAnswer(), BestWorst(), Embedder())


def test_a_pair_rule_that_reads_a_reward_which_is_not_there_is_refused():
    with pytest.raises(ConfigError, match="compares 'judge'; the rewards of this run are: answer_match"):
        RoundPlan(BestOfN(), (AnswerMatch(),), DirectAnswer(), BestWorst(by="judge"), Embedder())


def test_an_adaptive_budget_stops_by_what_pairs_compare():
    strategy = BanditRollout(budget="adaptive")
    with pytest.raises(ConfigError, match=r"stops records by 'verdict', but data\.pairs compares 'answer_match'"):
        RoundPlan(strategy, REWARDS, DirectAnswer(), BestWorst(by="answer_match"), Embedder())
    RoundPlan(strategy, REWARDS, DirectAnswer(), BestWorst(by="verdict"), Embedder())


def test_a_passage_has_the_same_number_in_rollout_prompts_pairs_and_pairs_again(tmp_path, tiny_model):
    towns = [f"Town{i} lies on a river. The river of Town{i} is number {i}." for i in range(8)]
    rows = [
        {"id": f"r{i}", "input": f"Which river at Town{i}?", "answer": f"number {i}", "context": "\n\n".join(towns)}
        for i in range(2)
    ]
    (tmp_path / "qa.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    prompts: list[str] = []

    def cites(request, i):
        prompts.append(made.tokenizer.decode(request.prompt_ids))
        number = int(request.id[1])
        right = f"[{number + 1}] " in prompts[-1].partition("\n\nQuestion:")[0]
        return f" [{number + 1}]\nAnswer: number {number} [{number + 1}]" if right else " [8]\nAnswer: unclear"

    plan = RoundPlan(
        BanditRollout(
            12,
            2,
            init="uniform",
            chunking=Chunking(60, 0, 1),
            bandit=BanditSettings("uniform"),
            sampling=Sampling(max_tokens=48),
        ),
        (WeightedSum((Weighted(AnswerMatch("lenient"), 0.5), Weighted(Grounding(), 0.5))),),
        CiteThenAnswer(prefill="Evidence:"),
        BestWorst(2000),
        Embedder(),
    )
    made = RolloutSession(plan, RecordSelection(str(tmp_path / "qa.jsonl")), ScriptedEngine(cites), {})
    making, summary = rolled(made, tmp_path, tiny_model)
    for prompt in prompts:
        body = prompt.partition("Passages:\n")[2].partition("\n\nQuestion:")[0]
        for number, town in re.findall(r"\[(\d)\] Town(\d)", body):
            assert int(number) == int(town) + 1
        assert body.startswith("["), "also a chunk from the middle of a passage names its passage"
    pairs = list(read_round_pairs(making.store.pairs))
    assert len(pairs) == 2
    for pair in pairs:
        assert all(f"[{i + 1}] Town{i} lies" in pair.prompt[0]["content"] for i in range(8))
        assert (pair.chosen_reward, pair.rejected_reward) == (1.0, 0.0)
        assert any(pair.short_prompt[0]["content"] in prompt for prompt in prompts), "as it was sampled"
    assert summary["statistics"]["reward/weighted_sum/grounding/recall"] > 0
    again = tmp_path / "again.jsonl"
    remake_pairs(str(tmp_path / "run"), output=str(again), model=tiny_model)
    assert again.read_bytes() == making.store.pairs.read_bytes()
