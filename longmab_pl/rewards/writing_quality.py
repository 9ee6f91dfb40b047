"""The value of long texts in the making (LongDPO): seven principles rated by a judge, and the required length."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from longmab_pl.checks import at_least, one_of, positive
from longmab_pl.data.records import QARecord
from longmab_pl.data.truncation import cut_middle
from longmab_pl.engines.protocol import RequestStream
from longmab_pl.prompts import encoding
from longmab_pl.prompts.blocks import RATE
from longmab_pl.prompts.dollar_names import check_names, fill
from longmab_pl.prompts.quoting import Fence
from longmab_pl.rewards.base import RewardContext, Score
from longmab_pl.rewards.block_replies import ratings_form
from longmab_pl.rewards.length import count_words, length_term
from longmab_pl.rewards.llm_judge.asking import Question, ask
from longmab_pl.rewards.llm_judge.attempts import TEMPERATURES
from longmab_pl.seeding import derive_seed


@dataclass(frozen=True)
class WritingQuality:
    """Rates texts, or candidates for a text's next block, by seven principles and by their length.

    The value is the mean rating (1 to 5; the part `quality`) plus, for a record with a required length, LongWriter's
    S_l of the whole text so far divided by `length_scale` (0 to 10 by default; the part `length`). The other parts are
    the ratings `principle1` to `principle7` and `position`, the place in the judge's prompt (0 to 1), which shows a
    position bias. A text without a verdict in five attempts is excluded.

    `style="joint"` uses one request for all candidates of a step, in a random order: 4 requests for 4 steps of 4
    candidates. `style="original"` uses one for each candidate (16), as the program does.

    Args:
        engine: name of the judging engine; `policy` is the trained model with its current adapter.
        style: `joint` or `original`, see above.
        length_scale: divisor of S_l (0 to 100); null: length does not count.
        written_tokens: what was written before is cut in the middle to this many tokens in the judge's prompt.
        prompt: prompt with `$rule`, `$instruction`, `$written`, `$candidates` and `$reply`.

    Example:
        >>> WritingQuality(engine="judge", length_scale=None).engines
        ('judge',)

    Source: LongDPO (arXiv:2502.02095), section 3; `reason/inference/value.py`, whose template asks for weights that its
    parser reads as 2.5 each, and whose length term swaps its arguments and counts the instruction's words.
    """

    name: ClassVar[str] = "writing_quality"
    needs_embedder: ClassVar[bool] = False

    engine: str = "judge"
    style: Literal["joint", "original"] = "joint"
    length_scale: float | None = 10.0
    written_tokens: int = 8192
    prompt: str = RATE

    def __post_init__(self) -> None:
        one_of("reward.style", self.style, ("joint", "original"))
        positive("reward.length_scale", self.length_scale, or_null=True)
        at_least("reward.written_tokens", self.written_tokens, 64)
        check_names("reward.prompt", self.prompt, ("rule", "instruction", "written", "candidates", "reply"))

    @property
    def engines(self) -> tuple[str, ...]:
        return (self.engine,)

    def score(self, record: QARecord, responses: Sequence[str], context: RewardContext) -> RequestStream[list[Score]]:
        blocks = [text.removeprefix(context.written) for text in responses]
        order = list(range(len(blocks)))
        random.Random(derive_seed(context.seed, context.key, "order")).shuffle(order)
        calls = [order] if self.style == "joint" else [[i] for i in range(len(blocks))]
        questions = [self._question(record, blocks, call, context) for call in calls]
        outcomes = yield from ask(questions, context, self.engine, TEMPERATURES)
        scores: list[Score] = [Score(0.0)] * len(blocks)
        for call, question in zip(calls, questions, strict=True):
            outcome = outcomes[question.name]
            for i in call:
                scores[i] = Score(0.0, excluded=f"the judge has rated nothing: {outcome.missing}")
            for place, (i, ratings) in enumerate(zip(call, outcome.value or (), strict=False)):
                position = place / max(len(call) - 1, 1)
                scores[i] = self._scored(record, responses[i], ratings, position, outcome.reply)
        return scores

    def _scored(self, record: QARecord, text: str, ratings: dict[str, float], position: float, analysis: str) -> Score:
        quality = sum(ratings.values()) / len(ratings)
        parts = {**ratings, "quality": quality, "position": position}
        if record.length is not None and self.length_scale is not None:
            parts["length"] = length_term(record.length, count_words(text), self.length_scale)
        return Score(quality + parts.get("length", 0.0), parts, None, {"analysis": analysis})

    def _question(
        self, record: QARecord, blocks: Sequence[str], call: Sequence[int], context: RewardContext
    ) -> Question:
        """Return the question that rates the blocks in the order of `call`."""
        judge = context.addressee(self.engine)
        tokenizer: Any = encoding.text_tokenizer(judge.chat.tokenizer, context.written)
        written = cut_middle(context.written, tokenizer, self.written_tokens)
        fence = Fence.around(0, [record.question, written, *blocks])
        labels = [fence.name(place) for place in range(1, len(call) + 1)]
        form = ratings_form(labels, judge.structured_output)
        prompt = fill(
            self.prompt,
            rule=fence.rule(),
            instruction=fence.quote(record.question, "instruction"),
            written=fence.quote(written, "written") if written else "(nothing yet)",
            candidates="\n\n".join(fence.quote(blocks[i], str(place)) for place, i in enumerate(call, 1)),
            reply=form.told,
        )
        name = "ratings" if self.style == "joint" else f"ratings/{call[0]}"
        return Question(name, prompt, form, judge)
