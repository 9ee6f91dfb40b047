"""Sentence boundaries in plain text, found in one linear scan."""

from __future__ import annotations

import re

# A run of marks is tried from its first mark only, which keeps the scan linear on dotted leaders ("......").
_CLOSERS = "\"'”’»›)\\]}」』】）》"
_END = re.compile(
    rf"(?P<latin>(?<![.!?…])[.!?…]+)(?P<closers>[{_CLOSERS}]*)(?:\[[^\[\]\n]{{1,40}}\])*(?=\s|$)"
    rf"|[。！？]+[{_CLOSERS}]*"
    r"|\n[^\S\n]*\n"
)
_NOT_SPACE = re.compile(r"\S")
_LAST_WORD = re.compile(r"\w[\w.&-]*$")
_LIST_NUMBER = re.compile(r"(?:^|\n)[^\S\n]*\(?\d{1,3}$")
_LOOK_BACK = 24


def _words(spaced: str) -> frozenset[str]:
    return frozenset(spaced.split())


# Abbreviations that never end a sentence: a name, a comparison or a number follows.
_TITLES = _words(
    "Dr Mr Mrs Ms Mx Prof Rev Hon Gen Col Lt Maj Capt Cmdr Sgt Cpl Gov Sen Rep Pres St Mt Ft Messrs Mme Mlle"
)
_NEVER_LAST = _words("vs v cf viz al approx ca resp incl")
_BEFORE_NUMBER = _words("no nos fig figs eq eqs sec secs ch vol vols art p pp c op ed")
# Abbreviations that may end a sentence: they do unless a lower-case letter or a digit follows.
_MAY_BE_LAST = _words(
    "etc inc ltd co corp jr sr bros dept est ave blvd rd univ assn ph.d m.d b.a m.a b.sc m.sc a.m p.m"
)
_DATES = _words("Jan Feb Mar Apr Jun Jul Aug Sep Sept Oct Nov Dec Mon Tue Tues Wed Thu Thur Thurs Fri Sat Sun")


def sentence_starts(text: str) -> list[int]:
    """Return the offset in characters of each sentence's start, ascending; the sentences cover the whole text.

    A sentence ends after `.`, `!`, `?`, `…` (with closing quotes, brackets and reference marks) before white space,
    after `。！？`, and at a blank line; the white space that follows belongs to it. A full stop does not end one
    inside a number, after an initial or acronym ("J. A. Hobson", "U.S.", "e.g."), after a common abbreviation, or
    after the number of a list item. An empty text has no sentences.
    """
    if not text:
        return []
    starts = [0]
    position = _skip_space(text, 0)
    for match in _END.finditer(text):
        if match.start() < position:  # a blank line in white space that already belongs to a sentence
            continue
        after = _skip_space(text, match.end())
        if after == len(text):
            break
        if match["latin"] and not _ends_sentence(text, match, position, after):
            continue
        starts.append(after)
        position = after
    return starts


def _skip_space(text: str, start: int) -> int:
    found = _NOT_SPACE.search(text, start)
    return found.start() if found else len(text)


def _ends_sentence(text: str, match: re.Match[str], sentence: int, after: int) -> bool:
    lower_next = text[after].islower()
    if lower_next and (match["closers"] or match["latin"] in ("...", "…")):  # 'said "No!" and left', "well... yes"
        return False
    if match["latin"] != ".":
        return True
    before = text[max(sentence, match.start() - _LOOK_BACK) : match.start()]
    if _LIST_NUMBER.search(before):
        return False
    word = _LAST_WORD.search(before)
    return word is None or not _is_abbreviation(word[0], digit_next=text[after].isdigit(), lower_next=lower_next)


def _is_abbreviation(word: str, *, digit_next: bool, lower_next: bool) -> bool:
    lowered = word.lower()
    if lowered in _MAY_BE_LAST or word in _DATES:
        return lower_next or digit_next
    if lowered in _BEFORE_NUMBER:
        return digit_next
    if word in _TITLES or lowered in _NEVER_LAST:
        return True
    # "J.", and acronyms, whose own full stops separate single letters: "U.S.", "e.g.".
    letters = word.split(".")
    return all(len(letter) == 1 and letter.isalpha() for letter in letters) and (len(letters) > 1 or word.isupper())
