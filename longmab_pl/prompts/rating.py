"""A judge's prompts that rate answers against a reference, for evaluations."""

from __future__ import annotations

from dataclasses import dataclass

_ANSWER = """You check answers to questions about long documents. You see a question, a reference answer and the \
answer to rate. First see whether what the answer says is right, then whether it has all that the reference has. Other \
words than the reference's are fine; facts beyond it count neither way unless they contradict it.

$rule

Question:
$question

Reference answer:
$reference

Answer to rate:
$answer

Rate it: 1 if it is wrong or does not answer, 2 if it is right in part, 3 if it is right and complete.
$told"""

_SUMMARY = """You check summaries of long documents. You see a reference summary and the summary to rate. Look at \
three things: whether what it says is right, whether it has the main points of the reference, and whether it reads as \
one coherent text.

$rule

Reference summary:
$reference

Summary to rate:
$answer

Rate it with a whole number from 1 (poor) to 5 (excellent).
$told"""

_CHAT = """You check an assistant's answers to questions about long documents. You see a question, a reference answer, \
three other answers with their ratings, and the answer to rate. Compare the answer with the reference and look for \
mistakes. What counts most is that it is right; then that it is helpful, accurate and relevant. Something wrong or \
beside the question lowers the rating.

$rule

Question:
$question

Reference answer:
$reference

$examples

Answer to rate:
$answer

Rate it with a whole number from 1 to 10, on the scale of the rated answers above.
$told"""

_EXAMPLE = """Rated answer:
$answer
Its rating: $rating"""


@dataclass(frozen=True)
class RatingPrompts:
    """The prompts of judged evaluations, with `$names` for what is filled in.

    Args:
        answer: prompt for an answer: `$rule` (what quoting tags mean), `$question`, `$reference`, `$answer`, `$told`
            (the form of the reply).
        summary: prompt for a summary: the same without `$question`.
        chat: prompt of LongBench-Chat: also `$examples`.
        example: one rated example: `$answer`, `$rating`.
        reply_text: what `$told` says for a reply in free text.
        reply_json: what `$told` says for a reply under a JSON schema.
    """

    answer: str = _ANSWER
    summary: str = _SUMMARY
    chat: str = _CHAT
    example: str = _EXAMPLE
    reply_text: str = "Explain in a few sentences, then end with the rating in double brackets, once: [[n]]"
    reply_json: str = 'Reply with one JSON object and nothing else: {"analysis": "...", "rating": n}'
