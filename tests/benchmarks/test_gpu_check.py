"""The GPU check runs every step apart, keeps what failed steps reported, and says what it left out."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def check() -> Any:
    before = list(sys.path)
    import gpu_check  # which puts its own folders first

    sys.path[:] = before
    return gpu_check


def setup(check: Any, folder: Path) -> Any:
    return check.Setup("cpu", folder, "random-tiny", "random-tiny-qwen", "random-tiny", (64, 128), 8)


def test_steps_that_cannot_run_are_named(check: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lacking = replace(check.STEPS[0], name="lacking", needs=("no_such_package",))
    on_gpu = replace(check.STEPS[0], name="on gpu", cuda=True)
    kept: list[Any] = []
    outcomes = check.run_all([lacking, on_gpu], setup(check, tmp_path), 8, tmp_path, kept.append)
    assert [(o.status, o.why) for o in outcomes] == [
        ("skipped", "no_such_package not installed"),
        ("skipped", "needs a CUDA GPU"),
    ]
    assert len(kept) == 2
    late = check.run_all([lacking], setup(check, tmp_path), 0, tmp_path, kept.append)
    assert late[0].status == "not run"
    assert "--only 'lacking'" in late[0].why
    capsys.readouterr()


def test_the_table_leaves_out_warm_up_steps_and_compares_with_trl(
    check: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    def rows(seconds: list[float], loss: float, predicted: float | None) -> tuple[dict[str, Any], ...]:
        return tuple(
            {
                "prompt": 64,
                "warm_up": n == 0,
                "seconds": s,
                "peak_gib": 2.0,
                "predicted_gib": predicted,
                "loss": loss,
            }
            for n, s in enumerate(seconds)
        )

    check.show(
        [
            check.Outcome("llama bf16 packed", "ok", "", 3.0, rows([9.0, 0.5, 0.5], 0.7, 2.1)),
            check.Outcome(
                "llama bf16 trl", "failed", "OutOfMemoryError: at 128", 4.0, rows([9.0, 1.0, 1.0], 0.6, None)
            ),
        ]
    )
    table = capsys.readouterr().out
    assert "| llama bf16 | packed | 64 | 2 | 2.00 | 2 | 2.1 | 1.0e-01 |" in table
    assert "| llama bf16 trl | failed | 4 | OutOfMemoryError: at 128 |" in table


def test_the_bundle_names_what_a_machine_lacks(check: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    have = tmp_path / "list.txt"
    have.write_text("\n".join(f"{name}==1" for name in check.PACKAGES if name not in ("trl", "jsonargparse")))
    check.bundle(have)
    said = capsys.readouterr().out
    assert "-d wheels jsonargparse trl" in said
    have.write_text("\n".join(f"{name}==1" for name in check.PACKAGES))
    check.bundle(have)
    assert "has all packages" in capsys.readouterr().out


@pytest.mark.slow
def test_some_steps_as_a_toy(tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    steps = ["attention", "llama bf16 packed", "llama bf16 trl", "adapter", "offload"]
    command = [sys.executable, str(FOLDER / "gpu_check.py"), "--toy", "--out", str(out), "--only", *steps]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    found = {row["step"]: row for row in json.loads(out.read_text())["outcomes"]}
    assert {row["status"] for row in found.values()} == {"ok"}
    packed, trl = (found[f"llama bf16 {name}"]["rows"] for name in ("packed", "trl"))
    assert [row["loss"] for row in packed] == pytest.approx([row["loss"] for row in trl], abs=1e-4)
    assert "doctor says" in done.stdout


def test_what_is_imported_before_the_steps_leaves_the_gpu_alone(check: Any) -> None:
    code = f"import sys; [__import__(name) for name in {check.PRELOADED}]; print('bitsandbytes' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split()[-1] == "False"
