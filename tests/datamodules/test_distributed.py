"""Several processes train as one does: the same losses, disjoint pairs, one rollout, exchangeable checkpoints."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from processes import environment, free_port
from river_rounds import write_rivers

pytestmark = pytest.mark.slow

SUPPORT = Path(__file__).parents[1] / "support"


@pytest.fixture(scope="module")
def qa_file(tmp_path_factory):
    return write_rivers(tmp_path_factory.mktemp("data") / "qa.jsonl")


def start(run: Path, model: str, qa_file: Path, **options) -> tuple[int, str]:
    """Run the program as a person runs `longmab fit`: one command, whose strategy starts the other processes."""
    run.mkdir(exist_ok=True)
    command = [sys.executable, str(SUPPORT / "distributed_fit.py"), str(run), model, str(qa_file), json.dumps(options)]
    done = subprocess.run(
        command,
        env=environment(MASTER_PORT=free_port()),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
    )
    return done.returncode, done.stdout


def trained(run: Path, model: str, qa_file: Path, **options) -> list[dict]:
    """What every rank saw."""
    code, output = start(run, model, qa_file, **options)
    assert code == 0, output
    return [json.loads(file.read_text()) for file in sorted(run.glob("seen-*.json"))]


def same_adapter(expected: dict, found: dict) -> None:
    assert expected.keys() == found.keys()
    for name, values in expected.items():
        torch.testing.assert_close(torch.tensor(found[name]), torch.tensor(values), rtol=1e-3, atol=1e-5, msg=name)


@pytest.fixture(scope="module")
def alone(tmp_path_factory, tiny_model, qa_file):
    """One process, two pairs per batch."""
    run = tmp_path_factory.mktemp("alone")
    (seen,) = trained(run, tiny_model, qa_file, batch_size=2)
    return run, seen


@pytest.fixture(scope="module", params=["ddp", "fsdp"])
def together(request, tmp_path_factory, tiny_model, qa_file):
    """Two processes with one pair each."""
    run = tmp_path_factory.mktemp(request.param)
    return run, trained(run, tiny_model, qa_file, devices=2, strategy=request.param, evaluate=True)


def test_two_processes_see_the_losses_of_one(alone, together):
    _, one = alone
    _, ranks = together
    assert len(ranks) == 2
    assert one["steps"] == ranks[0]["steps"] == ranks[1]["steps"] > 2
    for batch, first, second in zip(one["batches"], ranks[0]["batches"], ranks[1]["batches"], strict=True):
        assert set(batch["pairs"]) == {*first["pairs"], *second["pairs"]}
        assert batch["loss"] == pytest.approx((first["loss"] + second["loss"]) / 2, rel=1e-5)
        assert batch["loss"] == pytest.approx(first["logged"], rel=1e-5), "what is logged is the mean over ranks"
    assert ranks[0]["adapter"] == ranks[1]["adapter"]
    same_adapter(one["adapter"], ranks[0]["adapter"])


def test_pairs_are_shared_without_overlap(together):
    _, (first, second) = together
    for epoch in {batch["epoch"] for batch in first["batches"]}:
        own, others = (
            [p for b in rank["batches"] if b["epoch"] == epoch for p in b["pairs"]] for rank in (first, second)
        )
        assert own
        assert len(own) == len(others)
        assert not set(own) & set(others)


def test_one_process_makes_the_rounds_and_the_files(alone, together):
    run, (first, second) = together
    assert first["asked"] > 0
    assert second["asked"] == 0
    names = [sorted(p.name for p in (r / "rounds").iterdir()) for r in (run, alone[0])]
    assert [n[:3] for n in names[0]] == ["000", "001"]
    assert names[0][0] == names[1][0], "the first round is the same whoever makes it"
    assert (run / "checkpoints" / "last.ckpt").is_file()
    from safetensors.torch import load_file

    exported = load_file(run / "adapter" / "adapter_model.safetensors")
    for name, tensor in exported.items():
        inside = "policy." + name.replace(".weight", ".default.weight")
        torch.testing.assert_close(tensor, torch.tensor(first["adapter"][inside]))
    report = json.loads((run / "report.json").read_text())
    assert [e["round"] for e in report["evaluations"]] == [0, 1, 2]


ONE = {"batch_size": 2}
DDP = {"devices": 2, "strategy": "ddp"}
FSDP = {"devices": 2, "strategy": "fsdp"}


def references(run: Path) -> dict[str, list[float]]:
    """The stored log-probabilities of every pair's two completions."""
    found = {}
    for file in run.glob("rounds/*/reference_logps-*.jsonl"):
        for line in file.read_text().splitlines()[1:]:
            row = json.loads(line)
            found[row["pair"]] = [row["chosen"], row["rejected"]]
    return found


