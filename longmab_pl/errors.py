"""Errors of this package: each says what is wrong, where, and what to do."""

from __future__ import annotations


class LongMabError(Exception):
    """Base of the errors this package raises on purpose. The CLI prints them without a traceback."""


class ConfigError(LongMabError):
    """A setting is wrong or two settings contradict each other."""


class DataError(LongMabError):
    """An input file or record cannot be used."""


class NonFiniteLoss(LongMabError):
    """The loss is NaN or infinite: the weights of this step are not kept."""


class EngineError(LongMabError):
    """The inference engine failed, refused a request, or does not use the adapter it was given."""


class BudgetUsedUp(LongMabError):
    """Requests would exceed the budget of their engine; none of them was sent. Raised inside the strategy or reward."""


class PromptTooLong(EngineError):
    """One request does not fit the engine's context window; other requests are unaffected."""
