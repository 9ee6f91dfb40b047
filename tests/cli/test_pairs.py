"""`longmab rollout` and `longmab pairs` as a person runs them, with scripted answers; `fit` on what they leave."""

from __future__ import annotations

import json
import shutil

import pytest
from small_config import write_config

from longmab_pl.cli.main import main
from longmab_pl.pairs.readers import read_round_pairs
from longmab_pl.storage.checked_json import read_checked_json, write_checked_json


@pytest.fixture
def config(tmp_path, tiny_model):
    return write_config(tmp_path, tiny_model)


def error_of(capsys, args) -> str:
    capsys.readouterr()
    with pytest.raises(SystemExit) as stopped:
        main([str(a) for a in args])
    assert stopped.value.code == 2
    return capsys.readouterr().err


def round_folder(tmp_path):
    (folder,) = (tmp_path / "run" / "rounds").iterdir()
    return folder


def test_rollout_makes_a_round_that_fit_begins_with(tmp_path, config, capsys):
    main(["rollout", "--config", str(config)])
    shown = capsys.readouterr()
    folder = round_folder(tmp_path)
    assert "round 1 rollout: 100%" in shown.err
    assert "records with a usable pair" in shown.out
    assert str(folder / "pairs.jsonl") in shown.out
    assert shown.out.splitlines()[-1] == str(folder)
    assert len(list(read_round_pairs(folder / "pairs.jsonl"))) == 6
    before = (folder / "pairs.jsonl").read_bytes()
    main(["rollout", "--config", str(config)])
    assert "is there already" in capsys.readouterr().out
    main(["fit", "--config", str(config)])
    assert "its pairs count" in capsys.readouterr().out
    assert round_folder(tmp_path) == folder
    assert (folder / "pairs.jsonl").read_bytes() == before
    adapter = tmp_path / "run" / "adapter"
    main(["rollout", "--config", str(config), "--adapter", str(adapter), "--round", "2"])
    second = sorted((tmp_path / "run" / "rounds").iterdir())[1]
    assert second.name.startswith("001-")
    assert json.loads((second / "round.json").read_text())["policy"] == str(adapter)


@pytest.mark.parametrize("option", ["--config", "-c"])
def test_a_config_that_names_classes_shortly(option, tmp_path, config, capsys):
    text = config.read_text()
    assert "longmab_pl.strategies." in text
    config.write_text(text.replace("longmab_pl.strategies.", "").replace("longmab_pl.RolloutData", "RolloutData"))
    main(["rollout", option, str(config)])
    captured = capsys.readouterr()
    assert captured.out.splitlines()[-1] == str(round_folder(tmp_path))
    assert "Seed set to" not in captured.err, "what libraries say goes to the log"
    assert "Seed set to 0" in (tmp_path / "run" / "log.txt").read_text()


def test_a_rollout_that_was_stopped_goes_on(tmp_path, config, capsys):
    dying = ["--data.init_args.engine.init_args.fail_after", "10"]
    assert "the engine died" in error_of(capsys, ["rollout", "--config", config, *dying])
    main(["rollout", "--config", str(config)])
    shown = capsys.readouterr()
    assert "continued from" in shown.err
    main(["rollout", "--config", str(config), "--trainer.default_root_dir", str(tmp_path / "whole")])
    (whole,) = (tmp_path / "whole" / "rounds").iterdir()
    assert (whole / "pairs.jsonl").read_bytes() == (round_folder(tmp_path) / "pairs.jsonl").read_bytes()


def test_wrong_settings_are_named(tmp_path, config, capsys):
    text = config.read_text()
    config.write_text(text.replace("top_k: 2", "topk: 2"))
    line = next(n for n, row in enumerate(config.read_text().splitlines(), 1) if "topk" in row)
    message = error_of(capsys, ["rollout", "--config", config])
    assert message.strip() == (
        f"error: {config}:{line}: data.strategy.topk: there is no such option; did you mean `top_k`?"
    )
    config.write_text(text)
    assert "--round is 0" in error_of(capsys, ["rollout", "--config", config, "--round", "0"])
    assert "does not exist" in error_of(capsys, ["rollout", "--config", config, "--adapter", tmp_path / "none"])
    preferences = ["--data", "longmab_pl.PreferenceDataModule", "--data.train", "x.jsonl"]
    assert "needs longmab_pl.RolloutDataModule" in error_of(
        capsys, ["rollout", "--model.model", "bundled:smollm2-135m-instruct", *preferences]
    )


