"""Extraction and matching of answers by their meaning rather than their characters: the `lenient` answer style.

Answers are read in more spellings than the paper's, and texts are compared word by word, so that "no" is not in
"November", "two" is "2" and curly quotes are quotes.
"""

from __future__ import annotations

import re
import unicodedata

from longmab_pl.prompts.thoughts import without_thought
from longmab_pl.rewards.number_words import digits_for_words

_MARKUP = r"""[*_`~"'“”‘’]*"""
_LABEL = re.compile(
    # Answer: / Answer : / **Answer**: / The answer is: / Answer：
    rf"(?<![^\W_])answer[ \t]*{_MARKUP}(?:[ \t]+is)?[ \t]*{_MARKUP}[ \t]*[:：﹕]"
    # ### Final answer, alone on its line
    rf"|^[ \t#*_>]*(?:(?:the|my|final|correct)[ \t]+)*answer[ \t#*_]*$"
    r"|<answer>",
    re.MULTILINE,
)
_SENTENCE = re.compile(rf"(?<![^\W_])(?:the|my|final|correct)[ \t]+answer[ \t]+{_MARKUP}is{_MARKUP}(?![^\W_])")
_BOXED = re.compile(r"\\f?boxed\s*{")
_IN_LATEX = re.compile(r"\\(?:text|mathrm|mathbf|textbf|textit)\s*{([^{}]*)}")

_BETWEEN_SENTENCES = re.compile(r"[.]{2,}|(?<=[a-z])[.](?=[A-Z][a-z])")
_SEPARATORS = re.compile(r"(?<=\d)[,\u00a0\u202f](?=\d{3}(?!\d))|(?<=\d)[.](?!\d)|(?<!\d)[.]")
"""Thousands separators, and dots that are no decimal points."""

_BETWEEN_DIGITS = re.compile(r"(?<=\d)/(?=\d)")
"""Slashes of dates and fractions, whose parts are no answers of their own: 2 is not in 1/2."""

_POSSESSIVE = re.compile(r"(?<=\w)['’]s\b")
_ARTICLES = frozenset({"a", "an", "the"})
_WITHOUT_SPACES = re.compile(
    r"([\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u1100-\u11ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff]"
    r"|[\U00020000-\U0003ffff])"
)
"""Characters of scripts whose words are not parted by blanks: Thai, Lao, Burmese, Khmer, Chinese, Japanese, Korean
(whose particles are written on). Each is a word of its own here."""


def extract_lenient(text: str) -> str | None:
    r"""Return the answer that a response states, lower-cased and stripped of markup, or None if it states none.

    The answer follows the last label that something follows: `Answer:`, `**Answer** :`, `Answer：`, a heading, or
    `<answer>`; or it is in the last `\boxed{}`. Without these it follows the last "the answer is".

    Args:
        text: the whole response; a thought at its start is ignored.

    Example:
        >>> extract_lenient("So it is Lima.\n**Final answer**: **Lima**"), extract_lenient(r"Thus $\boxed{4}$.")
        ('lima', '4')
    """
    lowered = without_thought(text).lower()
    boxes = {match.start(): _braced(lowered, match.end()) for match in _BOXED.finditer(lowered)}
    for pattern in (_LABEL, _SENTENCE):
        begins = {match.start(): match.end() for match in pattern.finditer(lowered)}
        end = len(lowered)
        for start in sorted(boxes.keys() | begins.keys() if pattern is _LABEL else begins, reverse=True):
            answer = _bare(boxes[start] if start in boxes else lowered[begins[start] : end].partition("</answer>")[0])
            if answer:
                return answer
            end = start  # nothing follows this label, so it is no part of the answer before it either
    return None


def normalize_lenient(text: str) -> str:
    """Return the words of a text, in one spelling each, with single spaces between.

    Case, width, quotes, dashes and other punctuation, articles and the possessive s are gone; numbers are digits
    without separators. In scripts without blanks every character is a word.

    Example:
        >>> normalize_lenient("The U.S. lent twenty-one million; Lima’s 1,500.0 loans."), normalize_lenient("東京都")
        ('us lent 21000000 lima 1500 loans', '東 京 都')
    """
    text = _BETWEEN_SENTENCES.sub(" ", unicodedata.normalize("NFKC", text)).casefold()
    text = "".join(str(unicodedata.decimal(c)) if c.isdecimal() else c for c in text)
    text = _BETWEEN_DIGITS.sub("⁄", _SEPARATORS.sub("", _POSSESSIVE.sub("", text)))
    text = "".join(c if c in ".⁄" or unicodedata.category(c)[0] in "LMN" else " " for c in text)
    words = _WITHOUT_SPACES.sub(r" \1 ", text).split()
    return " ".join(digits_for_words([word for word in words if word not in _ARTICLES] or words))


def contains_words(text: str, gold: str) -> bool:
    """Return whether the words of `gold` occur in `text` next to each other; both are in normal form.

    A gold answer without a word (only punctuation) is in no other text.
    """
    return f" {gold} " in f" {text} " if gold else not text


def _braced(text: str, start: int) -> str:
    """Return the text up to the brace that closes the one before `start`; "" if none does."""
    depth = 1
    for i in range(start, len(text)):
        depth += {"{": 1, "}": -1}.get(text[i], 0)
        if depth == 0:
            return text[start:i]
    return ""


def _bare(answer: str) -> str:
    r"""Return an answer without the markup around it, and without LaTeX's \text{}."""
    return _IN_LATEX.sub(r"\1", answer).strip().strip("*_`~$\"'“”‘’ \t\r\n")
