"""Which numbers of processes can share a sequence, said before anything is loaded."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from lightning import Trainer

from longmab_pl.errors import ConfigError
from longmab_pl.training import DPOModule
from longmab_pl.training.split_limits import uneven_heads, uneven_processes
from longmab_pl.training.split_logps import refuse_unsplittable


def test_processes_and_heads_are_divisible() -> None:
    assert uneven_processes(1, 1) is uneven_processes(4, 8) is uneven_heads(4, 28) is None
    assert "is 4, and the run has 6 processes: every sequence takes 4;" in (uneven_processes(4, 6) or "")
    assert "is 8, but the model's 28 attention heads cannot be divided by it; use one of 1, 2, 4, 7, 14, 28" in (
        uneven_heads(8, 28) or ""
    )


def test_rotary_embeddings_of_the_whole_length_are_refused(tiny_model: Callable[..., str]) -> None:
    refuse_unsplittable(tiny_model("llama"), 2)
    rope = {"rope_type": "dynamic", "factor": 4.0, "rope_theta": 10000.0}
    with pytest.raises(ConfigError, match=r"sequence_parallel is 2.*rotary embeddings \(dynamic\) depend on"):
        refuse_unsplittable(tiny_model("llama", rope_parameters=rope), 2)


def test_a_module_refuses_before_it_loads(tiny_model: Callable[..., str]) -> None:
    with pytest.raises(ConfigError, match="sequence_parallel is 0"):
        DPOModule("somewhere", sequence_parallel=0)
    with pytest.raises(ConfigError, match=r"detached.*one process, and model.sequence_parallel is 2"):
        DPOModule("somewhere", sequence_parallel=2, prompt_gradient="detached")
    module = DPOModule(tiny_model("llama"), sequence_parallel=3)
    module.trainer = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False)
    with pytest.raises(ConfigError, match="sequence_parallel is 3, and the run has one process"):
        module.setup("fit")
    with pytest.raises(ConfigError, match="the model's 4 attention heads"):
        module.configure_model()
    assert module.policy is None
