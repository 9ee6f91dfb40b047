"""A run folder through the command: one run at a time, `--ckpt_path` by name, names and places that do not work."""

from __future__ import annotations

import json

import pytest

from longmab_pl.cli.main import main
from longmab_pl.storage.locks import folder_lock


@pytest.fixture
def fit(tmp_path, tiny_model):
    """Arguments of `fit` on eight given pairs."""
    rows = [{"prompt": f"Which river at {i}?", "chosen": f"River {i}.", "rejected": f"Land {i}."} for i in range(8)]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return [
        "fit", "--data", "longmab_pl.PreferenceDataModule", "--data.train", str(tmp_path / "pairs.jsonl"),
        "--data.epochs", "1", "--data.val_fraction", "0", "--model.model", tiny_model, "--model.dtype", "fp32",
        "--trainer.accelerator", "cpu", "--trainer.logger", "false", "--trainer.enable_progress_bar", "false",
        "--report.picture", "false", "--trainer.default_root_dir", str(tmp_path / "run"),
    ]  # fmt: skip


def error_of(capsys, args):
    capsys.readouterr()
    with pytest.raises(SystemExit) as stopped:
        main(args)
    assert stopped.value.code == 2
    message = capsys.readouterr().err.strip().splitlines()[-1]
    assert message.startswith("error: ")
    return message


def test_a_second_run_in_the_same_folder_is_refused_in_one_line(tmp_path, fit, capsys):
    with folder_lock(tmp_path / "run", "a training run"):
        assert "run is in use by another process: a training run is running there" in error_of(capsys, fit)
    main(fit)
    assert (tmp_path / "run" / "adapter" / "adapter_model.safetensors").exists()


def test_last_is_the_runs_own_checkpoint_and_is_refused_where_there_is_none(tmp_path, fit, capsys):
    assert "--ckpt_path last: there is no" in error_of(capsys, [*fit, "--ckpt_path", "last"])
    main(fit)
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    assert f"there are {last}" in error_of(capsys, [*fit, "--ckpt_path", str(tmp_path / "none.ckpt")])
    main([*fit, "--ckpt_path", "last"])
    assert "will be replaced" not in capsys.readouterr().err
    content = last.read_bytes()
    last.write_bytes(content[: len(content) // 2])
    assert f"the checkpoint {last} is damaged" in error_of(capsys, [*fit, "--ckpt_path", "last"])


@pytest.mark.parametrize("name", ["[/]y", "[/red]z", "[bold]x", "a::b", "x" * 300, "file"])
def test_names_of_run_folders_work_or_are_refused_in_one_line(tmp_path, fit, capsys, name):
    (tmp_path / "file").write_text("")
    args = [*fit[:-1], str(tmp_path / name)]
    if name in ("a::b", "x" * 300, "file"):
        assert str(tmp_path / name)[:100] in error_of(capsys, args)
        assert not (tmp_path / "a").exists()
    else:
        main(args)
        assert (tmp_path / name / "checkpoints" / "last.ckpt").exists()


def test_what_a_killed_run_left_half_written_is_removed_at_the_next_start(tmp_path, fit):
    half = tmp_path / "run" / "checkpoints" / "last.ckpt.longmab-partial"
    half.parent.mkdir(parents=True)
    half.write_text("half")
    main(fit)
    assert not half.exists()
