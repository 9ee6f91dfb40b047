"""`make bench`: its table, the comparison with the kept one, and what a failing benchmark leaves."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import replace
from pathlib import Path

import bench
import pytest

LOW = bench.Measure("seconds", lambda found: found["s"], "lower", 2.0, 0.1)
HIGH = bench.Measure("speed", lambda found: 6 / found["s"], "higher", 3.0, 0.1)


@pytest.fixture
def programs(tmp_path, monkeypatch):
    """Programs in place of the benchmarks'; `good` writes what the test asks for."""
    (tmp_path / "good.py").write_text(
        "import json, sys; open(sys.argv[1], 'w').write(json.dumps({'s': float(sys.argv[2])}))"
    )
    (tmp_path / "broken.py").write_text("print('begun'); raise SystemExit('no model | here')")
    (tmp_path / "silent.py").write_text("")
    (tmp_path / "slow.py").write_text(
        "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time; time.sleep(60)'])"
    )
    monkeypatch.setattr(bench, "HERE", tmp_path)
    monkeypatch.setattr(bench, "KEPT", tmp_path / "kept.json")

    def use(*found):
        monkeypatch.setattr(bench, "BENCHMARKS", found)

    return use


def good(seconds):
    return bench.Benchmark("good", ("good.py", "{out}", str(seconds)), 60, (LOW, HIGH))


def of(name, *command, limit=60.0):
    return bench.Benchmark(name, command, limit, (replace(LOW, name=f"{name}'s seconds"),))


def command(monkeypatch, *options):
    monkeypatch.setattr(sys, "argv", ["bench", *options])
    with pytest.raises(SystemExit) as done:
        bench.main()
    return done.value.code


def test_the_table_has_the_goal_and_the_kept_figure_beside_each_ratio(programs, tmp_path, monkeypatch, capsys):
    out = str(tmp_path / "out.json")
    programs(good(2.5))
    assert command(monkeypatch, "--out", out, "--keep") == 0
    assert "| seconds | 2.5 | ≤ 2 |  | below the goal |" in capsys.readouterr().out
    programs(good(1.5))
    assert command(monkeypatch, "--out", out) == 0
    table = capsys.readouterr().out
    assert "| seconds | 1.5 | ≤ 2 | 2.5 | ok |" in table
    assert "| speed | 4 | ≥ 3 | 2.4 | ok |" in table
    (row, _) = json.loads(Path(out).read_text())["rows"]
    assert (row["measure"], row["value"]) == ("seconds", 1.5)


def test_what_became_worse_than_the_kept_table_by_more_than_noise_is_a_regression(
    programs, tmp_path, monkeypatch, capsys
):
    out = str(tmp_path / "out.json")
    programs(good(1.0))
    command(monkeypatch, "--out", out, "--keep")
    programs(good(1.09))
    assert command(monkeypatch, "--out", out) == 0, "within the noise"
    capsys.readouterr()
    programs(good(1.2))
    assert command(monkeypatch, "--out", out) == 1
    table = capsys.readouterr().out
    assert "| seconds | 1.2 | ≤ 2 | 1 | REGRESSION |" in table
    assert "| speed | 5 | ≥ 3 | 6 | REGRESSION |" in table


def test_a_benchmark_that_fails_is_a_row_and_the_others_run(programs, tmp_path, monkeypatch, capsys):
    gone, slow = of("gone", "nowhere.py"), of("slow", "slow.py", limit=2.0)
    programs(of("broken", "broken.py"), of("silent", "silent.py"), gone, slow, good(1.0))
    began = time.monotonic()
    assert command(monkeypatch, "--out", str(tmp_path / "out.json"), "--keep") == 1
    assert time.monotonic() - began < 20
    table = capsys.readouterr().out
    assert "| broken's seconds |  | ≤ 2 |  | failed: ended with code 1: no model \\| here |" in table
    assert "| silent's seconds |  | ≤ 2 |  | failed: wrote no figures: " in table
    assert "failed: ended with code 2: " in table
    assert "| slow's seconds |  | ≤ 2 |  | failed: took more than 2 s |" in table
    assert "| seconds | 1 | ≤ 2 |  | ok |" in table
    kept = json.loads((tmp_path / "kept.json").read_text())["rows"]
    assert [row["measure"] for row in kept] == ["seconds", "speed"], "a failure is not kept"


def test_some_benchmarks_alone_leave_the_others_rows(programs, tmp_path, monkeypatch, capsys):
    out = str(tmp_path / "out.json")
    other = bench.Benchmark("other", ("good.py", "{out}", "1.0"), 60, (replace(LOW, name="other's seconds"),))
    programs(other, good(1.0))
    command(monkeypatch, "--out", out)
    programs(other, good(2.0))
    assert command(monkeypatch, "--out", out, "--only", "good") == 0
    capsys.readouterr()
    assert command(monkeypatch, "--out", out, "--show") == 0
    table = capsys.readouterr().out
    assert table.index("| other's seconds | 1 |") < table.index("| seconds | 2 |")


def test_without_time_left_nothing_runs(programs, tmp_path, monkeypatch, capsys):
    programs(of("broken", "broken.py"))
    assert command(monkeypatch, "--out", str(tmp_path / "out.json"), "--minutes", "0") == 1
    assert "failed: no time was left for it; run it with --only" in capsys.readouterr().out


def test_every_measure_has_a_name_of_its_own_and_a_program_that_is_there():
    names = [measure.name for benchmark in bench.BENCHMARKS for measure in benchmark.measures]
    assert len(names) == len(set(names))
    assert {row.measure for row in bench.read_rows(bench.KEPT)} <= set(names)
    for benchmark in bench.BENCHMARKS:
        assert (bench.HERE / benchmark.command[0]).is_file()
