"""The stored scores that a pair rule compares."""

from __future__ import annotations

from collections.abc import Sequence

from longmab_pl.errors import ConfigError
from longmab_pl.shown import quoted
from longmab_pl.strategies.base import Response


def compared_values(responses: Sequence[Response], by: str | None, primary: str) -> list[float | None]:
    """Return the value of each response that may be in a pair; None for an excluded and for an empty response.

    Args:
        responses: a record's responses.
        by: the rule's setting: name of a reward, or None for the primary.
        primary: name of the run's first reward.

    Raises:
        ConfigError: no response has a score of the name `by`.
    """
    if responses and by is not None and not any(by in response.scores for response in responses):
        known = ", ".join(sorted(responses[0].scores))
        raise ConfigError(f"pairs.by is {quoted(by)}; the responses are scored by: {known}")
    # An empty response cannot be trained on, neither as chosen nor as rejected.
    scores = [response.scores.get(by or primary) if response.text.strip() else None for response in responses]
    return [None if score is None or score.excluded is not None else score.value for score in scores]
