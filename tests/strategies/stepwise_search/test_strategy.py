from __future__ import annotations

from dataclasses import replace

import pytest
from block_writing import STORY, Judge, ratings, search, story_context

from longmab_pl.data.records import QARecord
from longmab_pl.engines import ScriptedEngine
from longmab_pl.engines.protocol import Sampling
from longmab_pl.errors import ConfigError, DataError
from longmab_pl.models.embedder import Embedder
from longmab_pl.prompts.formats import DirectAnswer
from longmab_pl.rewards.answer_match import AnswerMatch
from longmab_pl.rewards.length import RequiredLength, count_words, length_term
from longmab_pl.rewards.writing_quality import WritingQuality
from longmab_pl.rollout.journal import Journal
from longmab_pl.rollout.scheduler import Scheduler
from longmab_pl.strategies.base import StrategyContext
from longmab_pl.strategies.stepwise_search.critics import FactMemory, Refinement
from longmab_pl.strategies.stepwise_search.strategy import StepwiseSearch

BLOCK = Sampling(temperature=0.7, top_p=1.0, presence_penalty=0.0, max_tokens=40)
GREEDY = StepwiseSearch(blocks=3, candidates=4, sampling=BLOCK, refinement=None)

GOOD = {"a": 2, "b": 4, "c": 3, "d": 1}


def lettered(request, i, prompt):
    """Block 1 is " a1" to " d1", block 2 " a2" to " d2", and so on: the step is the request's number."""
    return f" {'abcd'[i]}{request.id.rpartition('/')[2]}"


def by_letter(block):
    return GOOD[block.strip()[0]]


def chosen_texts(rollout):
    return [node["text"] for node in rollout.trace["nodes"][1:] if node["chosen"] and node["kind"] == "block"]


def roll(strategy, tokenizer, write=lettered, judge=None, record=STORY, **context):
    judge = judge or Judge(by_letter)
    rollout, asked = search(strategy.roll(record, story_context(tokenizer, **context)), tokenizer, write, judge)
    return rollout, asked, judge


def test_the_best_block_of_each_step_is_continued_with_its_own_token_ids(byte_tokenizer):
    rollout, asked, _ = roll(GREEDY, byte_tokenizer)
    assert chosen_texts(rollout) == [" b0", " b1", " b2"]
    steps = [request for request in asked if request.to == "policy"]
    assert [request.n for request in steps] == [4, 4, 4]
    assert all(request.logprobs for request in steps)
    first, second, third = (byte_tokenizer.decode(list(request.prompt_ids)) for request in steps)
    assert (second, third) == (first + " b0", first + " b0 b1")
    assert third.endswith(" b0 b1"), "no end token between blocks"
    assert rollout.trace["ended"] == "blocks"
    assert [(r.step, r.parent) for r in rollout.responses[::4]] == [(0, None), (1, 1), (2, 5)]


def test_values_belong_to_their_own_block_at_every_step(byte_tokenizer):
    """The original appends a 0.0 for every value from the second step on, so that children read those of others."""
    rollout, _, _ = roll(GREEDY, byte_tokenizer)
    for response in rollout.responses:
        assert response.scores["writing_quality"].parts["quality"] == by_letter(response.text)


def test_the_length_term_counts_the_words_of_the_answer_so_far_and_not_of_the_instruction(byte_tokenizer):
    rollout, _, _ = roll(GREEDY, byte_tokenizer, write=lambda r, i, p: f" {'abcd'[i]}" + " word" * 9)
    written = ""
    for node in rollout.trace["nodes"][1:]:
        if node["chosen"]:
            written += node["text"]
            assert node["parts"]["length"] == length_term(40, count_words(written))
    assert count_words(written) == 30
    assert rollout.trace["nodes"][2]["score"] == pytest.approx(4 + length_term(40, 10))


def test_one_judge_call_rates_a_step_and_the_original_style_takes_one_for_each_block(byte_tokenizer):
    strategy = replace(GREEDY, blocks=4, facts=None)
    _, asked, joint = roll(strategy, byte_tokenizer)
    _, _, single = roll(strategy, byte_tokenizer, rewards=(WritingQuality(style="original"),))
    assert [len(joint.asked["ratings"]), len(single.asked["ratings"])] == [4, 16]
    assert len({request.id for request in asked}) == len(asked) == 8


