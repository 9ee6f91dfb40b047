"""NoLiMa as a suite: needles without words of their question, in windows of books."""

from __future__ import annotations

NEEDLES = "a file of needlesets/ of the Hub data set amodaresi/NoLiMa (needle_set.json, ...)"
BOOKS = "the folder haystack/rand_shuffle of the Hub data set amodaresi/NoLiMa (rand_book_1.txt, ...)"

TEMPLATE = """This is a part of a book.

{haystack}

Answer the question from this part of the book: in a few words, from what it states or from what follows from that.

Question: {question}

Give only the answer, no reasoning."""
"""The prompt in our own words; entries that bring a template of their own are asked by that."""

SYSTEM = "You are a helpful assistant."
