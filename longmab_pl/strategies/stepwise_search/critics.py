"""What a stepwise search asks a judge beside ratings: facts, contradictions, and advice on weak blocks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from longmab_pl.checks import at_least, between
from longmab_pl.engines.protocol import RequestStream
from longmab_pl.prompts.blocks import CONTRADICTIONS, FACTS, PRINCIPLE_TEXTS, SUGGEST
from longmab_pl.prompts.dollar_names import check_names, fill
from longmab_pl.prompts.quoting import Fence
from longmab_pl.rewards.base import RewardContext
from longmab_pl.rewards.block_replies import advice_form, contradictions_form, facts_form
from longmab_pl.rewards.llm_judge.asking import Question, ask
from longmab_pl.rewards.llm_judge.attempts import TEMPERATURES
from longmab_pl.rewards.principles import PRINCIPLES


@dataclass(frozen=True)
class FactMemory:
    """Remembers facts of accepted blocks, and keeps the search from following a block that contradicts one.

    Facts belong to a path: a block is compared with those of the blocks before it. One request lists the facts of an
    accepted block, and one compares all candidates of a step with the facts so far. A reply without a verdict excludes
    no block and adds no fact; both are counted (`search/gate_failure_rate`).

    Args:
        engine: name of the engine that is asked.
        facts: prompt with `$rule`, `$instruction`, `$block` and `$reply`.
        contradictions: prompt with `$rule`, `$facts`, `$candidates` and `$reply`.

    Source: LongDPO, section 3 (whose program's judge never sees the block that it is asked about).
    """

    engine: str = "judge"
    facts: str = FACTS
    contradictions: str = CONTRADICTIONS

    def __post_init__(self) -> None:
        check_names("strategy.facts.facts", self.facts, ("rule", "instruction", "block", "reply"))
        check_names("strategy.facts.contradictions", self.contradictions, ("rule", "facts", "candidates", "reply"))

    def list_facts(self, instruction: str, block: str, context: RewardContext) -> RequestStream[list[str] | None]:
        """Ask for the facts of a block; None without a verdict."""
        judge = context.addressee(self.engine)
        form = facts_form(judge.structured_output)
        fence = Fence.around(0, [instruction, block])
        prompt = fill(
            self.facts,
            rule=fence.rule(),
            instruction=fence.quote(instruction, "instruction"),
            block=fence.quote(block, "part"),
            reply=form.told,
        )
        return (yield from _answer(Question("facts", prompt, form, judge), context, self.engine))

    def contradicting(
        self, facts: Sequence[str], blocks: Sequence[str], context: RewardContext
    ) -> RequestStream[set[int] | None]:
        """Ask which blocks contradict a fact; None without a verdict."""
        judge = context.addressee(self.engine)
        fence = Fence.around(0, [*facts, *blocks])
        form = contradictions_form([fence.name(i) for i in range(1, len(blocks) + 1)], judge.structured_output)
        prompt = fill(
            self.contradictions,
            rule=fence.rule(),
            facts=fence.quote("\n".join(f"- {fact}" for fact in facts), "facts"),
            candidates="\n\n".join(fence.quote(block, str(i)) for i, block in enumerate(blocks, 1)),
            reply=form.told,
        )
        found = yield from _answer(Question("contradictions", prompt, form, judge), context, self.engine)
        return None if found is None else {i for i, contradicts in enumerate(found) if contradicts}


@dataclass(frozen=True)
class Refinement:
    """Rewrites weak chosen blocks with a judge's advice.

    A chosen block whose part `quality` is below the threshold is compared with its siblings on every principle where
    one of them was rated higher. The advice that the judge is surest of follows the instruction in a new prompt, and
    the block that the policy writes to it is rated beside the weak one. It becomes the chosen block of its step if its
    value is higher; the pair's prompt has no advice.

    Args:
        engine: name of the engine that is asked.
        threshold: blocks of a lower mean rating (1 to 5) are weak; 2.5 in the paper.
        suggestions: at most this many pieces of advice in the new prompt (1 to 3 at random in the program).
        prompt: prompt with `$rule`, `$instruction`, `$block`, `$comparisons` and `$reply`.

    Source: LongDPO, section 3; `MCTS/refine.py`.
    """

    engine: str = "judge"
    threshold: float = 2.5
    suggestions: int = 3
    prompt: str = SUGGEST

    def __post_init__(self) -> None:
        between("strategy.refinement.threshold", self.threshold, 1, 6)
        at_least("strategy.refinement.suggestions", self.suggestions, 1)
        check_names("strategy.refinement.prompt", self.prompt, ("rule", "instruction", "block", "comparisons", "reply"))

    def advice(
        self, instruction: str, weak: str, better: Mapping[int, str], context: RewardContext
    ) -> RequestStream[list[tuple[str, float]] | None]:
        """Ask for advice on a weak block.

        Args:
            instruction: what the text is written to.
            weak: the block.
            better: position in `PRINCIPLES` -> a block that was rated higher there.
            context: key and seed of the requests.

        Returns:
            A generator that returns texts with the judge's confidence (1 to 5); None without a verdict.
        """
        judge = context.addressee(self.engine)
        form = advice_form([PRINCIPLES[i] for i in better], judge.structured_output)
        fence = Fence.around(0, [instruction, weak, *better.values()])
        comparisons = "\n\n".join(
            f"{PRINCIPLES[i]} ({PRINCIPLE_TEXTS[PRINCIPLES[i]]}), rated higher:\n{fence.quote(text, str(i + 1))}"
            for i, text in better.items()
        )
        prompt = fill(
            self.prompt,
            rule=fence.rule(),
            instruction=fence.quote(instruction, "instruction"),
            block=fence.quote(weak, "part"),
            comparisons=comparisons,
            reply=form.told,
        )
        return (yield from _answer(Question("advice", prompt, form, judge), context, self.engine))


def _answer(question: Question, context: RewardContext, engine: str) -> RequestStream[Any]:
    """Ask one question; None without a verdict."""
    outcomes = yield from ask([question], context, engine, TEMPERATURES)
    return outcomes[question.name].value