def test_a_joint_question_reads_what_was_written_once(byte_tokenizer):
    """44 to 80, as in the reference: 12k + 32k tokens here, 4 x (2 + 4 + 6 + 8)k in the original's style."""

    def long(request, i, prompt):
        return lettered(request, i, prompt) + " boats" * 400

    strategy = replace(GREEDY, blocks=4, facts=None)
    read = {}
    for style in ("joint", "original"):
        _, _, judge = roll(
            strategy, byte_tokenizer, long, rewards=(WritingQuality(style=style, written_tokens=99_999),)
        )
        read[style] = sum(prompt.count(" boats") for prompt in judge.asked["ratings"])
    assert read == {"joint": 400 * (4 * 4 + 0 + 1 + 2 + 3), "original": 400 * 4 * (1 + 2 + 3 + 4)}


def test_the_judge_sees_the_block_and_what_was_written_before(byte_tokenizer):
    _, _, judge = roll(GREEDY, byte_tokenizer)
    first, second, _ = judge.asked["ratings"]
    assert "(nothing yet)" in first
    assert ">\n b0\n<" in second
    assert all(f">\n {letter}1\n<" in second for letter in "abcd")


def test_priors_are_the_blocks_probabilities_among_their_siblings(byte_tokenizer):
    strategy = replace(GREEDY, blocks=1, facts=None)
    context = story_context(byte_tokenizer)
    likely = lambda text: -0.5 if "c" in text else -0.5 - 1.0  # noqa: E731
    rollout, _ = search(strategy.roll(STORY, context), byte_tokenizer, lettered, Judge(), likely)
    priors = [node["parts"]["prior"] for node in rollout.trace["nodes"][1:]]
    assert sum(priors) == pytest.approx(1)
    assert priors[2] / priors[0] == pytest.approx(2.71828, rel=1e-4)


def test_empty_and_repeated_blocks_are_left_out_and_counted(byte_tokenizer):
    said = [" a", "  ", " a", " b"]
    rollout, _, _ = roll(replace(GREEDY, blocks=1), byte_tokenizer, write=lambda r, i, p: said[i])
    assert [r.text for r in rollout.responses] == [" a", " b"]
    assert (rollout.trace["empty"], rollout.trace["candidates"]) == (1, 2)


@pytest.mark.parametrize(("text", "ended"), [("END", "finished"), (" ", "empty")])
def test_a_step_without_a_block_ends_the_search(byte_tokenizer, text, ended):
    def write(request, i, prompt):
        return lettered(request, i, prompt) if request.id.endswith("/0") else text

    rollout, asked, _ = roll(GREEDY, byte_tokenizer, write=write)
    assert rollout.trace["ended"] == ended
    assert chosen_texts(rollout) == [" b0"]
    assert len([r for r in asked if r.to == "policy"]) == 2


def test_a_natural_ending_is_a_block_of_its_step_and_ends_the_search(byte_tokenizer):
    """The original stops before it saves such a step."""

    def write(request, i, prompt):
        return lettered(request, i, prompt) + ("END" if request.id.endswith("/1") else "")

    rollout, asked, _ = roll(GREEDY, byte_tokenizer, write=write)
    assert rollout.trace["ended"] == "finished"
    assert len([r for r in asked if r.to == "policy"]) == 2
    last = rollout.responses[5]
    assert (last.text, last.finished, last.token_ids[-1]) == (" b1", True, byte_tokenizer.eos_token_id)


# facts


def told(block):
    return [f"Fact of{block}.", "Second.", "Third."]


def test_two_facts_of_each_continued_block_are_remembered_and_the_gate_sees_facts_and_blocks(byte_tokenizer):
    """In the original the judge never sees the block, and the memory never grows."""
    rollout, _, judge = roll(GREEDY, byte_tokenizer, judge=Judge(by_letter, facts=told))
    assert len(judge.asked["facts"]) == 2
    first, second = judge.asked["contradictions"]
    assert all(f">\n {letter}1\n<" in first for letter in "abcd")
    assert "- Fact of b0." in first
    assert "Third" not in second
    assert "- Fact of b0.\n- Second.\n- Fact of b1." in second
    assert rollout.trace["nodes"][2]["facts"] == ["Fact of b0.", "Second."]


def test_a_block_that_contradicts_is_passed_over_for_the_next_best_which_is_the_one_continued(byte_tokenizer):
    """The original saves the block that it passed over, and can append two."""
    judge = Judge(by_letter, lambda block: "b1" in block, told)
    rollout, asked, _ = roll(GREEDY, byte_tokenizer, judge=judge)
    assert chosen_texts(rollout) == [" b0", " c1", " b2"]
    assert byte_tokenizer.decode(list([r for r in asked if r.to == "policy"][2].prompt_ids)).endswith(" b0 c1")
    assert rollout.trace["contradictions"] == 1
    assert [n["contradicts"] for n in rollout.trace["nodes"][5:9]] == [False, True, False, False]


