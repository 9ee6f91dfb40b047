from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import time

import pytest

from longmab_pl import live

BAR = """
import time
from longmab_pl.live import Bar, say, step
with step("loading weights"):
    time.sleep(0.7)
bar = Bar("round 1/2 rollout", 40, "responses")
for i in range(40):
    bar.update(1, f"{i // 4} of 10 records finished")
    time.sleep(0.005)
    if i == 20:
        say("note: a record is left out")
bar.close()
"""


def on_a_terminal(columns: int) -> str:
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    environment = {key: value for key, value in os.environ.items() if key not in ("COLUMNS", "LINES")}
    process = subprocess.Popen([sys.executable, "-c", BAR], stderr=follower, stdout=follower, env=environment)
    os.close(follower)
    said = b""
    while True:
        try:
            part = os.read(leader, 65536)
        except OSError:
            break
        if not part:
            break
        said += part
    assert process.wait() == 0
    os.close(leader)
    return said.decode()


def screen(said: str) -> list[str]:
    """Return what is left on the screen: of every line the text after its last return."""
    return [line.rpartition("\r")[2].replace("\x1b[K", "") for line in said.replace("\r\n", "\n").split("\n")]


@pytest.mark.parametrize("columns", [80, 100])
def test_one_live_line_on_a_terminal(columns):
    said = on_a_terminal(columns)
    assert "\x1b[K" in said
    kept = [line for line in screen(said) if line]
    assert [line.partition(":")[0] for line in kept] == ["loading weights", "note", "round 1/2 rollout"]
    assert "100%, 40 of 40 responses" in kept[-1]
    frames = re.split(r"\r|\n", said)
    assert max(len(frame.replace("\x1b[K", "")) for frame in frames[:-2]) <= columns + 80, "frames are cut"


def test_plain_lines_in_a_narrow_terminal():
    assert "\x1b" not in on_a_terminal(79)


def test_plain_lines_with_the_time_of_day_in_a_file(capsys, monkeypatch):
    monkeypatch.setattr(live, "BAR_INTERVAL_S", 0.05)
    bar = live.Bar("evaluation", 30, "questions")
    for _ in range(30):
        time.sleep(0.005)
        bar.update(1, "score 20.00")
    bar.close()
    bar.close()
    lines = capsys.readouterr().err.splitlines()
    assert all(re.match(r"\d\d:\d\d:\d\d  evaluation: ", line) for line in lines)
    assert 3 <= len(lines) <= 8, "a line at intervals, not one for each question"
    assert lines[0].endswith("evaluation: 30 questions")
    assert re.search(r"100%, 30 of 30 questions in [\d.]+ s; score 20\.00$", lines[-1])


def test_a_long_step_is_never_silent(capsys, monkeypatch):
    monkeypatch.setattr(live, "STEP_INTERVAL_S", 0.1)
    with live.step("starting the engine"):
        time.sleep(0.35)
    lines = [line.partition("  ")[2] for line in capsys.readouterr().err.splitlines()]
    assert lines[0] == "starting the engine ..."
    assert lines[1].startswith("starting the engine: still under way, 0.1 s")
    assert lines[-1].startswith("starting the engine: done in 0.")


def test_a_step_that_fails_says_nothing_more(capsys):
    with pytest.raises(ValueError, match="no"), live.step("reading"):
        raise ValueError("no")
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert live._steps == []


def test_the_drawn_bar_gives_way_to_the_numbers():
    bar = live.Bar("round 1/2 training", 8, "batches", hidden=True)
    bar.update(3, "loss 1.229, accuracy 0.875, margin 0.067")
    assert "░" in bar.fitting(140)
    middle = bar.fitting(105)
    assert "░" not in middle
    assert middle.endswith("margin 0.067")
    assert bar.fitting(79).endswith("; loss 1.229")
    assert all(len(bar.fitting(columns)) <= columns for columns in range(20, 140))
