"""Full articles and documents by title, kept on disk while contexts are built from them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from longmab_pl.data.documents import TEXT_SUFFIXES, document_paths
from longmab_pl.data.qa_fields import half_character
from longmab_pl.data.sources import open_source
from longmab_pl.data.titles import normalize_title, title_of_url
from longmab_pl.errors import DataError
from longmab_pl.storage.append_log import AppendLog, LogKind, Row

ARTICLES = LogKind("store of articles", 1, "delete it, and run the same command again", header=True)


@dataclass(frozen=True)
class Article:
    """A whole article or document.

    Args:
        titles: its titles, the first of which names it: for a file its name without and with ending, its path in the
            folder, and its first heading.
        text: what a context shows of it.
    """

    titles: tuple[str, ...]
    text: str


class ArticleStore:
    """Articles by normalized title, in a file.

    If several have the same normalized title, one whose title is asked for as it is written is preferred, else the
    first one; `collisions` counts the others.

    Args:
        path: file of the store; with the same fingerprint an existing complete one is used again.
        fingerprint: identifies sources and titles.
    """

    def __init__(self, path: Path, fingerprint: str) -> None:
        self.collisions = 0
        self.complete = False
        self._places: dict[str, int] = {}
        self._first: dict[int, str] = {}
        self._log = AppendLog(path, ARTICLES, fingerprint, self._keep)

    def _keep(self, row: Row, place: int) -> None:
        if "complete" in row:
            self.complete = True
            self.collisions = row["complete"]
            return
        self._place(row["titles"], place)

    def _place(self, titles: Iterable[str], place: int) -> None:
        for title in titles:
            self._places[title] = place
            self._first.setdefault(place, title)

    def fill(self, articles: Iterable[Article], wanted: Mapping[str, Collection[str]] | None) -> None:
        """Store articles.

        Args:
            articles: read once, one at a time.
            wanted: normalized titles to store, each with its spellings; None: all.
        """
        self._places.clear()
        exact: dict[str, bool] = {}
        for article in articles:
            keys: dict[str, bool] = {}
            for title in article.titles:
                key = normalize_title(title)
                if not key or (wanted is not None and key not in wanted):
                    continue
                as_asked = wanted is not None and title in wanted[key]
                if key in exact:
                    self.collisions += 1
                if key not in exact or (as_asked and not exact[key]):
                    keys[key] = as_asked
            if keys:
                self._place(keys, self._log.write_one({"titles": list(keys), "text": article.text}))
                exact |= keys
        self._log.write_one({"complete": self.collisions})
        self.complete = True

    def __contains__(self, key: object) -> bool:
        return key in self._places

    def __len__(self) -> int:
        return len(set(self._places.values()))

    def keys(self) -> list[str]:
        """Return one normalized title of each article, sorted."""
        return sorted(self._first[place] for place in set(self._places.values()))

    def name(self, key: str) -> str:
        """Return the one of an article's normalized titles that is in `keys`, given any of them."""
        return self._first[self._places[key]]

    def text(self, key: str) -> str:
        """Return the text of the article with a normalized title."""
        row = self._log.read(self._places[key])
        if row is None:
            raise DataError(f"{self._log.path}: damaged on disk; {ARTICLES.lost}")
        return str(row["text"])

    def close(self) -> None:
        """Close the file."""
        self._log.close()

    def __enter__(self) -> ArticleStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def read_articles(source: str, split: str = "train") -> Iterator[Article]:
    """Yield articles from rows with `title` (or `url`) and `text`, one at a time.

    Args:
        source: a file or folder, or a data set on a hub, which is streamed; `wikimedia/wikipedia` is its English
            edition of November 2023, as in the original program.
        split: split of a folder or data set.

    Raises:
        DataError: the source cannot be read, or a row has no title or text.
    """
    source = "wikimedia/wikipedia:20231101.en" if source == "wikimedia/wikipedia" else source
    for row in open_source(source, split, streaming=True):
        value = row.value
        if row.problem or not isinstance(value, dict):
            raise DataError(f"{row.file}:{row.line}: {row.problem or 'not an object'}; an article has title and text")
        title, url, text = value.get("title"), value.get("url"), value.get("text")
        if not isinstance(title, str) and isinstance(url, str):
            title = title_of_url(url)
        if not isinstance(title, str) or not isinstance(text, str):
            missing = "text" if isinstance(title, str) else "title"
            raise DataError(f"{row.file}:{row.line}: {missing}: missing; an article has title (or url) and text")
        if text.strip() and not half_character(title + text):
            yield Article((title,), text.strip())


def read_documents(folder: str) -> Iterator[Article]:
    """Yield the text and Markdown files in a folder and below, in the order of their paths; blank ones are left out.

    Raises:
        DataError: there is no such folder or no such file in it, or a file is not UTF-8.
    """
    root, paths = Path(folder).expanduser(), document_paths(folder, TEXT_SUFFIXES)
    found = False
    for path in paths:
        try:
            text = path.read_text(encoding="utf-8-sig").strip()
        except UnicodeDecodeError as error:
            raise DataError(f"{path}: invalid UTF-8 at byte {error.start + 1}; save the file as UTF-8") from error
        except OSError as error:
            raise DataError(f"{path}: cannot be read: {error.strerror}; check its permissions") from error
        if text:
            found = True
            within = path.relative_to(root)
            yield Article((path.stem, path.name, str(within), *_heading(text)), text)
    if not found:
        raise DataError(f"{folder}: all {len(paths)} documents in it are empty; put texts there")


def _heading(text: str) -> tuple[str, ...]:
    """Return the first line of a Markdown text that begins with a heading."""
    line = text.split("\n", 1)[0]
    return (line.lstrip("#").strip(),) if line.startswith("#") else ()