def test_if_all_blocks_contradict_the_best_is_continued_and_teaches_no_facts(byte_tokenizer):
    judge = Judge(by_letter, lambda block: "1" in block, told)
    rollout, _, _ = roll(GREEDY, byte_tokenizer, judge=judge)
    assert chosen_texts(rollout) == [" b0", " b1", " b2"]
    assert [n["facts"] for n in rollout.trace["nodes"] if n.get("text") in (" b0", " b1")][1] == []
    assert "Fact of b1" not in judge.asked["contradictions"][1]


def test_a_gate_that_cannot_be_read_excludes_nothing_and_is_counted(byte_tokenizer):
    judge = Judge(by_letter, facts=told)

    def mute(request, prompt):
        return "perhaps" if "/contradictions/" in request.id else judge(request, prompt)

    rollout, _, _ = roll(GREEDY, byte_tokenizer, judge=mute)
    assert chosen_texts(rollout) == [" b0", " b1", " b2"]
    assert rollout.trace["gate_failures"] == 2
    assert GREEDY.describe(rollout)["search/gate_failure_rate"] == pytest.approx(2 / 3)


def test_without_a_memory_the_judge_only_rates(byte_tokenizer):
    _, asked, _ = roll(replace(GREEDY, facts=None), byte_tokenizer)
    assert [r.to for r in asked] == ["policy", "judge"] * 3
    assert replace(GREEDY, facts=None).engines == ()


# the judge's failures


def test_a_judge_that_cannot_be_parsed_ends_the_search_and_its_blocks_are_excluded(byte_tokenizer):
    rollout, asked, _ = roll(GREEDY, byte_tokenizer, judge=lambda request, prompt: "Nice work!")
    assert rollout.trace["ended"] == "no_verdict"
    assert len(rollout.responses) == 4
    assert {r.scores["writing_quality"].excluded for r in rollout.responses} == {
        "the judge has rated nothing: no verdict"
    }
    assert {node["excluded"] for node in rollout.trace["nodes"][1:]} == {"the judge has rated nothing: no verdict"}
    assert len([r for r in asked if r.to == "judge"]) == 5, "five attempts"
    assert GREEDY.describe(rollout)["search/no_verdict_rate"] == 1.0


def test_the_vectors_that_the_original_template_asks_for_are_ratings(byte_tokenizer):
    """The original reads every one of them as 2.5."""
    weights = {"a": [1, 0, 0, 0, 0], "b": [0, 0, 0, 0, 1], "c": [0, 0, 1, 0, 0], "d": [0, 1, 1, 0, 0]}
    judge = Judge(lambda block: ratings(weights[block.strip()[0]]))
    rollout, _, _ = roll(replace(GREEDY, blocks=1), byte_tokenizer, judge=judge)
    assert [r.scores["writing_quality"].parts["quality"] for r in rollout.responses] == [1, 5, 3, 2.5]


def test_a_schema_changes_the_form_of_replies_and_nothing_else(byte_tokenizer):
    judge = Judge(weak_at("principle3"), lambda block: "b1" in block, told)
    strategy = replace(GREEDY, refinement=Refinement())
    text, asked_text, _ = roll(strategy, byte_tokenizer, improved, judge)
    structured, asked, _ = roll(strategy, byte_tokenizer, improved, judge, structured_output=True)
    assert {r.schema is None for r in asked_text if r.to == "judge"} == {True}
    assert {r.schema is None for r in asked if r.to == "judge"} == {False}
    assert [r.id for r in asked] == [r.id for r in asked_text]
    assert [r.text for r in structured.responses] == [r.text for r in text.responses]
    assert [n["score"] for n in structured.trace["nodes"]] == [n["score"] for n in text.trace["nodes"]]
    assert structured.trace["contradictions"] == text.trace["contradictions"] == 1


def test_a_question_that_is_too_long_for_the_judge_excludes_the_step_with_the_reason(byte_tokenizer):
    context = story_context(byte_tokenizer)
    small = {"judge": replace(context.addressees["judge"], max_model_len=2000)}
    rollout, asked = search(
        GREEDY.roll(STORY, replace(context, addressees=small)), byte_tokenizer, lettered, Judge(by_letter)
    )
    assert {r.to for r in asked} == {"policy"}
    assert rollout.trace["ended"] == "no_verdict"
    assert {n["excluded"] for n in rollout.trace["nodes"][1:]} == {
        "the judge has rated nothing: too long for the judge"
    }


# refinement