def test_pairs_again_by_the_same_rule_and_by_others(tmp_path, config, capsys):
    main(["rollout", "--config", str(config)])
    folder, out = round_folder(tmp_path), tmp_path / "again.jsonl"
    main(["pairs", str(tmp_path / "run"), "--output", str(out)])
    assert out.read_bytes() == (folder / "pairs.jsonl").read_bytes()
    capsys.readouterr()
    out = tmp_path / "new" / "more.parquet"
    main(["pairs", str(folder), "--output", str(out), "--pairs_per_record", "3", "--style", "plain"])
    assert "load_dataset" in capsys.readouterr().out
    from datasets import load_dataset

    rows = load_dataset("parquet", data_files=str(out), split="train", cache_dir=str(tmp_path / "cache"))
    assert len(rows) > 6
    assert all(row["prompt"].startswith("[user]") for row in rows)
    main(["pairs", str(folder), "--output", str(tmp_path / "none.jsonl"), "--min_margin", "1.0"])
    assert all(p.chosen_reward - p.rejected_reward == 1.0 for p in read_round_pairs(tmp_path / "none.jsonl"))


def test_pairs_of_a_round_that_is_not_finished(tmp_path, config, capsys):
    error_of(
        capsys, ["rollout", "--config", config, "--data.max_live_records", 1, "--data.engine.init_args.fail_after", 14]
    )
    main(["pairs", str(tmp_path / "run"), "--output", str(tmp_path / "part.jsonl")])
    assert "not finished: 3 finished records count" in capsys.readouterr().err
    part = {p.id: p for p in read_round_pairs(tmp_path / "part.jsonl")}
    main(["rollout", "--config", str(config)])
    whole = {p.id: p for p in read_round_pairs(round_folder(tmp_path) / "pairs.jsonl")}
    assert len(part) == 3
    assert all(whole[name] == pair for name, pair in part.items())


def test_pairs_says_what_is_wrong(tmp_path, config, capsys):
    main(["rollout", "--config", str(config)])
    run, folder, out = tmp_path / "run", round_folder(tmp_path), tmp_path / "out.jsonl"
    assert "no such folder" in error_of(capsys, ["pairs", tmp_path / "none", "--output", out])
    assert "not the folder of a round" in error_of(capsys, ["pairs", tmp_path, "--output", out])
    assert "name it .jsonl or .parquet" in error_of(capsys, ["pairs", run, "--output", tmp_path / "out.csv"])
    assert "as --format parquet" in error_of(capsys, ["pairs", run, "--output", out, "--format", "parquet"])
    assert "pairs.min_margin is 3.0" in error_of(capsys, ["pairs", run, "--output", out, "--min_margin", "3"])
    train = tmp_path / "qa.jsonl"
    good = train.read_text()
    train.write_text(good.replace("Which river at 3?", "Which river at three?"))
    assert "record '3' of the round has changed" in error_of(capsys, ["pairs", run, "--output", out])
    train.rename(tmp_path / "moved.jsonl")
    assert "--train" in error_of(capsys, ["pairs", run, "--output", out])
    (tmp_path / "moved.jsonl").write_text(good)
    main(["pairs", str(run), "--output", str(out), "--train", str(tmp_path / "moved.jsonl")])
    shutil.copytree(folder, folder.with_name("000-other"))
    assert "two settings" in error_of(capsys, ["pairs", run, "--output", out])


