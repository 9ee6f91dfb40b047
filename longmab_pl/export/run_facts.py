"""Facts of a run folder for its model card: rounds, settings and scores."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from longmab_pl.errors import DataError
from longmab_pl.evaluation.entry import EvaluationEntry
from longmab_pl.models.bundled import BUNDLED_PREFIX
from longmab_pl.reporting.run_report import load_report
from longmab_pl.reporting.run_settings import FOLDER, saved_config

HUB_NAMES = {"bundled:smollm2-135m-instruct": "HuggingFaceTB/SmolLM2-135M-Instruct"}
"""Hub names of the bundled models (the weights on the hub were never stored in 4 bits)."""


@dataclass(frozen=True)
class RunFacts:
    """The facts of a model card.

    Args:
        base_model: as training or the user named it.
        digest: digest of the adapter ("base" for one that changes nothing).
        lora: PEFT's configuration.
        step: optimizer steps, if known.
        config: the run's configuration as LightningCLI saved it; empty without a run.
        rounds: `round.json` of every round that the adapter was trained on, in order.
        evaluations: evaluations in the order of optimizer steps.
    """

    base_model: str
    digest: str
    lora: Mapping[str, Any]
    step: int | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    rounds: Sequence[Mapping[str, Any]] = ()
    evaluations: Sequence[EvaluationEntry] = ()

    @property
    def own(self) -> list[EvaluationEntry]:
        """Evaluations of exactly this adapter."""
        return [entry for entry in self.evaluations if entry.policy.endswith(f"+ {self.digest}")]

    @property
    def hub_name(self) -> str | None:
        """The base model's name on the hub, if it has one."""
        name = HUB_NAMES.get(self.base_model, self.base_model)
        local = name.startswith(BUNDLED_PREFIX) or FOLDER.match(name) or Path(name).exists()
        return None if local or not re.fullmatch(r"[\w.-]+(?:/[\w.-]+)?", name) else name


def read_run(run: Path | None, *, base_model: str, digest: str, lora: Mapping[str, Any], step: int | None) -> RunFacts:
    """Read the facts of a card from a run folder.

    Args:
        run: the run folder, or None for an adapter from elsewhere.
        base_model, digest, lora, step: see `RunFacts`.

    Raises:
        DataError: a file of the run is damaged.
    """
    if run is None:
        return RunFacts(base_model, digest, lora, step)
    config = saved_config(run)
    model = config.get("model")
    named = model.get("model") if isinstance(model, dict) else None
    if isinstance(named, str) and FOLDER.match(base_model) and not FOLDER.match(named):
        base_model = named  # adapter folders record the base model's folder, runs its name
    evaluations = load_report(run).evaluations if (run / "report.json").is_file() else ()
    ordered = sorted(evaluations, key=lambda entry: (entry.step, entry.round))
    return RunFacts(base_model, digest, lora, step, config, _rounds(run, step), ordered)


def _rounds(run: Path, step: int | None) -> list[Mapping[str, Any]]:
    """Return the rounds whose pairs were trained on before this step."""
    rounds: dict[int, Mapping[str, Any]] = {}
    # A changed setting starts a new round folder: the newest one is what was trained on.
    for path in sorted((run / "rounds").glob("*/round.json"), key=lambda p: p.stat().st_mtime):
        try:
            row = json.loads(path.read_text(encoding="utf-8"))
            number, made_at = int(row["round"]), str(row.get("policy", "")).removeprefix("step-")
            pairs = {key: float(value) for key, value in row["statistics"].items()}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(f"{path} is damaged ({type(error).__name__}); move it away to export without it") from error
        if step is None or not made_at.isdigit() or int(made_at) < max(step, 1):
            rounds[number] = {"round": number, "statistics": pairs}
    return [rounds[number] for number in sorted(rounds)]
