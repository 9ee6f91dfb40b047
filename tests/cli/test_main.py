"""What a person sees when something in a command is wrong: one message that names it and the fix, and status 2."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

import longmab_pl
from longmab_pl.cli.config_files import shipped_config
from longmab_pl.cli.main import COMMANDS, main
from longmab_pl.errors import ConfigError

DEMO = ["fit", "--config", "demo"]


def error_of(capsys, args) -> str:
    with pytest.raises(SystemExit) as stopped:
        main(args)
    assert stopped.value.code == 2
    return capsys.readouterr().err


def test_configs_are_found_by_name_wherever_one_stands(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert Path(shipped_config("demo")).name == "demo.yaml"
    assert Path(shipped_config("configs/demo.yaml")).name == "demo.yaml"
    Path("demo").write_text("mine")
    assert shipped_config("demo") == "demo"
    with pytest.raises(ConfigError, match=r"nosuch: no such file.*demo.*paper"):
        shipped_config("nosuch")


def test_an_error_in_its_own_chain_ends_the_command(monkeypatch):
    """As when a library raises an error again from one that came while it was handled."""

    def breaks(args):
        first = RuntimeError("the writer is gone")
        try:
            raise first
        except RuntimeError:
            try:
                raise ValueError("while it was handled")
            except ValueError as second:
                raise first from second

    monkeypatch.setattr("longmab_pl.cli.main._run", breaks)
    with pytest.raises(RuntimeError, match="the writer is gone"):
        main(["fit"])


@pytest.mark.parametrize("name", ["demo", "paper"])
def test_every_shipped_config_parses(name, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["fit", "--config", name, "--print_config"])
    assert stopped.value.code == 0
    assert "RolloutDataModule" in capsys.readouterr().out


def test_a_key_with_a_typo(capsys):
    message = error_of(capsys, [*DEMO, "--model.learningrate", "1e-4"])
    assert message.strip() == "error: model.learningrate: there is no such option; did you mean `learning_rate`?"


@pytest.mark.parametrize(
    ("option", "meant"),
    [
        ("engine.concurrency", "data.engine"),
        ("pairs.max_prompt_length", "data.pairs"),
        ("learning_rate", "model.learning_rate"),
        ("max_steps", "trainer.max_steps"),
    ],
)
def test_a_setting_without_its_section(capsys, option, meant):
    message = error_of(capsys, [*DEMO, f"--{option}", "4"])
    name = option.partition(".")[0]
    assert message.strip() == f"error: {name}: there is no such option; did you mean `{meant}`?"


def test_a_nested_key_with_a_typo(capsys):
    message = error_of(capsys, [*DEMO, "--data.init_args.strategy.init_args.chunking.chunk_sizes", "64"])
    assert message.strip() == (
        "error: data.strategy.chunking.chunk_sizes: there is no such option; did you mean `chunk_size`?"
    )


@pytest.mark.parametrize(
    ("right", "wrong", "place"),
    [
        ("records_per_round", "record_per_round", "data.record_per_round"),
        ("chunk_size", "chunksize", "data.strategy.chunking.chunksize"),
        ("kv_cache_gb", "kv_cache_mb", "data.engine.kv_cache_mb"),
        ("nll_weight", "nll_weigth", "model.nll_weigth"),
    ],
)
def test_a_typo_in_a_config_file(capsys, tmp_path, right, wrong, place):
    config = tmp_path / "mine.yaml"
    text = Path(shipped_config("demo")).read_text().replace(right, wrong)
    config.write_text(text)
    line = next(number for number, row in enumerate(text.splitlines(), 1) if f"{wrong}:" in row)
    message = error_of(capsys, ["fit", "--config", str(config)])
    assert message.strip() == f"error: {config}:{line}: {place}: there is no such option; did you mean `{right}`?"


def test_a_value_of_the_wrong_type(capsys):
    message = error_of(capsys, [*DEMO, "--model.quantization", "nf5"])
    assert "model.quantization" in message
    assert "nf4" in message
    assert len(message.splitlines()) < 6


def test_a_setting_out_of_range(capsys, tmp_path):
    message = error_of(capsys, [*DEMO, "--data.init_args.rounds", "0", "--trainer.default_root_dir", str(tmp_path)])
    assert "rounds is 0" in message


def test_a_data_file_that_does_not_exist(capsys, tmp_path):
    (tmp_path / "records.jsonl").write_text("")
    args = [*DEMO, "--trainer.default_root_dir", str(tmp_path / "run")]
    message = error_of(capsys, [*args, "--data.init_args.train", str(tmp_path / "record.jsonl")])
    assert "record.jsonl" in message
    assert "records.jsonl" in message, "a file of nearly this name is there"
    assert "Traceback" not in message


def test_bad_records_are_named_by_file_line_and_field(capsys, tmp_path):
    path = tmp_path / "qa.jsonl"
    good = {"id": 1, "input": "Who?", "answer": "Ann", "context": "Ann was here."}
    rows = [json.dumps(good), "{not json", json.dumps({**good, "id": 2, "context": " "}), json.dumps({"id": 3})]
    path.write_text("\n".join(rows))
    args = [*DEMO, "--trainer.default_root_dir", str(tmp_path / "run"), "--data.init_args.train", str(path)]
    message = error_of(capsys, args)
    for part in ("qa.jsonl:2", "qa.jsonl:3", "context", "qa.jsonl:4", "on_bad_record"):
        assert part in message


def test_a_model_that_does_not_exist(capsys, tmp_path):
    args = [*DEMO, "--trainer.default_root_dir", str(tmp_path)]
    assert "nowhere" in error_of(capsys, [*args, "--model.model", str(tmp_path / "nowhere")])
    message = error_of(capsys, [*args, "--model.model", "bundled:smollm2-135m-instrukt"])
    assert "bundled:smollm2-135m-instruct" in message


def test_prompts_that_the_model_cannot_take(capsys, tmp_path):
    args = [*DEMO, "--trainer.default_root_dir", str(tmp_path)]
    message = error_of(capsys, [*args, "--data.init_args.strategy.init_args.chunking.chunk_size", "600"])
    assert "lower top_k, chunk_size or max_tokens" in message
    message = error_of(capsys, [*args, "--data.init_args.pairs.max_prompt_length", "100000"])
    assert "max_prompt_length is 100000" in message


def test_epochs_follow_the_rounds(capsys, tmp_path):
    message = error_of(capsys, [*DEMO, "--trainer.max_epochs", "7", "--trainer.default_root_dir", str(tmp_path)])
    assert "leave trainer.max_epochs out" in message


def test_epochs_of_a_round_are_those_of_the_phases(capsys, tmp_path):
    phases = [
        "--model.phases+=longmab_pl.training.SFTPhase",
        "--model.phases+=longmab_pl.training.PreferencePhase",
        "--model.phases.init_args.epochs=2",
    ]
    run = ["--trainer.default_root_dir", str(tmp_path)]
    # Two rounds of one epoch of SFT and two of DPO.
    message = error_of(capsys, [*DEMO, *phases, *run, "--trainer.max_epochs", "7"])
    assert "data.rounds x data.epochs_per_round is 6" in message
    message = error_of(capsys, [*DEMO, *phases, *run, "--data.init_args.epochs_per_round", "2"])
    assert "data.epochs_per_round is 2, but model.phases take 3 epochs; leave data.epochs_per_round out" in message
    message = error_of(capsys, [*DEMO, "--model.phases=[longmab_pl.training.SFT]", *run])
    assert "there is no class 'longmab_pl.training.SFT'" in message


def test_help_names_every_command(capsys):
    main(["--help"])
    shown = capsys.readouterr().out
    assert all(f"  {name} " in shown for name in ("fit", "synthesize", "report", "evaluate", "compare"))


def test_a_report_of_no_run(capsys, tmp_path):
    assert "give the folder of a run" in error_of(capsys, ["report", str(tmp_path)])


def test_synthesize_writes_two_files(capsys, tmp_path):
    main(["synthesize", str(tmp_path), "--train", "5", "--eval", "3", "--passages", "5"])
    train, held_out = capsys.readouterr().out.split()
    assert len(Path(train).read_text().splitlines()) == 5
    assert len(Path(held_out).read_text().splitlines()) == 3


def test_an_unknown_command_is_answered_with_all_there_are(capsys):
    message = error_of(capsys, ["evalute", "--model", "x"])
    assert message.startswith("error: there is no command 'evalute'; did you mean `evaluate`? The commands are: fit,")
    assert all(command.name in message for command in COMMANDS)
    assert "\x1b" not in error_of(capsys, ["\x1b[31mred" + "x" * 1_000_000])
    assert len(error_of(capsys, ["x" * 1_000_000])) < 400


def test_the_version_is_the_package_s(capsys):
    main(["--version"])
    assert capsys.readouterr().out.strip() == f"longmab {longmab_pl.__version__}"


@pytest.mark.parametrize("args", [["--help"], ["--version"], ["evalute"]])
def test_answers_that_need_no_library_import_none(args):
    code = (
        "import sys; from longmab_pl.cli.main import main\n"
        f"try: main({args!r})\n"
        "except SystemExit: pass\n"
        "loaded = {'torch', 'lightning', 'transformers', 'numpy', 'jsonargparse', 'rich'} & set(sys.modules)\n"
        "assert not loaded, loaded"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_every_command_has_a_help_of_its_own(command, capsys):
    with suppress(SystemExit):  # as argparse ends
        main([command.name, "--help"])
    assert f"longmab {command.name}" in capsys.readouterr().out


@pytest.mark.parametrize(
    "args",
    [
        [*DEMO, "--model.learning_rat", "1e-4"],
        ["rollout", "--config", "demo", "--roun", "2"],
        ["doctor", "--config", "demo", "--gpu-memory", "24"],
        ["evaluate", "--model", "x", "--dat", "y"],
        ["synthesize", "folder", "--trai", "5"],
    ],
    ids=lambda args: args[0],
)
def test_abbreviated_options_are_refused(args, capsys):
    message = error_of(capsys, args)
    assert "there is no such option; did you mean `" in message
    assert len(message.splitlines()) == 1


@pytest.mark.parametrize(
    ("today", "earlier", "message"),
    [
        (
            "longmab_pl.strategies.BanditRollout",
            "longmab_pl.rollout.bandit_rollout.BanditRollout",
            "data.strategy: there is no class 'longmab_pl.rollout.bandit_rollout.BanditRollout'; did you mean "
            "`longmab_pl.strategies.BanditRollout`?",
        ),
        (
            "longmab_pl.prompts.DirectAnswer",
            "longmab_pl.rollout.reading.Direct",
            "data.prompt_format: there is no class 'longmab_pl.rollout.reading.Direct'; did you mean "
            "`longmab_pl.prompts.DirectAnswer`?",
        ),
        ("prompt_format:", "reading:", "data.reading: there is no such option; did you mean `prompt_format`?"),
        ("pulls:", "rounds:", "data.strategy.rounds: there is no such option; did you mean `pulls`?"),
        (
            "longmab_pl.engines.VLLMEngine",
            "VLLMEngin",
            "data.engine: there is no class 'VLLMEngin'; did you mean `longmab_pl.engines.VLLMEngine`?",
        ),
        ("rounds: 2", "rounds: two", "data.rounds is 'two'; it must be a whole number"),
        ("budget: adaptive", "budget: wide", "data.strategy.budget is 'wide'; it must be fixed or adaptive"),
    ],
)
def test_names_and_values_of_before_or_of_nowhere(today, earlier, message, capsys, tmp_path):
    config = tmp_path / "mine.yaml"
    text = Path(shipped_config("demo")).read_text()
    config.write_text(text.replace(today, earlier, 1))
    line = text[: text.index(today)].count("\n") + 1
    assert error_of(capsys, ["fit", "--config", str(config)]).strip() == f"error: {config}:{line}: {message}"


def test_a_full_or_read_only_disk_is_one_line(capsys, monkeypatch):
    def full(args):
        raise OSError(errno.ENOSPC, "No space left on device", "/runs/[red]x\x1b[0m/report.json")

    monkeypatch.setattr("longmab_pl.cli.report.run", full)
    message = error_of(capsys, ["report", "somewhere"])
    assert "cannot write or read /runs/[red]x\\x1b[0m/report.json: No space left on device; free some space" in message
    assert len(message.splitlines()) == 1


@pytest.mark.parametrize(
    "args",
    [
        ["--data.engine.init_args.launch.args", '["--api-key", "sk-hidden"]'],
        ["--data.engine.init_args.api_key", "sk-hidden"],
        ["--data.engine.init_args.api_key_env", "sk-hidden"],
    ],
)
def test_a_key_in_a_config_is_refused_before_it_is_written_anywhere(args, capsys, tmp_path):
    run = tmp_path / "run"
    base = ["fit", "--config", "demo", "--config", "engine-launch", "--trainer.default_root_dir", str(run)]
    message = error_of(capsys, [*base, *args])
    assert "api_key_env" in message
    assert "hidden" not in message
    assert not any("hidden" in file.read_text(errors="replace") for file in tmp_path.rglob("*") if file.is_file())


def test_what_data_holds_never_reaches_the_terminal_raw_or_unbounded(capsys, tmp_path):
    hostile = "\x1b]0;owned\x07[red]\x9b2J" + "x" * 5_000_000
    good = {"input": "Who?", "answer": "Ann", "context": "Ann was here."}
    path = tmp_path / "qa.jsonl"
    rows = [
        {"id": hostile, **good},
        {"id": hostile, **good},
        {hostile: 1, "id": 3},
        {**good, "id": 4, "input": [hostile]},
    ]
    path.write_text("\n".join(map(json.dumps, rows)))
    args = [*DEMO, "--trainer.default_root_dir", str(tmp_path / "run"), "--data.init_args.train", str(path)]
    message = error_of(capsys, args)
    assert "\\x1b]0;owned\\x07[red]" in message
    assert all(line.isprintable() for line in message.splitlines())
    assert len(message) < 2_000
