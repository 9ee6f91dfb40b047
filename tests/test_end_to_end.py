"""The whole job as a person runs it, with real parts: vLLM, the bundled model and embedder, LoRA, Ctrl-C and resume."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

pytestmark = pytest.mark.slow

SMALL = [
    "--data.init_args.records_per_round=8",
    "--data.init_args.strategy.init_args.pulls=2",
    "--trainer.callbacks.init_args.suite.init_args.limit=4",
    "--trainer.accumulate_grad_batches=1",
    "--checkpoint.every_n_train_steps=1",
]


def command(run: Path, *more: str) -> list[str]:
    fit = [sys.executable, "-m", "longmab_pl", "fit", "--config", "demo", f"--trainer.default_root_dir={run}"]
    return [*fit, *SMALL, *more]


def descendants(pid: int) -> set[int]:
    """Processes that are, or were adopted from, this one's group."""
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                group = os.getpgid(int(entry.name))
            except ProcessLookupError:
                continue
            if group == pid and int(entry.name) != pid:
                found.add(int(entry.name))
    return found


def heed_ctrl_c() -> None:
    """A shell's background jobs ignore Ctrl-C, and so would whatever the tests start when they are one."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.fixture(scope="module")
def interrupted_run(tmp_path_factory) -> tuple[Path, str, int]:
    """A run that got a Ctrl-C after its first optimizer step, its output and exit status."""
    run = tmp_path_factory.mktemp("run")
    log = run / "first.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            command(run),
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=heed_ctrl_c,
        )
        deadline = time.monotonic() + 600
        while not (run / "checkpoints" / "last.ckpt").exists():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.2)
        os.kill(process.pid, signal.SIGINT)
        code = process.wait(timeout=120)
    assert not descendants(process.pid), "Ctrl-C left a process behind"
    return run, log.read_text(), code


@pytest.fixture(scope="module")
def resumed_run(interrupted_run) -> tuple[Path, str]:
    """The same run continued to its end, with one setting changed on the way."""
    run, _, _ = interrupted_run
    last = run / "checkpoints" / "last.ckpt"
    stopped_at = torch.load(last, weights_only=True)["global_step"]
    (run / "stopped_at").write_text(str(stopped_at))
    done = subprocess.run(
        command(run, f"--ckpt_path={last}", "--model.learning_rate=3e-5"),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=800,
        start_new_session=True,
    )
    assert done.returncode == 0, done.stdout
    return run, done.stdout


def test_ctrl_c_ends_the_run_in_order(interrupted_run):
    run, output, code = interrupted_run
    assert code != 0
    assert "Traceback" not in output
    rounds = list((run / "rounds").iterdir())
    assert len(rounds) == 1
    assert (rounds[0] / "round.json").exists()


def test_the_resumed_run_repeats_nothing_and_finishes(interrupted_run, resumed_run):
    run, output = resumed_run
    names = sorted(p.name[:3] for p in (run / "rounds").iterdir())
    assert names == ["000", "001"], "the round that was interrupted went on; it was not begun again"
    assert "round 1/2 rollout" not in output
    assert "round 2/2 rollout" in output
    assert "evaluation before training" not in output
    checkpoint = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    pairs = sum(len((p / "pairs.jsonl").read_text().splitlines()) for p in (run / "rounds").iterdir())
    assert checkpoint["global_step"] == pairs, "every pair was one optimizer step, none was left out or trained twice"


def test_the_override_on_resume_counts(resumed_run):
    run, _ = resumed_run
    configs = sorted(run.glob("lightning_logs/version_*/config.yaml"), key=lambda p: p.stat().st_mtime)
    assert "learning_rate: 3.0e-05" in configs[-1].read_text()
    (state,) = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["optimizer_states"]
    assert 0 < state["param_groups"][0]["lr"] <= 3e-5


def test_the_report_has_both_rounds_and_three_evaluations(resumed_run):
    run, output = resumed_run
    report = json.loads((run / "report.json").read_text())
    assert [r["round"] for r in report["rounds"]] == [1, 2]
    assert [e["round"] for e in report["evaluations"]] == [0, 1, 2]
    assert all(r["reward/answer_match/in_format"] == 1.0 for r in report["rounds"]), "direct reading opens with Answer:"
    assert "on-policy rounds" in output
    assert (run / "report.png").read_bytes().startswith(b"\x89PNG")


def test_each_round_answered_with_its_own_policy(resumed_run):
    run, _ = resumed_run
    policies = [json.loads((p / "round.json").read_text())["policy"] for p in sorted((run / "rounds").iterdir())]
    assert policies[0] == "step-000000"
    assert policies[1] != policies[0]
    folders = [p for p in (run / "adapters").iterdir() if p.name.startswith(policies[1])]
    assert folders, "the adapter that answered round 2 lies beside the run"


def test_checkpoints_are_small_and_hold_the_adapter_only(resumed_run):
    run, _ = resumed_run
    last = run / "checkpoints" / "last.ckpt"
    names = torch.load(last, weights_only=True)["state_dict"]
    assert names
    assert all("lora_" in name for name in names)
    assert last.stat().st_size < 80e6  # adapter and its optimizer state in fp32; the base model alone is 270 MB in bf16


def test_the_final_adapter_loads_in_peft_and_moves_the_model(resumed_run):
    from peft import AutoPeftModelForCausalLM
    from transformers import AutoTokenizer

    from longmab_pl.models.hub import resolve_model

    run, _ = resumed_run
    model = AutoPeftModelForCausalLM.from_pretrained(run / "adapter", dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(resolve_model("bundled:smollm2-135m-instruct"))
    ids = tokenizer("The river that runs through the town is the", return_tensors="pt").input_ids
    with torch.no_grad():
        tuned = model(ids).logits
        with model.disable_adapter():
            base = model(ids).logits
    assert torch.isfinite(tuned).all()
    assert not torch.equal(tuned, base)
