"""The study of search methods gives every method the same records and no more than the same budget."""

from __future__ import annotations

import search_methods

from longmab_pl.engines import ScriptedEngine


def test_every_method_stays_within_the_budget_and_is_counted(tiny_model, byte_tokenizer, tmp_path, capsys):
    def answer(request, i):
        """One word of the prompt's end: now and then the gold answer's."""
        said = byte_tokenizer.decode(list(request.prompt_ids)).split()
        return " " + said[-(1 + ((request.seed or 0) + i) % len(said))]

    engine = ScriptedEngine(answer, tokenizer=byte_tokenizer)
    options = "--records 3 --responses 6 --tokens 12 --only best-of-n stepwise tree"
    results = search_methods.main(
        [*options.split(), "--model", tiny_model, "--out", str(tmp_path / "out.json")], engine
    )
    assert set(results) == {"best-of-n", "tree", "stepwise"}
    for result in results.values():
        assert result["failed"] == 0
        assert result["records"] == 3
    assert results["best-of-n"]["calls"] == 3
    assert results["best-of-n"]["generations"] == 3 * 6
    assert results["stepwise"]["generations"] <= 3 * 6
    assert results["stepwise"]["calls"] <= 3 * 3
    assert "| stepwise |" in capsys.readouterr().out
    assert engine.closed
