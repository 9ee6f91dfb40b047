"""One seed for a whole run: `seed_everything` is the data's too."""

from __future__ import annotations

import json

from small_config import write_config

from longmab_pl.cli.main import main


def asked(run):
    """Records and answers of a run's round, in the order of the file, and the held-out records' ids."""
    (rollouts,) = run.glob("rounds/*/rollouts.jsonl")
    lines = [json.loads(line) for line in rollouts.read_text().splitlines()]
    return [line["record_id"] for line in lines], [line["responses"] for line in lines]


def test_another_seed_is_another_rollout_of_the_same_held_out_questions(tmp_path, tiny_model):
    config = write_config(tmp_path, tiny_model, records=12)
    found = {}
    for name, options in {
        "zero": ("--seed_everything", "0"),
        "three": ("--seed_everything", "3"),
        "set": ("--seed_everything", "3", "--data.seed", "0"),
    }.items():
        main(
            [
                "rollout",
                "--config",
                str(config),
                *options,
                "--data.eval_fraction",
                "0.2",
                "--output",
                str(tmp_path / name),
            ]
        )
        found[name] = asked(tmp_path / name)
    assert found["zero"] == found["set"] != found["three"]
    assert found["zero"][1] != found["three"][1]
    assert set(found["zero"][0]) == set(found["three"][0]), "the same questions are held out"