@pytest.mark.parametrize("several", [DDP, FSDP], ids=["ddp", "fsdp"])
def test_a_reference_computed_ahead_by_two_processes_is_that_of_one(tmp_path, tiny_model, qa_file, several):
    """With an odd number of pairs, where the ranks' shares differ."""
    options = {"rounds": 1, "epochs_per_round": 2, "records_per_round": 7}
    trained(tmp_path / "one", tiny_model, qa_file, **options)
    trained(tmp_path / "two", tiny_model, qa_file, **several, **options)
    one, two = references(tmp_path / "one"), references(tmp_path / "two")
    assert len(one) == 7
    assert one.keys() == two.keys()
    for pair, logps in one.items():
        assert two[pair] == pytest.approx(logps, rel=1e-4)


DDP_2_X_2 = {"devices": 4, "strategy": "ddp", "sequence_parallel": 2, "precompute_reference": True}
DDP_SPLIT = {"devices": 2, "strategy": "ddp", "sequence_parallel": 2, "batch_size": 2}
FSDP_SPLIT = {"devices": 2, "strategy": "fsdp", "sequence_parallel": 2, "batch_size": 2}


@pytest.mark.parametrize(("several", "shares"), [(DDP_2_X_2, 2), (FSDP_SPLIT, 1)], ids=["ddp, 2 x 2", "fsdp"])
def test_processes_that_share_sequences_train_as_one_does(tmp_path, alone, tiny_model, qa_file, several, shares):
    """Neighboring ranks have the same pairs, and the losses and the adapter are those of one process."""
    _, one = alone
    ranks = trained(tmp_path, tiny_model, qa_file, **several)
    assert len(ranks) == several["devices"]
    assert {rank["steps"] for rank in ranks} == {one["steps"]}
    for batch, *found in zip(one["batches"], *(rank["batches"] for rank in ranks), strict=True):
        for first, second in zip(found[::2], found[1::2], strict=True):
            assert first["pairs"] == second["pairs"]
            assert first["loss"] == pytest.approx(second["loss"], rel=1e-6)
        pairs = [pair for share in found[::2] for pair in share["pairs"]]
        assert len(pairs) == len(set(pairs))
        assert set(pairs) == set(batch["pairs"])
        assert batch["loss"] == pytest.approx(sum(share["loss"] for share in found[::2]) / shares, rel=1e-5)
    for rank in ranks:
        same_adapter(one["adapter"], rank["adapter"])
    assert bool(references(tmp_path)) == several.get("precompute_reference", False)


@pytest.mark.parametrize(("before", "after"), [(DDP, ONE), (ONE, DDP), (FSDP, ONE), (ONE, DDP_SPLIT)])
def test_checkpoints_go_from_one_process_to_two_and_back(tmp_path, alone, tiny_model, qa_file, before, after):
    """After the first round the number of processes changes; the end is that of the uninterrupted run."""
    run = tmp_path / "run"
    trained(run, tiny_model, qa_file, **before, stop_after_epochs=1)
    last = str(run / "checkpoints" / "last.ckpt")
    for file in run.glob("seen-*.json"):
        file.unlink()
    ranks = trained(run, tiny_model, qa_file, **after, ckpt_path=last, seed=5)
    assert len(ranks) == after.get("devices", 1)
    _, uninterrupted = alone
    assert ranks[0]["steps"] == uninterrupted["steps"]
    same_adapter(uninterrupted["adapter"], ranks[0]["adapter"])


@pytest.mark.parametrize("outcome", ["succeeds", "fails", "dies"])
def test_others_wait_for_rank_zero_longer_than_their_group_does(outcome):
    port = free_port()
    processes = [
        subprocess.Popen(
            [sys.executable, str(SUPPORT / "patient_processes.py"), str(rank), port, outcome],
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(2)
    ]
    said = [process.communicate(timeout=240)[0] for process in processes]
    codes = [process.returncode for process in processes]
    if outcome == "succeeds":
        assert codes == [0, 0], said
        assert said == ["{'pairs': 3} again\n"] * 2
    elif outcome == "fails":
        assert codes == [1, 1], said
        assert "ValueError the engine is gone" in said[0]
        assert "LongMabError rank 0 failed" in said[1]
        assert "the engine is gone" in said[1]
    else:
        assert codes == [9, 1], said
