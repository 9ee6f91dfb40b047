"""A worker by itself, without a cluster: what it checks first, and what it does not ask again."""

from __future__ import annotations

import os
import pickle
from dataclasses import replace
from pathlib import Path

import pytest
from cluster_engines import NotedEngine
from cluster_rounds import ANSWERS, asked, begun, session_of, write_records

from longmab_pl.errors import ConfigError, DataError, EngineError
from longmab_pl.rollout.cluster.worker import GivenRecord, Job, Worker
from longmab_pl.rollout.journal import Journal, read_completions


@pytest.fixture
def made(tmp_path, tiny_model):
    """A job with its journal begun, and the records."""
    session = session_of(write_records(tmp_path, 6), NotedEngine(str(tmp_path / "notes")))
    making = begun(session, tmp_path / "run", tiny_model)
    Journal(making.store.journal, making.store.fingerprint).close()
    job = Job(
        plan=session.plan,
        selection=session.selection,
        others={},
        max_live=None,
        model=tiny_model,
        adapter=None,
        run_folder=tmp_path / "run",
        number=0,
        fingerprint=making.store.fingerprint,
        origin=making.origin,
    )
    return pickle.loads(pickle.dumps(job)), session.records


def worker(job, tmp_path, number=0, **settings):
    return Worker(job, NotedEngine(str(tmp_path / f"notes-{number}"), **settings), number)


def finished(one, records, journals=()):
    """The results of records, by id."""
    found = {}
    report = one.exchange([GivenRecord(record, journals) for record in records])
    while True:
        found |= dict(report.finished)
        if report.failure is not None or len(found) == len(records):
            return found, report
        report = one.exchange([])


def test_records_come_back_as_rollouts_and_the_journal_has_every_answer(made, tmp_path):
    job, records = made
    one = worker(job, tmp_path)
    assert one.check().pid == os.getpid()
    facts = one.start()
    assert facts["policy"].max_model_len == 100_000
    found, report = finished(one, records)
    assert {key: len(rollout.responses) for key, rollout in found.items()} == {r.id: ANSWERS for r in records}
    assert report.progress.responses == 6 * ANSWERS
    one.stop()
    assert len(read_completions(job.store.worker_journal(0), job.fingerprint)) == 6 * ANSWERS


def test_what_a_lost_worker_has_journalled_is_not_asked_again(made, tmp_path):
    job, records = made
    first = worker(job, tmp_path, fail_after=10)
    first.check()
    first.start()
    done, report = finished(first, records)
    assert isinstance(report.failure, EngineError)
    second = worker(job, tmp_path, 1)
    second.check()
    second.start()
    left = [record for record in records if record.id not in done]
    found, _ = finished(second, left, (job.store.worker_journal(0),))
    second.stop()
    assert done.keys() | found.keys() == {record.id for record in records}
    kept = read_completions(job.store.worker_journal(0), job.fingerprint)
    (again,) = asked(tmp_path / "notes-1").values()
    assert 5 <= len(kept) <= 10
    assert len(again) == len(set(again)) == 6 * ANSWERS - len(kept)


def test_a_journal_is_taken_over_once_and_a_torn_line_is_left_out(made, tmp_path):
    job, records = made
    one = worker(job, tmp_path)
    one.check()
    one.start()
    finished(one, records)
    one.stop()
    path = job.store.worker_journal(0)
    copy = path.read_bytes()
    whole = Journal(job.store.journal, job.fingerprint)
    path.write_bytes(copy + b'{"prompt": "1234", "requ')
    whole.take_over(path)
    whole.close()
    assert not path.exists()
    path.write_bytes(copy)  # as if the end of the process had come before the removal
    again = Journal(job.store.journal, job.fingerprint)
    assert again.resumed == 6 * ANSWERS
    again.take_over(path)
    again.close()
    assert Journal(job.store.journal, job.fingerprint).resumed == 6 * ANSWERS
    assert job.store.journal.read_bytes().count(b"\n") == 1 + 6 * ANSWERS


def test_a_journal_that_is_still_being_written_is_not_taken_over(made, tmp_path, monkeypatch):
    job, _ = made
    monkeypatch.setattr("longmab_pl.rollout.journal._ENDING_SECONDS", 0.3)
    one = worker(job, tmp_path)
    one.check()
    whole = Journal(job.store.journal, job.fingerprint)
    with pytest.raises(DataError, match="is being written by another process"):
        whole.take_over(job.store.worker_journal(0))
    one.stop()
    whole.take_over(job.store.worker_journal(0))
    whole.close()


def test_a_folder_that_the_worker_does_not_see_is_said_before_anything_is_loaded(made, tmp_path):
    job, _ = made
    elsewhere = replace(job, run_folder=Path("/nowhere/run"))
    with pytest.raises(ConfigError, match=r"worker 0 on .* does not see the run folder /nowhere/run; give --output"):
        worker(elsewhere, tmp_path).check()
    assert not (tmp_path / "notes-0").exists()


def test_a_model_or_an_adapter_that_the_worker_lacks_is_said_before_anything_is_loaded(made, tmp_path):
    job, _ = made
    with pytest.raises(ConfigError, match=r"worker 0 on .*: the model folder '/nowhere/model' does not exist"):
        worker(replace(job, model="/nowhere/model"), tmp_path).check()
    with pytest.raises(ConfigError, match="does not see the adapter /nowhere/adapter; put it on storage"):
        worker(replace(job, adapter=Path("/nowhere/adapter")), tmp_path).check()
    assert not (tmp_path / "notes-0").exists()
