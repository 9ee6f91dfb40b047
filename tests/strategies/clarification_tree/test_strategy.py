"""The clarification tree on a scripted engine: what it asks, what it leaves behind, what it leaves out."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from clarifying_model import ClarifyingModel, step_of
from tokenizers_like import FAMILIES

from longmab_pl.data.records import QARecord
from longmab_pl.engines import ScriptedEngine
from longmab_pl.engines.addressee import Addressee, ChatFormat
from longmab_pl.engines.protocol import Sampling
from longmab_pl.errors import ConfigError, DataError
from longmab_pl.models.embedder import Embedder
from longmab_pl.prompts.formats import DirectAnswer
from longmab_pl.rewards.gold_agreement import GoldAgreement
from longmab_pl.rollout.scheduler import Scheduler
from longmab_pl.strategies.base import StrategyContext
from longmab_pl.strategies.clarification_tree.nodes import Node
from longmab_pl.strategies.clarification_tree.strategy import ClarificationTree

SHORT = Sampling(1.0, 0.95, 0.0, 48)
TREE = ClarificationTree(
    branching=3,
    rounds=2,
    paragraph_tokens=50,
    max_read_tokens=200,
    questions_per_request=4,
    clarify=SHORT,
    verdict=Sampling(0.2, 0.95, 0.0, 80),
    answer=SHORT,
)
CONTEXT = "".join(f"Place {i} lies on a {'river' if i % 4 == 0 else 'hill'} and is number {i}. " for i in range(16))
RECORD = QARecord("q7", "Where does it rise?", ("Lima",), CONTEXT)


def roll(tokenizer, strategy=TREE, answer=None, record=RECORD, max_model_len=8000, **engine):
    engine = ScriptedEngine(answer or ClarifyingModel(tokenizer), max_model_len=max_model_len, **engine)
    policy = Addressee(ChatFormat(tokenizer), max_model_len, engine.structured_output)
    rewards = (GoldAgreement(),)
    context = StrategyContext(tokenizer, DirectAnswer(), Embedder(), max_model_len, 0, rewards, {"policy": policy})
    ((_, result),) = Scheduler({"policy": engine}).run([("q7", strategy.roll(record, context))])
    if isinstance(result, Exception):
        raise result
    return result, engine


def nodes_of(rollout):
    return [Node.from_json(row) for row in rollout.trace["nodes"]]


def steps(engine):
    return [step_of(request) for request in engine.asked]


def test_the_tree_grows_level_by_level(byte_tokenizer):
    rollout, engine = roll(byte_tokenizer)
    nodes = nodes_of(rollout)
    assert [node.parent for node in nodes] == [None, 0, 0, 0, *([1] * 3), *([2] * 3), *([3] * 3)]
    assert len(rollout.responses) == TREE.expected_responses == 13
    paragraphs = rollout.trace["paragraphs"]
    assert paragraphs == -(-len(CONTEXT) // 50)
    assert steps(engine).count("clarify") == 4
    assert steps(engine).count("verdict") == paragraphs * 5, "one request a paragraph for three questions"
    assert steps(engine).count("final") == 12
    assert sum(request.units for request in engine.asked) == 13


def test_a_node_reads_the_paragraphs_that_its_verdicts_keep(byte_tokenizer):
    rollout, engine = roll(byte_tokenizer)
    relevant = {i for i in range(rollout.trace["paragraphs"]) if "river" in CONTEXT[50 * i : 50 * i + 50]}
    assert relevant
    for node in nodes_of(rollout):
        assert set(node.kept) <= relevant
    final = next(r for r in engine.asked if r.id.endswith("/answer/0"))
    text = byte_tokenizer.decode(list(final.prompt_ids))
    assert CONTEXT[50 * min(relevant) : 50 * min(relevant) + 50] in text
    assert "Place 1 lies" not in text


def test_one_question_a_request_asks_more_and_keeps_the_same(byte_tokenizer):
    joint, few = roll(byte_tokenizer)
    separate, many = roll(byte_tokenizer, replace(TREE, questions_per_request=1))
    assert steps(many).count("verdict") == rollout_paragraphs(joint) * (1 + 4 * 3)
    assert steps(few).count("verdict") == rollout_paragraphs(joint) * (1 + 4)
    assert [node.kept for node in nodes_of(joint)] == [node.kept for node in nodes_of(separate)]


def test_an_engine_with_structured_output_gives_the_same_verdicts_as_json(byte_tokenizer):
    model = ClarifyingModel(byte_tokenizer)

    def answer(request, i):
        if request.schema is None:
            return model(request, i)
        lines = model(request, i).splitlines()
        return json.dumps(dict(line.split(": ") for line in lines))

    text, _ = roll(byte_tokenizer)
    structured, engine = roll(byte_tokenizer, answer=answer, structured_output=True)
    assert [node.kept for node in nodes_of(structured)] == [node.kept for node in nodes_of(text)]
    assert structured.trace["verdicts"]["unreadable"] == 0
    schemas = [request.schema for request in engine.asked if request.schema]
    assert len(schemas) == 4 * structured.trace["paragraphs"]
    assert json.loads(schemas[0])["required"] == ["1", "2", "3"]


def rollout_paragraphs(rollout):
    return rollout.trace["paragraphs"]


def test_scores_mark_the_best_and_the_worst_path(byte_tokenizer):
    rollout, _ = roll(byte_tokenizer)
    nodes = nodes_of(rollout)
    values = {node.id: node.score for node in nodes if node.compared}
    best, worst = ([n for n in nodes if getattr(n, side) and n.compared][-1] for side in ("chosen", "rejected"))
    assert best.score == max(values.values()) > worst.score == min(values.values())
    assert nodes[0].chosen
    assert nodes[0].rejected
    assert nodes[best.parent].chosen
    assert best.parts["agrees"] + best.parts["rouge"] == pytest.approx(best.score)
    described = TREE.describe(rollout)
    assert described["tree/best_score"] == best.score
    assert described["tree/worst_score"] == worst.score
    assert described["tree/nodes"] == 13


def test_the_order_of_answers_does_not_change_the_tree(byte_tokenizer):
    rollouts = [roll(byte_tokenizer, concurrency=n, jitter=j)[0] for n, j in ((1, 1), (40, 30))]
    assert rollouts[0].to_json() == rollouts[1].to_json()


def questions(*texts):
    """A model that asks these clarifying questions at every node."""

    def answer(tokenizer):
        model = ClarifyingModel(tokenizer)
        return lambda request, i: texts[i] if step_of(request) == "clarify" else model(request, i)

    return answer


def test_a_question_that_is_none_is_excluded_with_its_reason(byte_tokenizer):
    answer = questions("Where does it rise?", "", "When was it found?")(byte_tokenizer)
    rollout, engine = roll(byte_tokenizer, answer=answer)
    nodes = nodes_of(rollout)
    assert [node.excluded for node in nodes] == [
        "",
        "it repeats the original question",
        "it asks nothing",
        "",
        "it repeats the original question",
        "it asks nothing",
        "it repeats an earlier question of its path",
    ]
    assert len(rollout.responses) == 2
    assert steps(engine).count("verdict") == 2 * rollout.trace["paragraphs"]
    assert TREE.describe(rollout)["tree/excluded_rate"] == pytest.approx(5 / 6)
    assert not any(node.chosen for node in nodes), "one node alone is not compared"


def test_siblings_that_ask_the_same_are_one_node(byte_tokenizer):
    rollout, _ = roll(
        byte_tokenizer, answer=questions("When was it found?", "when was it found", "Why?")(byte_tokenizer)
    )
    assert [bool(node.excluded) for node in nodes_of(rollout)[:4]] == [False, False, True, False]


def test_a_question_that_was_asked_elsewhere_is_not_judged_again(byte_tokenizer):
    def answer(request, i):
        if step_of(request) == "clarify":
            return ["Where?", "When?", "Why?"][i] if "/0/clarify" in request.id else ["Who?", "How?", "Why?"][i]
        return ClarifyingModel(byte_tokenizer)(request, i)

    rollout, engine = roll(byte_tokenizer, answer=answer)
    paragraphs = rollout.trace["paragraphs"]
    assert rollout.trace["verdicts"]["reused"] == 6 * paragraphs
    # "Who?" and "How?" are asked under three nodes at once, and judged under the first of them only.
    assert steps(engine).count("verdict") == 3 * paragraphs


@pytest.mark.parametrize(
    ("step", "reason"), [("answer", "its own answer is empty"), ("final", "its final answer is empty")]
)
def test_a_node_with_an_empty_answer_is_excluded(byte_tokenizer, step, reason):
    model = ClarifyingModel(byte_tokenizer)

    def answer(request, i):
        empty = step_of(request) == step and request.id.endswith(f"0/{step}/1")
        return " \n" if empty else model(request, i)

    rollout, _ = roll(byte_tokenizer, answer=answer)
    nodes = nodes_of(rollout)
    assert nodes[2].excluded == reason
    assert len(nodes) == 1 + 3 + 2 * 3, "it is not expanded"
    assert len(rollout.responses) == 9


def test_verdicts_without_a_label_keep_their_paragraphs_and_are_counted(byte_tokenizer):
    model = ClarifyingModel(byte_tokenizer)

    def answer(request, i):
        return "I do know the unknown." if step_of(request) == "verdict" else model(request, i)

    rollout, _ = roll(byte_tokenizer, answer=answer)
    paragraphs = rollout.trace["paragraphs"]
    assert rollout.trace["verdicts"]["unreadable"] == paragraphs * (1 + 4 * 3)
    assert all(node.kept == nodes_of(rollout)[0].kept != () for node in nodes_of(rollout))


def test_a_document_of_one_paragraph_is_read_without_a_verdict(byte_tokenizer):
    rollout, engine = roll(byte_tokenizer, record=replace(RECORD, context="It rises in Lima."))
    assert rollout.trace["paragraphs"] == 1
    assert "verdict" not in steps(engine)
    assert all(node.kept == (0,) for node in nodes_of(rollout))
    with pytest.raises(DataError, match="no text"):
        roll(byte_tokenizer, record=replace(RECORD, context=" \n"))


def test_what_is_kept_is_cut_to_the_engines_limit_and_a_question_that_leaves_no_room_is_an_error(byte_tokenizer):
    model = ClarifyingModel(byte_tokenizer)

    def yes(request, i):
        return "Answer: yes" if step_of(request) == "verdict" else model(request, i)

    rollout, engine = roll(byte_tokenizer, replace(TREE, rounds=1), yes, max_model_len=1700)
    assert all(len(r.prompt_ids) + r.sampling.max_tokens <= 1700 for r in engine.asked)
    assert 0 < len(nodes_of(rollout)[1].kept) < rollout.trace["paragraphs"]
    with pytest.raises(DataError, match=r"raise engine\.max_model_len"):
        roll(byte_tokenizer, answer=yes, max_model_len=800)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_of_templates_can_hold_the_conversations(family):
    tokenizer = FAMILIES[family]()
    rollout, _ = roll(tokenizer, replace(TREE, rounds=2, branching=2))
    assert not any(node.excluded for node in nodes_of(rollout))
    assert len(rollout.responses) == 7


def test_each_request_of_a_path_begins_with_the_one_before(byte_tokenizer):
    """What the engine's prefix cache holds: an answer's prompt is the beginning of the final answer's."""
    _, engine = roll(byte_tokenizer)
    by_id = {request.id: request.prompt_ids for request in engine.asked}
    for node in range(4):
        for child in range(3):
            answer, final = (by_id[f"q7/{node}/{step}/{child}"] for step in ("answer", "final"))
            assert final[: len(answer)] == answer


def test_verdicts_on_a_paragraph_share_all_that_stands_before_the_questions(byte_tokenizer):
    _, engine = roll(byte_tokenizer)
    first, second = (next(r.prompt_ids for r in engine.asked if r.id == f"q7/{node}/verdict/0/3") for node in (0, 1))
    paragraph = byte_tokenizer.encode(CONTEXT[150:200], add_special_tokens=False)
    shared = next(i for i, (a, b) in enumerate(zip(first, second, strict=False)) if a != b)
    assert byte_tokenizer.decode(paragraph) in byte_tokenizer.decode(list(first[:shared]))


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"branching": 1}, "branching"),
        ({"rounds": 0}, "rounds"),
        ({"max_read_tokens": 10}, "one paragraph"),
        ({"questions_per_request": 9}, r"verdict\.max_tokens"),
    ],
)
def test_settings_that_cannot_work_are_refused(setting, message):
    with pytest.raises(ConfigError, match=message):
        replace(TREE, **setting)
