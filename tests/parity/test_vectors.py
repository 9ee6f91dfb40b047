"""The package gives what the original programs gave, but where `DEVIATIONS` says and why."""

from __future__ import annotations

import pytest
from adapters import ADAPTERS, DEVIATIONS
from parity import call, difference


def test_vector(vector, record_property):
    record_property("function", vector.function)
    if vector.function not in ADAPTERS:
        pytest.fail(
            f"{vector.where}: no adapter for the function {vector.function!r}; add one in tests/parity/adapters"
        )
    deviation = next((d for d in DEVIATIONS if d.function == vector.function and d.when(vector.input)), None)
    expected = vector.output
    if deviation is not None:
        expected = deviation.ours(vector.input, vector.output)
        if difference(expected, vector.output):
            record_property("deviation", deviation.condition)
    found = difference(call(ADAPTERS[vector.function], vector.input, vector.output), expected)
    if found:
        pytest.fail(f"{vector.where} {vector.function}: {found}", pytrace=False)


@pytest.mark.parametrize("deviation", DEVIATIONS, ids=lambda d: f"{d.function}: {d.condition}")
def test_deviation_has_a_reason_and_holds_on_its_example(deviation):
    assert deviation.function in ADAPTERS
    assert deviation.condition.strip()
    assert deviation.why.strip(), f"{deviation.function} differs from the original without a reason"
    assert deviation.when(deviation.example)
    assert difference(deviation.value, deviation.original), "the example does not show a difference"
    assert (
        difference(call(ADAPTERS[deviation.function], deviation.example, deviation.original), deviation.value) is None
    )
    assert difference(deviation.ours(deviation.example, deviation.original), deviation.value) is None
