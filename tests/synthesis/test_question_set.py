"""Question sets from documents with a scripted model: each filter, the files, resume, bad documents, determinism."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from question_writing import Writer, question, question_set, scripted, write_documents

from longmab_pl.data.numbering import passage_spans
from longmab_pl.data.readers import read_records
from longmab_pl.errors import DataError, EngineError
from longmab_pl.storage.append_log import read_rows


def rows(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_kept_questions_become_records_with_their_chunk_as_evidence(tmp_path, byte_tokenizer):
    documents = write_documents(tmp_path / "docs", documents=10)
    engine = scripted(Writer(byte_tokenizer), byte_tokenizer)
    summary = question_set(tmp_path / "out", documents, engine, byte_tokenizer, samples=1).write()
    assert (summary.documents, summary.chunks, summary.written, summary.kept) == (10, 30, 30, 30)
    assert summary.records == {"train": 24, "eval": 6}
    for row in rows(tmp_path / "out" / "train.jsonl"):
        passages = [row["context"][a:b] for a, b in passage_spans(row["context"])]
        (gold,) = row["evidence_passages"]
        assert [i for i, text in enumerate(passages, 1) if row["answer"] in text] == [gold]
        assert len(passages) == row["passages"] > 1
        assert row["num_tokens"] == len(row["context"]) <= 400
        assert row["agreement"] == 1.0
    (record, *_) = read_records(str(tmp_path / "out" / "train.jsonl")).records
    ((start, end),) = record.evidence
    assert record.answer in record.context[start:end]


def test_no_chunk_of_a_held_out_document_is_in_a_training_context(tmp_path, byte_tokenizer):
    documents = write_documents(tmp_path / "docs", documents=10)
    engine = scripted(Writer(byte_tokenizer), byte_tokenizer)
    question_set(tmp_path / "out", documents, engine, byte_tokenizer, samples=1).write()
    train, held = (rows(tmp_path / "out" / f"{side}.jsonl") for side in ("train", "eval"))
    names = {row["document"] for row in held}
    assert len(names) == 2
    assert names.isdisjoint(row["document"] for row in train)
    for row in train:
        assert not any(f"Town{name[0]}x" in row["context"] for name in names)
    for row in held:
        assert all(f"Town{other}x" not in row["context"] for other in "0123456789" if f"{other}.txt" not in names)


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (" Who built it?", "not a question with a short answer"),
        (" Napoleon\nQuestion: Who built the bridge of {town}?", "answer not in the chunk"),
        (" {mason}\nQuestion: Did {mason} build the bridge of {town}?", "question holds its answer"),
        (" {mason}\nQuestion: Who is named in the text on {town}?", "question points to the text"),
        (" {mason}\nQuestion: Who built it so well?", "question names nothing"),
    ],
)
def test_what_the_text_alone_shows_is_left_out_without_asking(tmp_path, byte_tokenizer, reply, reason):
    def written(i, town, mason):
        return reply.format(town=town, mason=mason) if i else question(town, mason)

    documents = write_documents(tmp_path / "docs", documents=2)
    engine = scripted(Writer(byte_tokenizer, written), byte_tokenizer)
    summary = question_set(tmp_path / "out", documents, engine, byte_tokenizer).write()
    assert {name: count for name, count in summary.left_out.items() if count} == {reason: 6}
    assert summary.kept == 6
    assert len(engine.asked) == 6 + 2 * 6, "one request a chunk, two a question that passes"


def test_near_duplicates_known_and_unanswered_questions_are_left_out(tmp_path, byte_tokenizer):
    documents = write_documents(tmp_path / "docs", documents=2)
    writer = Writer(byte_tokenizer, known=("Town0x0",), lost=("Town0x1", "Town1x1"))
    engine = scripted(writer, byte_tokenizer)
    summary = question_set(tmp_path / "out", documents, engine, byte_tokenizer).write()
    found = {name: count for name, count in summary.left_out.items() if count}
    assert found == {"near-duplicate": 6, "answered without the chunk": 1, "not answered from the chunk": 2}
    assert list(found) == [name for name in summary.left_out if name in found], "in the order of the filters"
    candidates = {
        row["question"]: row for row in rows(tmp_path / "out" / "candidates.jsonl") if row["known"] is not None
    }
    assert candidates["Who built the bridge of Town0x0?"]["agreement"] is None, "it is not asked with its chunk"
    assert candidates["Who built the bridge of Town1x1?"]["agreement"] == 0.0
    text = "\n".join(summary.lines())
    assert "25.0%  kept" in text
    assert "1    8.3%  answered without the chunk" in text


def test_a_stopped_set_goes_on_without_asking_again_and_gives_the_same_files(tmp_path, byte_tokenizer):
    documents = write_documents(tmp_path / "docs")
    whole = scripted(Writer(byte_tokenizer), byte_tokenizer)
    question_set(tmp_path / "whole", documents, whole, byte_tokenizer).write()
    for fail_after in (7, 9, 11, None):
        engine = scripted(Writer(byte_tokenizer), byte_tokenizer, fail_after=fail_after)
        made = question_set(tmp_path / "parts", documents, engine, byte_tokenizer)
        if fail_after is None:
            made.write()
        else:
            with pytest.raises(EngineError, match="run the same command again"):
                made.write()
    (journal,) = (tmp_path / "parts").glob("completions-*.jsonl")
    answered = [row["request_id"] for _, _, row in read_rows(journal)]
    assert sorted(answered) == sorted(request.id for request in whole.asked), "each once"
    for name in ("train.jsonl", "eval.jsonl", "candidates.jsonl"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "parts" / name).read_bytes()


def test_a_finished_set_is_used_again_and_new_documents_are_all_that_is_asked(tmp_path, byte_tokenizer, capsys):
    documents = write_documents(tmp_path / "docs", documents=3)
    question_set(tmp_path / "out", documents, scripted(Writer(byte_tokenizer), byte_tokenizer), byte_tokenizer).write()
    again = scripted(Writer(byte_tokenizer), byte_tokenizer)
    assert question_set(tmp_path / "out", documents, again, byte_tokenizer).write().kept == 9
    assert again.asked == []
    assert "there already" in capsys.readouterr().err
    write_documents(documents, documents=4)
    more = scripted(Writer(byte_tokenizer), byte_tokenizer)
    assert question_set(tmp_path / "out", documents, more, byte_tokenizer).write().kept == 12
    assert len(more.asked) == 3 * 3


def test_another_seed_samples_anew_and_the_same_seed_does_not(tmp_path, byte_tokenizer):
    documents = write_documents(tmp_path / "docs", documents=2)
    seeds = []
    for folder, seed in (("a", 0), ("b", 0), ("c", 1)):
        engine = scripted(Writer(byte_tokenizer), byte_tokenizer)
        question_set(tmp_path / folder, documents, engine, byte_tokenizer, seed=seed).write()
        seeds.append({request.id: request.seed for request in engine.asked})
    assert seeds[0] == seeds[1]
    assert all(seeds[0][name] != seeds[2][name] for name in seeds[0])


def test_a_bad_document_is_named_and_costs_the_others_nothing(tmp_path, byte_tokenizer, capsys):
    documents = write_documents(tmp_path / "docs", documents=2)
    (documents / "latin.txt").write_bytes("Zürich".encode("latin-1"))
    (documents / "empty.md").write_text(" \n")
    (documents / "copy.txt").write_bytes((documents / "0.txt").read_bytes())
    engine = scripted(Writer(byte_tokenizer), byte_tokenizer)
    summary = question_set(tmp_path / "out", documents, engine, byte_tokenizer).write()
    assert (summary.documents, summary.kept) == (2, 6)
    told = capsys.readouterr().err
    assert "latin.txt: is not UTF-8 text (byte 1); save it as UTF-8" in told
    assert "empty.md: holds no text" in told
    assert "copy.txt: has the same text as 0.txt" in told
    assert "2 documents (3 left out)" in summary.lines()[0]


def test_a_chunk_that_does_not_fit_the_engine_costs_only_itself(tmp_path, byte_tokenizer, capsys):
    documents = write_documents(tmp_path / "docs", documents=2)
    (documents / "long.txt").write_text("The bridge of Farway was built by Ida " + "and by her friends " * 2 + ".")
    limit = 1 + max(
        len(request.prompt_ids) + request.sampling.max_tokens
        for request in asked_of(tmp_path / "probe", documents, byte_tokenizer)
        if request.id.endswith("/write")
    )
    engine = scripted(Writer(byte_tokenizer), byte_tokenizer, max_model_len=limit - 5)
    summary = question_set(tmp_path / "out", documents, engine, byte_tokenizer).write()
    assert summary.left_out["could not be asked"] == 1
    assert summary.kept == 6
    assert "could not be asked" in capsys.readouterr().err


def asked_of(folder, documents, tokenizer):
    engine = scripted(Writer(tokenizer), tokenizer)
    question_set(folder, documents, engine, tokenizer).write()
    return engine.asked


def test_a_set_without_a_question_says_what_was_left_out(tmp_path, byte_tokenizer):
    documents = write_documents(tmp_path / "docs", documents=2)
    engine = scripted(Writer(byte_tokenizer, lambda i, town, mason: "No."), byte_tokenizer)
    with pytest.raises(DataError, match="no question can be used") as caught:
        question_set(tmp_path / "out", documents, engine, byte_tokenizer).write()
    assert "12  100.0%  not a question with a short answer" in str(caught.value)
    assert len(rows(tmp_path / "out" / "candidates.jsonl")) == 12


def test_a_limit_asks_about_some_chunks_and_contexts_still_have_all(tmp_path, byte_tokenizer):
    documents = write_documents(tmp_path / "docs", documents=4)
    engine = scripted(Writer(byte_tokenizer), byte_tokenizer)
    source = {"held_out": 0.0, "limit": 5}
    summary = question_set(tmp_path / "out", documents, engine, byte_tokenizer, source).write()
    assert (summary.asked, summary.records) == (5, {"train": 5, "eval": 0})
    assert max(row["passages"] for row in rows(tmp_path / "out" / "train.jsonl")) > 3


def test_an_engine_with_structured_output_is_asked_by_schema(tmp_path, byte_tokenizer):
    def written(i, town, mason):
        return json.dumps({"question": f"Who built the bridge of {town}?", "answer": mason})

    documents = write_documents(tmp_path / "docs", documents=2)
    engine = scripted(Writer(byte_tokenizer, written), byte_tokenizer, structured_output=True)
    summary = question_set(tmp_path / "out", documents, engine, byte_tokenizer).write()
    assert summary.kept == 6
    assert [request.schema is not None for request in engine.asked if request.id.endswith("/write")] == [True] * 6
