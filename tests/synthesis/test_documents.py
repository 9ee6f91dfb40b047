from __future__ import annotations

import pytest

from longmab_pl.errors import DataError
from longmab_pl.synthesis.documents import TextDocument, chunks_of, held_out_documents, read_documents


def test_documents_below_the_folder_are_read_in_order(tmp_path):
    (tmp_path / "b").mkdir()
    for name in ("b/one.md", "a.txt", "ignored.json"):
        (tmp_path / name).write_text(f"Text of {name}.")
    found, bad = read_documents(str(tmp_path))
    assert [document.name for document in found] == ["a.txt", "b/one.md"]
    assert bad == []


def test_a_folder_in_which_nothing_can_be_read_says_why(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match=r"none of its 1 documents can be read:\na\.txt: is not UTF-8 text"):
        read_documents(str(tmp_path))


def test_chunks_are_whole_sentences_with_their_places(byte_tokenizer):
    text = "One sentence is here. Another one follows it.\n\nA third stands apart. The last one ends it all."
    found = chunks_of(TextDocument("a.txt", text), byte_tokenizer, 40)
    assert [chunk.text for chunk in found] == [
        "One sentence is here. Another one follows it.",
        "A third stands apart. The last one ends it all.",
    ]
    assert all(text[chunk.start :].startswith(chunk.text) for chunk in found)
    assert found[0].key != found[1].key


def test_the_documents_held_out_are_some_and_never_all():
    documents = [TextDocument(f"{i}.txt", f"Text {i}.") for i in range(20)]
    held = held_out_documents(documents, 0.1, seed=0)
    assert len(held) == 2
    assert held == held_out_documents(documents[::-1], 0.1, seed=0)
    assert held != held_out_documents(documents, 0.1, seed=1)
    assert len(held_out_documents(documents[:2], 0.1, seed=0)) == 1
    assert held_out_documents(documents[:1], 0.5, seed=0) == frozenset()
    assert held_out_documents(documents, 0.0, seed=0) == frozenset()
