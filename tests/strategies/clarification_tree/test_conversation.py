from __future__ import annotations

from longmab_pl.prompts.transcript import assistant
from longmab_pl.strategies.clarification_tree import conversation
from longmab_pl.strategies.clarification_tree.conversation import Round

FIRST = Round(assistant("Where?"), (0,), assistant("In Lyon."), assistant("Lyon"))
SECOND = Round(assistant("When?"), (), assistant("In 1900."), assistant("Lyon, 1900"))
WHEN = SECOND.clarification


def test_a_trace_has_three_messages_and_eight_a_round():
    turns = conversation.trace("MARKED", "Q", assistant("first answer"), [FIRST, SECOND])
    assert len(turns) == 3 + 8 * 2
    assert [turn.role for turn in turns] == ["system"] + ["user", "assistant"] * 9
    assert [turn.text for turn in turns][2::2] == [
        "first answer",
        "Where?",
        "These paragraphs help: <para 0>",
        "In Lyon.",
        "Lyon",
        "When?",
        "No paragraph helps with this.",
        "In 1900.",
        "Lyon, 1900",
    ]


def test_what_is_trained_points_to_paragraphs_without_their_text():
    trained = str(conversation.trace("MARKED", "Q", assistant("first answer"), [FIRST]))
    assert "the text of paragraph 0" not in trained
    assert "the text of paragraph 0" in str(
        conversation.answer_request([], "Q", FIRST.clarification, "the text of paragraph 0")
    )


def test_each_request_continues_the_one_before():
    answer = conversation.answer_request([FIRST], "Q", WHEN, "kept")
    final = conversation.final_request([FIRST], "Q", WHEN, "kept", SECOND.answer)
    check = conversation.check_request([FIRST], "Q", WHEN, "kept", SECOND.answer, SECOND.final)
    assert final[: len(answer)] == answer
    assert check[: len(final)] == final
    assert [len(request) for request in (answer, final, check)] == [12, 14, 16]


def test_all_verdicts_on_a_paragraph_share_their_beginning():
    first, second = (conversation.relevance_request("PARAGRAPH", [question])[1].text for question in ("A?", "B?"))
    assert first.startswith("PARAGRAPH\n\n")
    assert first.split("A?")[0] == second.split("B?")[0]
