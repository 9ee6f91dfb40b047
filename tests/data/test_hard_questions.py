from __future__ import annotations

import random
import re

import pytest

from longmab_pl.data.hard_questions import Draft, Questions, TitledText
from longmab_pl.data.no_answer import NOT_STATED
from longmab_pl.data.synthetic_world import KINDS, Names, World


def questions(**settings) -> Questions:
    rng = random.Random(1)
    names = Names(rng)
    return Questions(World(rng, names, 80), names, **settings)


def drafts(task: str, count: int = 60, **settings) -> list[Draft]:
    made = questions(**settings)
    return [made.draft(random.Random(seed), task) for seed in range(count)]


def stated(passage: TitledText) -> set[tuple[str, str]]:
    """Return the facts (relation, value) that a passage states about the entity in its title."""
    found = set()
    for kind in KINDS:
        for relation in kind.relations:
            for statement in relation.statements:
                marked = statement.format(s="\0", o="\1")
                pattern = re.escape(marked[0].upper() + marked[1:]).replace("\0", re.escape(passage.title))
                whole = re.compile(pattern.replace("\1", "(.+)"), re.IGNORECASE)
                for value in filter(None, map(whole.fullmatch, re.split(r"(?<=\.) ", passage.text))):
                    if not value[1].startswith("the year "):  # "born in the year 1943" is no birthplace
                        found.add((relation.name, value[1]))
    return found


def test_every_passage_has_its_own_title():
    for task in ("hops", "chain", "unanswerable", "list", "count"):
        for draft in drafts(task, 30):
            titles = [passage.title for passage in (*draft.evidence, *draft.others)]
            assert len(titles) == len(set(titles))


def test_a_path_leads_from_passage_to_passage_to_the_answer():
    made = drafts("hops")
    assert {draft.hops for draft in made} == {1, 2, 3}
    for draft in made:
        assert len(draft.evidence) == draft.hops
        assert draft.evidence[0].title in draft.question
        for passage, following in zip(draft.evidence, draft.evidence[1:], strict=False):
            assert following.title in passage.text
            assert following.title not in draft.question
        assert draft.answers[0] in draft.evidence[-1].text
        assert all(draft.answers[0].lower() not in f"{p.title} {p.text}".lower() for p in draft.others)
    assert {draft.hops for draft in drafts("hops", hops=1)} == {1}


def test_near_duplicates_have_nearly_the_same_name_and_text_and_another_answer():
    for draft in drafts("hops", 40):
        assert len(draft.others) == 2
        for passage in draft.others:
            similar = [e for e in draft.evidence if len(e.title) == len(passage.title)]
            differing = [sum(a != b for a, b in zip(e.title, passage.title, strict=True)) for e in similar]
            assert min(differing) == 1
            twin = similar[differing.index(1)]
            facts, own = stated(passage), stated(twin)
            assert {name for name, _ in facts} == {name for name, _ in own}, "the same facts are stated"
            assert len(facts - own) == 1, "one of them differs"
    assert all(not draft.others for draft in drafts("hops", 10, near=0))


def follow(draft: Draft) -> tuple[list[str], str]:
    """Return the titles of the slips that the question leads to, and the question on the last one."""
    texts = {passage.title: passage.text for passage in (*draft.evidence, *draft.others)}
    key = re.search(r"slip ([0-9a-f]{8})\.", draft.question)[1]
    titles = []
    while True:
        titles.append(f"Slip {key}")
        following = re.search(r"follows this one is ([0-9a-f]{8})\.", texts[titles[-1]])
        if following is None:
            return titles, re.search(r'"(.+)"', texts[titles[-1]])[1]
        key = following[1]


def test_a_chain_of_slips_hides_the_question():
    for draft in drafts("chain", 30):
        titles, question = follow(draft)
        inner = draft.evidence[4:]
        assert titles == [passage.title for passage in draft.evidence[:4]]
        assert inner[0].title in question
        assert draft.answers[0] in inner[-1].text
        assert inner[0].title not in draft.question, "the question itself says nothing of what is asked"
        slips = [passage for passage in draft.others if passage.title.startswith("Slip ")]
        assert len(slips) == 2 * 4
        others = [text for slip in slips for text in re.findall(r'"(.+)"', slip.text)]
        assert len({question, *others}) == 3
    (one,) = drafts("chain", 1, links=1, chains=1)
    assert follow(one)[0] == [one.evidence[0].title]


def test_what_an_unanswerable_question_asks_is_not_stated_of_its_subject():
    made = drafts("unanswerable")
    without_passage = 0
    for draft in made:
        assert (draft.answers, draft.evidence, draft.answerable) == ((NOT_STATED,), (), False)
        kind, asked = draft.topic[-1]
        about = [passage for passage in draft.others if not draft.allows(_entity(passage, kind))]
        without_passage += len(about) < draft.hops
        if draft.hops == 1:
            (subject,) = about
            assert subject.title in draft.question
            assert asked.name not in {name for name, _ in stated(subject)}
            assert any(asked.name in {n for n, _ in stated(p)} for p in draft.others), "a near-duplicate states it"
    assert 0 < without_passage < len(made)


def _entity(passage, kind):
    from longmab_pl.data.synthetic_world import Entity

    return Entity(passage.title, kind, {relation.name: "" for relation in kind.relations})


@pytest.mark.parametrize("task", ["list", "count"])
def test_lists_and_counts_are_of_the_passages_that_state_the_value(task):
    for draft in drafts(task):
        ((_, relation),) = draft.topic
        values = [dict(stated(passage)).get(relation.name) for passage in draft.evidence]
        assert len(set(values)) == 1
        assert values[0] in draft.question
        assert all(dict(stated(passage)).get(relation.name) != values[0] for passage in draft.others)
        if task == "list":
            assert draft.answers == (", ".join(sorted(passage.title for passage in draft.evidence)),)
        else:
            assert draft.answers[0] == str(len(draft.evidence))
            assert draft.answers[1].isalpha()
        assert 2 <= len(draft.evidence) <= (5 if task == "list" else 7)


def test_no_other_entity_with_the_listed_value_is_allowed():
    made = questions()
    draft = made.draft(random.Random(3), "count")
    ((kind, relation),) = draft.topic
    value = dict(stated(draft.evidence[0]))[relation.name]
    sharing = [entity for entity in made.world.entities[kind.name] if entity.values[relation.name] == value]
    assert len(sharing) >= len(draft.evidence)
    assert not any(draft.allows(entity) for entity in sharing)
