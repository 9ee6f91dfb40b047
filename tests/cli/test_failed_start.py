"""What a failed start leaves: nothing of its own, and everything that was work."""

from __future__ import annotations

import pytest

from longmab_pl.cli.failed_start import missing_folders, no_folder_of_a_failed_start

WORK = (
    "rounds/000-ab/completions.jsonl",
    "evaluations/before-training/qa/hotpotqa.jsonl",
    "reference_logps-0.jsonl",
    "checkpoints/last.ckpt",
    "adapters/step-000002/adapter_model.safetensors",
)


def failing(run, written, made=None):
    """A command that writes a file and fails."""
    with no_folder_of_a_failed_start(run, made):
        (run / written).parent.mkdir(parents=True, exist_ok=True)
        (run / written).write_text("{}\n")
        raise RuntimeError("out of memory")


@pytest.mark.parametrize("work", WORK)
def test_work_is_kept(tmp_path, work):
    run = tmp_path / "new" / "run"
    with pytest.raises(RuntimeError, match="out of memory"):
        failing(run, work)
    assert (run / work).read_text() == "{}\n"


@pytest.mark.parametrize("other", ["log.txt", "wandb/run-1/run.wandb", "evaluations/before-training/qa/result.json"])
def test_the_rest_is_removed_with_the_folders_that_were_made(tmp_path, other):
    run = tmp_path / "new" / "run"
    made = missing_folders(run)
    assert made == [run, run.parent]
    with pytest.raises(RuntimeError):
        failing(run, other, made)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_was_there_is_kept(tmp_path):
    with pytest.raises(RuntimeError):
        failing(tmp_path, "log.txt")
    assert tmp_path.is_dir()
