"""Article titles of multi-hop question sets, matched to the titles of an encyclopedia (SeaLong, section 4.1)."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass
from urllib.parse import unquote

_DASH = re.compile("[–—]")


@dataclass(frozen=True)
class Documents:
    """The articles of a question.

    Args:
        support: normalized titles of the articles that the answer needs.
        distractors: normalized titles of the other articles.
    """

    support: list[str]
    distractors: list[str]


def normalize_title(title: str) -> str:
    """Return a title in lower case, without full stops, with plain hyphens and single spaces.

    Example:
        >>> normalize_title("Jay–Z  feat. Dr. Dre")
        'jay-z feat dr dre'

    Source: SeaLong, `process_data.py`.
    """
    return " ".join(_DASH.sub("-", title.lower().replace(".", "")).split())


def title_of_url(url: str) -> str:
    """Return the title in an article's URL: the last part, unquoted, without the fragment.

    Example:
        >>> title_of_url("https://en.wikipedia.org/wiki/S%C3%A3o_Paulo#History")
        'São Paulo'

    Source: SeaLong, `process_data.py`.
    """
    return unquote(url.rsplit("/", 1)[-1]).split("#", 1)[0].replace("_", " ").strip()


def question_documents(titles: Iterable[tuple[str, bool]], known: Container[str]) -> Documents | None:
    """Return the articles of a question, or None if a needed one is not known or none is needed.

    Args:
        titles: each paragraph's title, and whether the answer needs the paragraph.
        known: normalized titles of the available articles.

    Returns:
        Titles in the order of the paragraphs, without duplicates. A title with both kinds of paragraphs counts as
        support.

    Example:
        >>> question_documents([("Paris", True), ("Lyon", False), ("Paris", False)], {"paris", "lyon"})
        Documents(support=['paris'], distractors=['lyon'])

    Source: SeaLong, `process_data.py` (which puts an article with both kinds of paragraphs into the context twice).
    """
    normalized = [(normalize_title(title), needed) for title, needed in titles]
    support = _each_once([title for title, needed in normalized if needed])
    if not support or any(title not in known for title in support):
        return None
    others = _each_once([title for title, needed in normalized if not needed])
    return Documents(support, [title for title in others if title in known and title not in support])


def _each_once(titles: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(titles))
