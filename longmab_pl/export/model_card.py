"""Model cards: `model_card.md.j2` filled with the facts of a run folder.

Names, paths and texts come from data, so the template escapes them: HTML is shown as text, and code cannot end its
fence.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from longmab_pl.errors import DataError
from longmab_pl.export.run_facts import RunFacts
from longmab_pl.exports import find_class
from longmab_pl.models.bundled import BUNDLED_PREFIX
from longmab_pl.reporting.run_report import measured_metrics
from longmab_pl.reporting.run_settings import class_and_args, init_args, public, section, short_name, shown_config
from longmab_pl.reporting.versions import installed_versions
from longmab_pl.shown import printable, shown
from longmab_pl.storage.files import atomic_write

if TYPE_CHECKING:
    from longmab_pl.export.merge import MergeFidelity

TEMPLATE = "model_card.md.j2"

BLOCK_CHARACTERS = 20_000
"""Longest block of settings that a card shows, in characters."""

ROUND_COLUMNS = {
    "records": ("rollout/records", "{:.0f}"),
    "answers": ("rollout/responses", "{:.0f}"),
    "mean reward": ("rollout/reward", "{:.3f}"),
    "pairs": ("pairs/count", "{:.0f}"),
    "reward of chosen": ("pairs/chosen_reward", "{:.2f}"),
    "of rejected": ("pairs/rejected_reward", "{:.2f}"),
}
"""Title -> key of a round's statistic, and its number format."""


def write_card(folder: Path, facts: RunFacts, merged: tuple[str, MergeFidelity] | None = None) -> Path:
    """Write README.md with its front matter.

    Args:
        folder: folder of the adapter or the merged model.
        facts: what the card states.
        merged: number format and fidelity of a merged model; None for an adapter.

    Returns:
        The card's path.
    """
    path = folder / "README.md"
    with atomic_write(path) as file:
        file.write(card(facts, merged))
    return path


def card(facts: RunFacts, merged: tuple[str, MergeFidelity] | None = None) -> str:
    """Return the card's text: YAML front matter and Markdown."""
    from longmab_pl import __version__

    environment = Environment(
        loader=PackageLoader("longmab_pl.export", "."),
        autoescape=True,
        undefined=StrictUndefined,
        keep_trailing_newline=True,
    )
    environment.filters |= {"code": inline_code, "fence": fence, "cell": cell}
    data = init_args(facts.config.get("data"))
    train = data.get("train")
    text = environment.get_template(TEMPLATE).render(
        front_matter=Markup(_front_matter(facts, merged is not None)),
        title=_title(facts),
        hub_name=facts.hub_name,
        base_name=short_name(facts.base_model),
        merged={"dtype": merged[0], "kept": merged[1]} if merged else None,
        rounds=facts.rounds,
        pairs=int(sum(row["statistics"].get("pairs/count", 0) for row in facts.rounds)),
        step=facts.step,
        rank=int(facts.lora.get("r", 16)),
        prompt_format=_prompt_format(data),
        score_tables=_score_tables(facts),
        own_scores=bool(facts.own),
        train=public(train) if isinstance(train, str) else "",
        described=_described_parts(facts, data),
        bandit_policy=_bandit_policy(data),
        round_columns=list(ROUND_COLUMNS),
        round_rows=_round_rows(facts),
        settings=_settings(facts),
        bundled=facts.base_model.startswith(BUNDLED_PREFIX),
        qlora=section(facts.config, "model").get("quantization", "none") == "nf4",
        version=__version__,
        versions=_versions(),
    )
    return re.sub(r"\n{3,}", "\n\n", text).rstrip() + "\n"


# ---------------------------------------------------------------------- escaping in the template


def cell(text: object) -> Markup:
    """Return a text for a table's cell, in one line."""
    return Markup(escape(shown(str(text), 200)).replace("|", "&#124;"))


def inline_code(text: object) -> Markup:
    """Return a text as inline code, whatever backticks it holds."""
    line = shown(str(text), 300)
    ticks = "`" * (_longest_ticks(line) + 1)
    blank = " " if line.startswith("`") or line.endswith("`") else ""
    return Markup(f"{ticks}{blank}{escape(line) if '<' in line else line}{blank}{ticks}")


def fence(text: object, language: str = "") -> Markup:
    """Return a text as a block of code that nothing in it can end, without control characters and of bounded length."""
    text = printable(str(text), BLOCK_CHARACTERS)
    ticks = "`" * max(3, _longest_ticks(str(text)) + 1)
    return Markup(f"{ticks}{language}\n{str(text).rstrip()}\n{ticks}")


def _longest_ticks(text: str) -> int:
    return max(map(len, re.findall("`+", text)), default=0)


# ---------------------------------------------------------------------- values of the template


