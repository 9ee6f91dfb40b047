"""A small count of what judging costs; its full size is a document of 32k tokens and 10 answers of 22 facts."""

from __future__ import annotations

import judge_cost
from judging import WordEmbedder
from tokenizers_like import chatml_like

from longmab_pl.engines.addressee import Addressee, ChatFormat
from longmab_pl.rewards.llm_judge.dimensions import DIMENSIONS


def test_the_joint_style_asks_less_and_ranks_alike(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(judge_cost, "Embedder", WordEmbedder)
    tokenizer = chatml_like()
    records = [judge_cost.long_record(tokenizer, tokens=1500, facts=4, answers=5)]
    engine = judge_cost.scripted_judge(tokenizer)
    judge = Addressee(ChatFormat(tokenizer), engine.max_model_len, structured_output=True)
    found = {style: judge_cost.judged(style, records, engine, judge, tmp_path) for style in judge_cost.STYLES}
    rows = judge_cost.report(records, found)
    assert rows["original"]["calls"] == 1 + 5 * (2 + 1 + 4 + 1)
    assert rows["joint"]["calls"] == 1 + 2 + 5 * 3
    assert rows["joint"]["excluded"] == rows["original"]["excluded"] == 0
    for name in ("value", *DIMENSIONS):
        assert float(rows[f"correlation/{name}"].split()[0]) > 0.8, name
    assert "calls" in capsys.readouterr().out
