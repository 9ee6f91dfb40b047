"""What a card says of facts, and that nothing in them is obeyed by who shows it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from longmab_pl.errors import DataError
from longmab_pl.evaluation.entry import EvaluationEntry
from longmab_pl.evaluation.estimate import Score
from longmab_pl.export.model_card import card, cell, fence, inline_code
from longmab_pl.export.run_facts import RunFacts, read_run

HOSTILE = "a|b`c`\n<script>alert(1)</script>\n```\n<img src=x onerror=alert(2)>\x1b[31m"


def entry(when: str, step: int, digest: str, *, suite: str = "qa", task: str | None = None) -> EvaluationEntry:
    return EvaluationEntry(
        when=when,
        round=step // 4,
        step=step,
        suite=suite,
        task=task,
        n=8,
        scores={"f1": Score(50.0 + step, 40.0, 70.0), "em": Score(10.0, 0.0, 20.0), "derived": Score(9.0)},
        format_rate=1.0,
        truncated_rate=0.0,
        against_first=None,
        policy=f"tiny + {digest}",
        folder="evaluations/x",
    )


def facts(**changes: object) -> RunFacts:
    return replace(RunFacts("someone/tiny", "abc", {"r": 8}), **changes)  # type: ignore[arg-type]


def outside_of_fences(body: str) -> str:
    """A card without its blocks of code, as CommonMark reads them."""
    kept, ticks = [], ""
    for line in body.splitlines():
        marks = line[: len(line) - len(line.lstrip("`"))]
        if not ticks and len(marks) >= 3:
            ticks = marks
        elif ticks and len(marks) >= len(ticks) and not line.strip("` "):
            ticks = ""
        elif not ticks:
            kept.append(line)
    assert not ticks, "a block of code is not closed"
    return "\n".join(kept)


def test_every_evaluation_has_its_row_in_the_order_of_training(tmp_path: Path) -> None:
    rows = [entry("after round 2", 8, "abc"), entry("before training", 0, "base"), entry("after round 1", 4, "x")]
    rows += [
        entry("after round 1", 4, "x", suite="longbench", task="qasper"),
        entry("before training", 0, "base", suite="mine"),
    ]
    (tmp_path / "report.json").write_text(json.dumps({"rounds": [], "evaluations": [row.to_json() for row in rows]}))
    read = read_run(tmp_path, base_model="someone/tiny", digest="abc", lora={}, step=8)
    body = card(read)
    starts = [
        body.index(text) for text in ("| before training |", "| after round 1 |", "| after round 2 (**this one**)")
    ]
    assert starts == sorted(starts)
    for name in ("| qa |", "| longbench/qasper |", "| mine |"):
        assert name in body
    assert "58.0 [40.0, 70.0] | 10.0 [0.0, 20.0] |" in body
    assert "derived" not in body, "a number that was not measured but computed from others"


def test_a_run_without_a_report_has_no_scores_and_a_damaged_one_is_named(tmp_path: Path) -> None:
    read = read_run(tmp_path, base_model="someone/tiny", digest="abc", lora={}, step=None)
    assert "None were measured in this run." in card(read)
    (tmp_path / "report.json").write_text("[]")
    with pytest.raises(DataError, match=r"report\.json is not the report of a run"):
        read_run(tmp_path, base_model="someone/tiny", digest="abc", lora={}, step=None)
    (tmp_path / "report.json").unlink()
    damaged = tmp_path / "rounds" / "000-x" / "round.json"
    damaged.parent.mkdir(parents=True)
    for text in ("", "[]", '{"round": 0}', '{"round": 0, "statistics": {"pairs/count": "many"}}'):
        damaged.write_text(text)
        with pytest.raises(DataError, match=r"round\.json is damaged .*move it away"):
            read_run(tmp_path, base_model="someone/tiny", digest="abc", lora={}, step=None)


def test_names_and_settings_from_data_are_shown_and_not_obeyed() -> None:
    hostile = facts(
        evaluations=[entry(HOSTILE, 4, "abc", suite=HOSTILE, task=HOSTILE)],
        config={
            "model": {"loss": {"class_path": f"os.{HOSTILE}"}, "note": HOSTILE},
            "data": {
                "class_path": "longmab_pl.RolloutDataModule",
                "init_args": {
                    "train": HOSTILE,
                    "prompt_format": {"class_path": HOSTILE, "init_args": {"template": HOSTILE, "prefill": HOSTILE}},
                    "strategy": {"class_path": f"x.{HOSTILE}", "init_args": {"bandit": {"policy": HOSTILE}}},
                },
            },
        },
    )
    text = card(hostile)
    _, front, body = text.split("---\n", 2)
    assert yaml.safe_load(front)["library_name"] == "peft"
    outside = outside_of_fences(body)
    for forbidden in ("<script", "<img", "\x1b"):
        assert forbidden not in outside
        assert forbidden not in front
    table = [line for line in outside.splitlines() if line.startswith("| ")]
    assert len({line.replace("\\|", "").count("|") for line in table[:3]}) == 1, "a name made a column of its own"


def test_a_class_of_somebody_else_is_named_and_not_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "foreign_loss.py").write_text("raise SystemExit('imported')")
    assert "Loss: `Mine`." in card(facts(config={"model": {"loss": {"class_path": "foreign_loss.Mine"}}}))


@pytest.mark.parametrize("text", ["plain", "a`b", "``", "`x`", "a\nb", "x" * 1000])
def test_code_holds_what_it_is_given(text: str) -> None:
    line = inline_code(text)
    assert "\n" not in line
    assert len(line) < 400
    ticks = line[: len(line) - len(line.lstrip("`"))]
    assert line.endswith(ticks)
    assert ticks not in line.strip("`")
    block = fence(text).split("\n")
    assert block[0] == block[-1]
    assert not any(line.startswith(block[0]) for line in block[1:-1])
    assert "|" not in cell("a|b")


def test_a_models_name_is_a_link_and_a_command_only_if_it_is_a_name() -> None:
    harmful = "owner/x](https://evil) ![y](https://evil/t.png)\n```\n$(touch harm)"
    body = card(RunFacts(harmful, "abc", {"r": 8}))
    assert "](https://evil" not in body
    assert "vllm serve owner/x](" not in body
    assert "\n# " in body
    assert "huggingface.co/owner/x]" not in body


def test_a_card_is_bounded_and_shows_no_login() -> None:
    config = {"data": {"class_path": "longmab_pl.RolloutDataModule", "init_args": {
        "train": "x.jsonl",
        "limit": "y" * 5_000_000,
        "engine": {"class_path": "longmab_pl.engines.ServerEngine", "init_args": {
            "servers": ["https://user:hunter2@host:8000"], "authorization": "Bearer hunter3",
        }},
    }}}  # fmt: skip
    body = card(RunFacts("someone/tiny", "abc", {"r": 8}, config=config))
    assert len(body) < 100_000
    assert "hunter" not in body