def test_classes_that_a_run_folder_names_are_looked_up_and_never_imported(tmp_path, config, capsys, monkeypatch):
    main(["rollout", "--config", str(config)])
    settings_file = round_folder(tmp_path) / "settings.json"
    settings, out = read_checked_json(settings_file, ""), tmp_path / "out.jsonl"
    (tmp_path / "evil.py").write_text("open('imported', 'w')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    harmful = [{"class": "os.system", "command": "touch called"}, {"class": "evil.PairRule"}]
    for section in ("pairs", "prompt_format"):
        for described in harmful:
            write_checked_json(settings_file, {**settings, section: described})
            message = error_of(capsys, ["pairs", tmp_path / "run", "--output", out])
            assert f"'{described['class']}' is none of the public classes of longmab_pl" in message
    assert not (tmp_path / "called").exists()
    assert not (tmp_path / "imported").exists()
    assert not out.exists()


def test_a_run_folder_of_another_version_is_refused_in_one_line(tmp_path, config, capsys):
    main(["rollout", "--config", str(config)])
    settings_file = round_folder(tmp_path) / "settings.json"
    settings = json.loads(settings_file.read_text())
    settings_file.write_text(json.dumps({**settings, "format": settings["format"] - 1}))
    for args in (
        ["pairs", tmp_path / "run", "--output", tmp_path / "out.jsonl"],
        ["rollout", "--config", config],
        ["fit", "--config", config],
    ):
        message = error_of(capsys, args)
        assert [line[:7] for line in message.splitlines()].count("error: ") == 1
        assert message.strip().splitlines()[-1].startswith("error: ")
        assert f"{round_folder(tmp_path)} was written by another version of longmab_pl" in message
        assert "another run folder" in message


def test_fit_takes_the_pairs_in_place_of_rollouts(tmp_path, config, tiny_model, capsys):
    main(["rollout", "--config", str(config)])
    out = tmp_path / "pairs.parquet"
    main(["pairs", str(tmp_path / "run"), "--output", str(out), "--pairs_per_record", "2"])
    capsys.readouterr()
    args = ["fit", "--config", "preferences", "--data.train", str(out), "--model.model", tiny_model]
    args += ["--trainer.default_root_dir", str(tmp_path / "fit"), "--trainer.accelerator", "cpu"]
    args += ["--trainer.logger", "false", "--data.val_fraction", "0"]
    main(args)
    shown = capsys.readouterr().out
    assert "epochs over given pairs" in shown
    assert (tmp_path / "fit" / "adapter" / "adapter_config.json").exists()
    val = ["--data.val", str(out), "--ckpt_path", str(tmp_path / "fit" / "checkpoints" / "last.ckpt")]
    main(["validate", *args[1:], *val])
    assert "eval/rewards/accuracies" in capsys.readouterr().out
    assert "nothing to validate on" in error_of(capsys, ["validate", *args[1:]])
    assert "pairs that are there already" in error_of(capsys, ["validate", "--config", str(config)])
    assert "data.epochs is 2" in error_of(capsys, [*args, "--trainer.max_epochs", "5"])
    assert "did you mean `val_fraction`" in error_of(capsys, [*args, "--data.val_fractoin", "0.1"])


def damaged(file, line):
    """One bit of a line is another, somewhere in its text."""
    lines = file.read_bytes().split(b"\n")
    lines[line - 1] = lines[line - 1].replace(b"river", b"sivEr", 1) if b"river" in lines[line - 1] else b"{}"
    file.write_bytes(b"\n".join(lines))


@pytest.mark.parametrize("name", ["pairs.jsonl", "rollouts.jsonl", "round.json", "settings.json"])
@pytest.mark.parametrize("how", ["bit", "cut", "empty"])
def test_a_damaged_round_is_never_used_and_is_made_again_from_its_journal(tmp_path, config, capsys, name, how):
    main(["rollout", "--config", str(config)])
    file, out = round_folder(tmp_path) / name, tmp_path / "out.jsonl"
    whole = {path.name: path.read_bytes() for path in round_folder(tmp_path).iterdir()}
    if how == "bit":
        damaged(file, 3)
    else:
        kept = [] if how == "empty" else file.read_bytes().splitlines(keepends=True)[:3]
        file.write_bytes(b"".join(kept))
    if name in ("rollouts.jsonl", "round.json", "settings.json"):
        message = error_of(capsys, ["pairs", tmp_path / "run", "--output", out])
        assert str(file) in message
        assert "damaged" in message
        assert "rollout` (or fit)" in message
        assert [line[:7] for line in message.splitlines()].count("error: ") == 1
        assert message.strip().splitlines()[-1].startswith("error: ")
        assert not out.exists()
    main(["rollout", "--config", str(config), "--data.init_args.engine.init_args.fail_after", "0"])
    assert f"{file}" in capsys.readouterr().err
    again = {path.name: path.read_bytes() for path in round_folder(tmp_path).iterdir()}
    if name == "settings.json":  # how long the engine's prompts could be is known no more
        assert read_checked_json(file, "").keys() == json.loads(whole.pop(name)).keys() - {"checksum"}
        del again[name]
    assert again == whole