def weak_at(*weak):
    def rate(block):
        rated = ratings(max(by_letter(block) / 2, 1) if block.strip()[0] in "abcd" else 5)
        return rated | {name: 5.0 for name in weak if block.strip()[0] == "a"}

    return rate


def improved(request, i, prompt):
    return " new block" if "refine" in request.id else lettered(request, i, prompt)


def test_a_weak_chosen_block_is_rewritten_with_advice_where_a_sibling_was_better(byte_tokenizer):
    strategy = replace(GREEDY, blocks=2, refinement=Refinement(suggestions=1))
    rollout, asked, judge = roll(strategy, byte_tokenizer, improved, Judge(weak_at("principle3")))
    assert chosen_texts(rollout) == [" b0", " b1"]
    refined = [node for node in rollout.trace["nodes"] if node["kind"] == "refined"]
    assert [(n["text"], n["chosen"], n["parent"]) for n in refined] == [
        (" new block", True, 0),
        (" new block", True, 2),
    ]
    advised = [r for r in asked if r.to == "policy" and "refine" in r.id]
    prompts = [byte_tokenizer.decode(list(r.prompt_ids)) for r in advised]
    assert all("keep this advice in mind: Mind principle3." in prompt for prompt in prompts)
    assert prompts[1].endswith(" b0"), "the step's own history"
    assert "principle3" in judge.asked["advice"][0]
    assert "principle2 (" not in judge.asked["advice"][0], "only where a sibling is better"
    assert rollout.trace["refined"] == 2


def test_a_rewritten_block_that_is_no_better_is_dropped(byte_tokenizer):
    def rate(block):
        return ratings(1) if block.strip() == "new block" else weak_at("principle3")(block)

    rollout, _, judge = roll(replace(GREEDY, refinement=Refinement()), byte_tokenizer, improved, Judge(rate))
    assert rollout.trace["refined"] == 0
    assert len(judge.asked["advice"]) == 3


def test_blocks_above_the_threshold_are_left_alone(byte_tokenizer):
    _, _, judge = roll(replace(GREEDY, refinement=Refinement(threshold=2.0)), byte_tokenizer, judge=Judge(weak_at()))
    assert judge.asked["advice"] == []


# back-propagation


def test_values_of_later_blocks_bring_the_search_back_to_an_earlier_one(byte_tokenizer):
    """After " b0" only bad blocks follow, so the third descent goes to " c0"."""

    def write(request, i, prompt):
        return f" {'abcd'[i]}0" if request.id.endswith("/0") else f" {'xyzw'[i]}{request.id[-1]}"

    def rate(block):
        return by_letter(block) if block.strip()[0] in GOOD else int(block[-1])

    strategy = replace(GREEDY, blocks=3, descents=3, facts=None)
    once, asked_once, _ = roll(strategy, byte_tokenizer, write, Judge(rate))
    revised, asked, _ = roll(replace(strategy, back_up=True), byte_tokenizer, write, Judge(rate))
    parents = lambda rollout: [r.parent for r in rollout.responses[::4]]  # noqa: E731
    assert parents(once) == [None, 1, 4]
    assert parents(revised) == [None, 1, 2], "back to the second best first block"
    assert len(asked) == len(asked_once), "at the same cost"
    assert chosen_texts(revised)[0] == " c0"
    assert revised.trace["nodes"][2]["visits"] == 1


def test_without_back_propagation_nothing_is_visited_as_in_the_original(byte_tokenizer):
    rollout, _, _ = roll(GREEDY, byte_tokenizer)
    assert {node["visits"] for node in rollout.trace["nodes"][1:]} == {0}


def test_descents_after_the_answers_end_ask_nothing(byte_tokenizer):
    strategy = replace(GREEDY, blocks=1, descents=5, back_up=True, facts=None)
    _, asked, _ = roll(strategy, byte_tokenizer)
    assert len(asked) == 2


# bad input


def test_a_required_length_out_of_reach_is_that_records_error(byte_tokenizer):
    far = replace(STORY, length=1_000_000)
    with pytest.raises(DataError, match=r"asks for 1,000,000 words, and 3 blocks of 40 tokens"):
        roll(GREEDY, byte_tokenizer, record=far)


def test_a_prompt_without_room_for_a_block_is_that_records_error(byte_tokenizer):
    with pytest.raises(DataError, match=r"no block of 40 fits the engine's 70"):
        roll(GREEDY, byte_tokenizer, max_model_len=70)