def _title(facts: RunFacts) -> str:
    return shown(f"{short_name(facts.hub_name or facts.base_model)}-{'longmab' if facts.rounds else 'dpo'}", 200)


def _front_matter(facts: RunFacts, merged: bool) -> str:
    from huggingface_hub import EvalResult, ModelCardData

    results = [
        EvalResult(
            task_type="question-answering",
            task_name="long-context question answering",
            dataset_type="custom",
            dataset_name=str(escape(f"{shown(entry.name, 200)} ({entry.n} questions)")),
            metric_type=str(escape(metric)),
            metric_name=str(escape(metric)),
            metric_value=entry.scores[metric].value,
        )
        for entry in facts.own
        for metric in measured_metrics(entry)
    ]
    train = init_args(facts.config.get("data")).get("train")
    on_hub = isinstance(train, str) and re.fullmatch(r"[\w.-]+/[\w.-]+(?::.*)?", train) and not Path(train).exists()
    related: dict[str, Any] = (
        {"base_model_relation": "finetune" if merged else "adapter"} if facts.hub_name is not None else {}
    )
    data = ModelCardData(
        base_model=facts.hub_name,
        datasets=[train.partition(":")[0]] if on_hub and isinstance(train, str) else None,
        library_name="transformers" if merged else "peft",
        pipeline_tag="text-generation",
        tags=[*(() if merged else ("lora",)), "dpo", "preference-optimization", "long-context", "longmab-pl"],
        model_name=_title(facts) if results else None,
        eval_results=results or None,
        **related,
    )
    text: str = data.to_yaml()
    return text.strip()


def _prompt_format(data: Mapping[str, Any]) -> Mapping[str, Any] | None:
    if not data.get("prompt_format"):
        return None
    name, settings = class_and_args(data["prompt_format"])
    return {"name": name, "template": settings.get("template"), "prefill": settings.get("prefill")}


def _score_tables(facts: RunFacts) -> list[dict[str, Any]]:
    """Return a table for each suite and task, with a row for each evaluation."""
    own, tables = facts.own, []
    for name in dict.fromkeys(entry.name for entry in facts.evaluations):
        entries = [entry for entry in facts.evaluations if entry.name == name]
        metrics = list(dict.fromkeys(metric for entry in entries for metric in measured_metrics(entry)))
        rows = [
            {
                "when": "before training" if entry.policy.endswith("+ base") else entry.when,
                "own": entry in own,
                "n": entry.n,
                "cells": [str(entry.scores.get(metric, "")) for metric in metrics],
            }
            for entry in entries
        ]
        tables.append({"name": name, "metrics": metrics, "rows": rows})
    return tables


def _described_parts(facts: RunFacts, data: Mapping[str, Any]) -> list[dict[str, str]]:
    if not facts.config and not facts.rounds:
        return []
    parts = [_described("Answers", data["strategy"])] if data.get("strategy") else []
    model = section(facts.config, "model")
    phases = [_described("Phase", phase) for phase in model.get("phases") or []]
    if phases and all(phase["name"] == "SFTPhase" for phase in phases):
        return [*parts, *phases]
    return [*parts, *phases, _described("Loss", model.get("loss") or "longmab_pl.training.losses.SigmoidDPO")]


def _described(what: str, component: Any) -> dict[str, str]:
    """Return a component's class name and, for a class of this package, the first sentence of its docstring."""
    path = component if isinstance(component, str) else str(component.get("class_path", ""))
    says = ""
    try:
        doc = inspect.getdoc(find_class(path, object)) or ""
        says = " ".join(doc.partition("\n\n")[0].split())
    except DataError:  # a class of another package: nothing is imported because a file names it
        pass
    return {"what": what, "name": path.rpartition(".")[2] or path, "says": says}


def _bandit_policy(data: Mapping[str, Any]) -> str:
    bandit = init_args(data.get("strategy")).get("bandit")
    return str(bandit.get("policy") or "") if isinstance(bandit, dict) else ""


def _round_rows(facts: RunFacts) -> list[dict[str, Any]]:
    return [
        {
            "round": row["round"] + 1,
            "cells": [
                form.format(row["statistics"][key]) if key in row["statistics"] else ""
                for key, form in ROUND_COLUMNS.values()
            ],
        }
        for row in facts.rounds
    ]


def _settings(facts: RunFacts) -> str:
    import yaml

    config = facts.config
    if not config:
        named = ("r", "lora_alpha", "lora_dropout", "use_rslora", "use_dora")
        kept: dict[str, Any] = {"lora": {key: facts.lora[key] for key in named if key in facts.lora}}
    else:
        kept = shown_config(config)
    return yaml.safe_dump(public(kept), sort_keys=False, allow_unicode=True, width=100)


def _versions() -> str:
    found = installed_versions(("torch", "lightning", "transformers", "peft", "vllm"))
    return ", ".join(f"{package} {version}" for package, version in found.items())
