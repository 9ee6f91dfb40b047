from __future__ import annotations

import math

import pytest

from longmab_pl.checks import at_least, between, not_negative, one_of, positive, unit_interval
from longmab_pl.errors import ConfigError


def message_of(check, *args, **kwargs) -> str:
    with pytest.raises(ConfigError) as refused:
        check(*args, **kwargs)
    return str(refused.value)


def test_values_on_the_limit_are_accepted():
    at_least("n", 1, 1)
    not_negative("n", 0)
    between("n", -2, -2, 2)
    between("n", 2, -2, 2)
    unit_interval("p", 0.0)
    unit_interval("p", 1)
    one_of("kind", "b", ("a", "b"))


def test_messages_name_the_setting_its_value_and_the_rule():
    assert message_of(at_least, "data.batch_size", 0, 1) == "data.batch_size is 0; it must be at least 1"
    assert message_of(positive, "model.learning_rate", 0.0) == "model.learning_rate is 0.0; it must be positive"
    assert message_of(not_negative, "engine.seed", -1) == "engine.seed is -1; it must be 0 or more"
    assert message_of(between, "p", 3, -2, 2) == "p is 3; it must be in [-2, 2]"
    assert message_of(at_least, "lora.r", 0, 1, "the rank must be at least 1").endswith("; the rank must be at least 1")


def test_the_ends_of_the_unit_interval_can_be_left_out():
    unit_interval("p", 1, zero=False)
    unit_interval("p", 0, one=False)
    assert message_of(unit_interval, "p", 0, zero=False) == "p is 0; it must be in (0, 1]"
    assert message_of(unit_interval, "p", 1, one=False) == "p is 1; it must be in [0, 1)"
    assert message_of(unit_interval, "p", 1.5) == "p is 1.5; it must be in [0, 1]"


def test_the_high_end_of_a_range_can_be_left_out():
    between("p", 0, 0, 0.5, open_end=True)
    between("p", 0.499, 0, 0.5, open_end=True)
    assert message_of(between, "p", 0.5, 0, 0.5, open_end=True) == "p is 0.5; it must be in [0, 0.5)"
    assert message_of(between, "p", -0.1, 0, 0.5, open_end=True) == "p is -0.1; it must be in [0, 0.5)"


def test_null_is_accepted_only_where_it_means_something():
    at_least("n", None, 1, or_null=True)
    assert message_of(at_least, "n", 0, 1, or_null=True) == "n is 0; it must be at least 1, or null"
    assert message_of(at_least, "n", None, 1) == "n is null; it must be at least 1"


@pytest.mark.parametrize("check", [positive, not_negative, unit_interval])
def test_what_is_no_number_is_refused(check):
    assert "is nan" in message_of(check, "x", math.nan)
    assert "is '1'" in message_of(check, "x", "1")


def test_choices_are_listed():
    assert message_of(one_of, "engine.quantization", "int3", ("nf4", None)) == (
        "engine.quantization is 'int3'; use nf4 or null"
    )
    assert message_of(one_of, "x", "d", ("a", "b", "c")) == "x is 'd'; use a, b or c"
    assert message_of(one_of, "x", "d", ["a"]) == "x is 'd'; use a"