def test_the_search_stops_where_the_next_block_has_no_room(byte_tokenizer):
    length = len(story_context(byte_tokenizer).prompt_format.prompt_ids(byte_tokenizer, "", STORY.question))
    rollout, _, _ = roll(GREEDY, byte_tokenizer, max_model_len=length + 40 + 3)
    assert rollout.trace["ended"] == "no_room"
    assert rollout.trace["blocks"] == 2
    assert chosen_texts(rollout) == [" b0", " b1"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"blocks": 0}, r"strategy\.blocks is 0"),
        ({"candidates": 1}, r"strategy\.candidates is 1"),
        ({"descents": 0}, r"strategy\.descents is 0"),
        ({"sampling": Sampling(stop=("x",))}, r"strategy\.sampling\.stop"),
    ],
)
def test_impossible_settings_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        StepwiseSearch(**settings)


def test_a_memory_or_refinement_with_a_broken_prompt_is_refused():
    with pytest.raises(ConfigError, match=r"strategy\.facts\.facts holds \$block"):
        FactMemory(facts="List: $block")
    with pytest.raises(ConfigError, match="no \\$names"):
        Refinement(prompt="Advise.")


# with other rewards


def test_questions_with_gold_answers_are_searched_too(byte_tokenizer):
    record = QARecord("q", "Where?", ("Lima",), "The city is Lima. " * 40)
    context = StrategyContext(byte_tokenizer, DirectAnswer(), Embedder(), 900, 0, (AnswerMatch(),))
    strategy = StepwiseSearch(
        blocks=2, candidates=2, sampling=replace(BLOCK, max_tokens=8), facts=None, refinement=None
    )
    rollout, asked = search(
        strategy.roll(record, context),
        byte_tokenizer,
        lambda r, i, p: (" Li", " Qu")[i] if "/0" in r.id else "maEND",
        None,
    )
    assert [r.text for r in rollout.responses] == ["Answer: Li", "Answer: Qu", "ma"]
    assert rollout.responses[2].scores["answer_match"].value == 1.0
    assert len(asked[0].prompt_ids) <= 900 - 16


def test_a_search_by_length_alone_needs_no_judge(byte_tokenizer):
    strategy = replace(GREEDY, facts=None)
    rollout, asked, _ = roll(
        strategy, byte_tokenizer, lambda r, i, p: " word" * (4 * i + 2), rewards=(RequiredLength(),)
    )
    assert {r.to for r in asked} == {"policy"}
    assert chosen_texts(rollout) == [" word" * 14] * 3


# resume


def test_a_killed_search_asks_nothing_twice_and_ends_the_same(byte_tokenizer, tmp_path):
    # Blocks of three tokens, so that the engine cuts them and the answer goes on.
    strategy = replace(GREEDY, sampling=replace(BLOCK, max_tokens=3), refinement=Refinement())
    records = [replace(STORY, id=f"s{i}", question=f"Write story {i}.", length=9) for i in range(6)]
    judge = Judge(weak_at("principle3"), lambda block: block.strip() == "b1", told)

    def answer(request, i):
        prompt = byte_tokenizer.decode(list(request.prompt_ids))
        return judge(request, prompt) if request.to == "judge" else improved(request, i, prompt) + " and more"

    context = story_context(byte_tokenizer)

    def run(journal, fail_after=None):
        policy = ScriptedEngine(answer, tokenizer=byte_tokenizer, fail_after=fail_after)
        engines = {"policy": policy, "judge": ScriptedEngine(answer)}
        done = {}
        try:
            scheduler = Scheduler(engines, journal)
            for key, result in scheduler.run((r.id, strategy.roll(r, context)) for r in records):
                done[key] = result
        finally:
            if journal is not None:
                journal.close()
        return done, [request.id for engine in engines.values() for request in engine.asked]

    fresh, everything = run(None)
    answered: list[str] = []
    for fail_after in (3, 5, 4):
        journal = Journal(tmp_path / "completions.jsonl", "f")
        before = {line.split('"request_id": "')[1].split('"')[0] for line in _lines(tmp_path)}
        with pytest.raises(Exception, match="told to break"):
            run(journal, fail_after)
        answered = [line.split('"request_id": "')[1].split('"')[0] for line in _lines(tmp_path)]
        assert len(answered) == len(set(answered)) > len(before)
    resumed, asked = run(Journal(tmp_path / "completions.jsonl", "f"))
    assert set(asked).isdisjoint(answered)
    assert set(asked) | set(answered) == set(everything)
    assert resumed == fresh
    assert all(rollout.trace["refined"] == 3 for rollout in fresh.values())


def _lines(folder):
    return [line for line in (folder / "completions.jsonl").read_text().splitlines() if '"request_id"' in line]
