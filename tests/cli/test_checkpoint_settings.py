"""What a checkpoint says of settings is not asked."""

from __future__ import annotations

import pytest
import torch

from longmab_pl.cli.main import main


def test_classes_that_a_checkpoint_names_are_never_imported(tmp_path, monkeypatch, capsys, tiny_model):
    (tmp_path / "harmful.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()\nclass Boom: ...\n")
    monkeypatch.syspath_prepend(tmp_path)
    checkpoint = tmp_path / "evil.ckpt"
    torch.save({"state_dict": {}, "hyper_parameters": {"loss": {"class_path": "harmful.Boom"}}}, checkpoint)
    train = tmp_path / "pairs.jsonl"
    train.write_text('{"prompt": "Where?", "chosen": "Lima", "rejected": "Rome"}\n')
    run = ["--trainer.default_root_dir", str(tmp_path / "run"), "--trainer.logger", "false"]
    with pytest.raises((SystemExit, Exception)):  # it is no checkpoint of this package
        main(
            [
                "fit",
                "--config",
                "preferences",
                "--data.train",
                str(train),
                "--data.val_fraction",
                "0",
                *run,
                "--model.model",
                tiny_model,
                "--ckpt_path",
                str(checkpoint),
            ]
        )
    assert not (tmp_path / "ran").exists()
    assert "harmful" not in capsys.readouterr().err
