"""Weighted losses of a step; configs name them `longmab_pl.training.terms.<class>` in `model.losses`."""

from longmab_pl.training.terms.base import StepLogps, Term, TermLoss
from longmab_pl.training.terms.group import GroupTerm
from longmab_pl.training.terms.preference import LikelihoodTerm, PreferenceTerm
from longmab_pl.training.terms.short_to_long import ShortToLong, ShortToLongTerm

__all__ = [
    "GroupTerm",
    "LikelihoodTerm",
    "PreferenceTerm",
    "ShortToLong",
    "ShortToLongTerm",
    "StepLogps",
    "Term",
    "TermLoss",
]

HOMES = {name: globals()[name].__module__ for name in __all__}
