from __future__ import annotations

import dataclasses
import json

import pytest

from longmab_pl.engines.protocol import Sampling
from longmab_pl.errors import DataError
from longmab_pl.models.embedder import Embedder
from longmab_pl.pairs.best_worst import BestWorst
from longmab_pl.prompts.formats import DirectAnswer, PromptFormat, ReasonThenAnswer
from longmab_pl.storage.fingerprint import describe, digest, rebuild
from longmab_pl.strategies.bandit.strategy import BanditRollout, Chunking
from longmab_pl.strategies.best_of_n import BestOfN


def test_descriptions_hold_the_public_name_and_what_is_not_default():
    assert describe(BestWorst()) == {"class": "longmab_pl.pairs.BestWorst"}
    assert describe(BestWorst(min_margin=0.5)) == {"class": "longmab_pl.pairs.BestWorst", "min_margin": 0.5}
    assert describe(Embedder(query_prompt="query: ", batch_size=7)) == {
        "class": "longmab_pl.models.Embedder",
        "query_prompt": "query: ",
    }


def test_defaults_are_left_out_of_nested_settings_too():
    default = BanditRollout()
    assert describe(default) == {"class": "longmab_pl.strategies.BanditRollout"}
    changed = dataclasses.replace(default, chunking=dataclasses.replace(default.chunking, chunk_size=77))
    assert describe(changed) == {
        "class": "longmab_pl.strategies.BanditRollout",
        "chunking": {"class": "longmab_pl.strategies.Chunking", "chunk_size": 77},
    }
    assert Chunking(chunk_size=77) == changed.chunking


def test_a_new_option_with_its_default_changes_no_fingerprint():
    @dataclasses.dataclass(frozen=True)
    class Before:
        pulls: int = 4

    @dataclasses.dataclass(frozen=True)
    class After:
        pulls: int = 4
        patience: int | None = None
        inner: BestWorst = dataclasses.field(default_factory=BestWorst)

    def of(component):
        return digest({**describe(component), "class": "the same"})

    assert of(Before(5)) == of(After(5))
    assert of(After(5)) != of(After(5, patience=1))
    assert of(After(5)) != of(After(5, inner=BestWorst(min_margin=0.1)))


@pytest.mark.parametrize(
    "component",
    [BestWorst(), BestWorst(min_margin=0.25, distinct="answer"), DirectAnswer(prefill="A:"), ReasonThenAnswer()],
)
def test_a_description_that_went_through_a_file_gives_the_component_again(component):
    kind = BestWorst if isinstance(component, BestWorst) else PromptFormat
    assert rebuild(json.loads(json.dumps(describe(component))), kind) == component


@pytest.mark.parametrize(
    ("described", "complaint"),
    [
        ({"class": "os.system", "command": "touch harm"}, "none of the public classes"),
        ({"class": "longmab_pl.pairs.BestWorst", "min_margin": {"class": "os.system"}}, "a class where none belongs"),
        (
            {"class": "longmab_pl.pairs.BestWorst", "by": [{"class": "longmab_pl.models.Embedder"}]},
            "a class where none belongs",
        ),
        ({"class": "longmab_pl.pairs.BestWorst", "margin": 1}, "cannot make the file's BestWorst again"),
        ({"class": 3}, "describes no BestWorst"),
        ([], "describes no BestWorst"),
        (None, "describes no BestWorst"),
    ],
)
def test_a_description_of_anything_else_is_refused(described, complaint, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=complaint):
        rebuild(described, BestWorst)
    assert not list(tmp_path.iterdir())


def test_a_setting_takes_classes_of_the_kinds_that_it_declares():
    rollout = BestOfN(4, Sampling(temperature=0.5, max_tokens=9))
    assert rebuild(json.loads(json.dumps(describe(rollout))), BestOfN) == rollout
    other = {**describe(rollout), "sampling": describe(DirectAnswer(prefill="A:"))}
    with pytest.raises(DataError, match="is not a Sampling"):
        rebuild(other, BestOfN)


def test_a_class_whose_settings_name_code_is_not_made_from_a_file(tmp_path, monkeypatch):
    (tmp_path / "harmful.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()\nclass Boom: ...\n")
    monkeypatch.syspath_prepend(tmp_path)
    bandit = {"class": "longmab_pl.bandits.BanditSettings", "policy": "harmful.Boom"}
    with pytest.raises(DataError, match="a class where none belongs"):
        rebuild({"class": "longmab_pl.pairs.BestWorst", "min_margin": bandit}, BestWorst)
    assert not (tmp_path / "ran").exists()
