"""Contexts of a chosen length and depth: needed passages among distractors, none twice, the same for the same seed."""

from __future__ import annotations

import re

import pytest

from longmab_pl.data.long_contexts import ContextBuilder, ContextSettings, Document
from longmab_pl.errors import ConfigError

NEEDED = [Document("n0", "needed zero " * 10), Document("n1", "needed one " * 10)]
OWN = [Document(f"o{i}", f"own {i} " * 20) for i in range(3)]


class Hills(dict):
    """A pool of distractors, some of them long."""

    def __init__(self, n=300):
        super().__init__({f"p{i:03d}": f"hill {i} " * (20 if i % 7 else 200) for i in range(n)})

    def text(self, key):
        return self[key]


def count(text):
    return len(re.findall(r"\w+|[^\w ]", text))


def build(id="q1", needed=NEEDED, own=OWN, pool=None, **settings):
    return ContextBuilder(ContextSettings(**settings), count, pool or Hills()).build(id, needed, own)


def passages(context):
    return re.split(r"\n?Passage \d+:\n", context.text)[1:]


@pytest.mark.parametrize("target", [300, 1000, 4000])
def test_a_context_is_as_long_as_asked_with_its_headers(target):
    context = build(min_tokens=target, max_tokens=target)
    assert context.tokens == count(context.text) <= target == context.target
    assert context.tokens > 0.94 * target - 60
    assert len(passages(context)) == context.passages == len(set(passages(context)))


def test_all_needed_passages_are_there_at_the_places_that_are_said():
    context = build(min_tokens=900, max_tokens=900)
    found = passages(context)
    assert [found[place - 1] for place in context.places] == [d.text.strip() for d in NEEDED]


def test_own_distractors_come_before_others():
    assert {"own 0", "own 1", "own 2"} <= {p[:5] for p in passages(build(min_tokens=400, max_tokens=400))}


def test_a_pool_that_has_a_needed_or_own_document_does_not_repeat_it():
    pool = Hills(20)
    pool |= {"n0": "another text of needed zero", "o1": "another text of own one"}
    context = build(pool=pool, min_tokens=9000, max_tokens=9000)
    assert context.passages == 2 + 3 + 20
    assert "another" not in context.text


def test_lengths_are_drawn_in_steps_of_1024_as_in_the_original():
    targets = {build(str(i), pool=Hills(3)).target for i in range(150)}
    assert {t % 1024 for t in targets} == {0}
    assert min(targets) == 4096
    assert max(targets) == 31 * 1024
    assert len(targets) > 20
    assert len({build(str(i), min_tokens=300, max_tokens=400, pool=Hills(3)).target for i in range(50)}) > 20


@pytest.mark.parametrize("depth", [0.0, 0.25, 0.5, 1.0])
def test_needed_passages_stand_together_at_the_depth(depth):
    context = build(min_tokens=4000, max_tokens=4000, depths=(depth,))
    first, last = sorted(context.places)
    assert last == first + 1
    before = sum(count(p) for p in passages(context)[: first - 1])
    total = sum(count(p) for p in passages(context)) - 40
    assert before / total == pytest.approx(depth, abs=0.06)


def test_without_depths_they_stand_anywhere():
    places = [build(str(i), min_tokens=1000, max_tokens=1000).places for i in range(40)]
    assert len(set(places)) > 20
    depths = {min(build(str(i), min_tokens=1000, max_tokens=1000, depths=(0.0, 1.0)).places) == 1 for i in range(20)}
    assert depths == {True, False}


def test_a_question_gets_the_same_context_whatever_was_built_before():
    builder = ContextBuilder(ContextSettings(600, 900), count, Hills())
    first = [builder.build(f"q{i}", NEEDED, OWN) for i in range(5)]
    assert builder.build("q3", NEEDED, OWN) == first[3] == build("q3", min_tokens=600, max_tokens=900)
    assert build("q3", min_tokens=600, max_tokens=900, seed=1) != first[3]


def test_needed_passages_longer_than_the_target_stand_alone_and_longer_than_the_limit_not_at_all():
    long = [Document("n0", "word " * 500)]
    assert build(needed=long, min_tokens=501, max_tokens=900, id="q4").tokens >= 503
    alone = [build(str(i), needed=long, own=[], pool=Hills(1), min_tokens=100, max_tokens=600) for i in range(9)]
    assert {context.passages for context in alone if context.target < 520} == {1}
    assert build(needed=long, min_tokens=100, max_tokens=499) is None


@pytest.mark.parametrize(
    ("settings", "name"),
    [({"min_tokens": 0}, "min_tokens"), ({"max_tokens": 10}, "max_tokens"), ({"depths": ()}, "depths"),
     ({"depths": (2.0,)}, "depths")],
)  # fmt: skip
def test_settings_out_of_range_are_named(settings, name):
    with pytest.raises(ConfigError, match=name):
        ContextSettings(**settings)
