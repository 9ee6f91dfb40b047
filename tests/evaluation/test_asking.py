"""What of a response is scored."""

from __future__ import annotations

import pytest

from longmab_pl.errors import PromptTooLong
from longmab_pl.evaluation import Asking


@pytest.mark.parametrize(
    ("asking", "response", "scored"),
    [
        (Asking(), "<think>no</think>\n\nyes", "yes"),
        (Asking(), "no</think> yes", "yes"),
        (Asking(), "plain", "plain"),
        (Asking(), "before <think>never ends", "before "),
        (Asking(enable_thinking=True), "cut off before it ends", ""),
        (Asking(score_reasoning=True), "<think>no</think>yes", "<think>no</think>yes"),
    ],
)
def test_reasoning_is_cut_off(asking, response, scored):
    assert asking.scored(response) == scored


def test_without_a_chat_template_the_text_is_continued(tokenizer):
    assert tokenizer.decode(Asking(chat=False).ids(tokenizer, "text", " It is")) == "text It is"
    assert tokenizer.decode(Asking(system="S").ids(tokenizer, "text", " It is")) == "<u>S</u><u>text</u><a>It is"


def test_a_window_without_room_for_the_template_is_refused(tokenizer):
    with pytest.raises(PromptTooLong, match="the chat template takes 10 tokens and the model 10"):
        Asking().cut(tokenizer, "text", room=10, limit=None, what="record 1")
