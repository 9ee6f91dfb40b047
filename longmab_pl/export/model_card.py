"""A model card from what a run left in its folder: data, method, rounds, settings and scores."""

from __future__ import annotations

import importlib
import inspect
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from longmab_pl.errors import DataError
from longmab_pl.evaluation.entry import EvaluationEntry
from longmab_pl.models.bundled import BUNDLED_PREFIX
from longmab_pl.reporting.run_report import load_report, measured_metrics
from longmab_pl.storage.files import atomic_write

if TYPE_CHECKING:
    from longmab_pl.export.merge import MergeFidelity

HUB_NAMES = {"bundled:smollm2-135m-instruct": "HuggingFaceTB/SmolLM2-135M-Instruct"}
"""What the bundled models are on the hub (there with weights that have not been through a 4-bit file)."""

_SECRET = re.compile(r"key|token$|secret|password|credential", re.IGNORECASE)
_FOLDER = re.compile(r"^(?:[~.]{0,2}/|[A-Za-z]:\\)")


@dataclass(frozen=True)
class RunFacts:
    """All that a card says.

    Args:
        base_model: as training or the person named it.
        digest: of the adapter ("base" for one that changes nothing).
        lora: PEFT's configuration.
        step: optimizer steps, if known.
        config: the run's configuration as LightningCLI saved it; empty without a run.
        rounds: `round.json` of every round that went into the adapter.
        evaluations: of every suite and task, in the order they were made.
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
        return [e for e in self.evaluations if e.policy.endswith(f"+ {self.digest}")]

    @property
    def hub_name(self) -> str | None:
        """The base model's name on the hub, if it has one."""
        name = HUB_NAMES.get(self.base_model, self.base_model)
        local = name.startswith(BUNDLED_PREFIX) or _FOLDER.match(name) or Path(name).exists()
        return None if local else name


def read_run(run: Path | None, *, base_model: str, digest: str, lora: Mapping[str, Any], step: int | None) -> RunFacts:
    """Gather the facts of a card.

    Args:
        run: the run folder, or None for an adapter from elsewhere.
        base_model, digest, lora, step: see `RunFacts`.

    Raises:
        DataError: a file of the run is damaged.
    """
    if run is None:
        return RunFacts(base_model, digest, lora, step)
    config = _config(run)
    named = _section(config, "model").get("model")
    if isinstance(named, str) and _FOLDER.match(base_model) and not _FOLDER.match(named):
        base_model = named  # adapter folders record where the base model lay, runs what it was called
    rounds: dict[int, Mapping[str, Any]] = {}
    # A changed setting starts a round's folder anew: the newest one is what was trained on.
    for path in sorted((run / "rounds").glob("*/round.json"), key=lambda p: p.stat().st_mtime):
        row = _json(path)
        made_at = str(row.get("policy", "")).removeprefix("step-")
        if step is None or not made_at.isdigit() or int(made_at) < max(step, 1):
            rounds[int(row["round"])] = row
    evaluations = load_report(run).evaluations if (run / "report.json").is_file() else ()
    return RunFacts(base_model, digest, lora, step, config, [rounds[number] for number in sorted(rounds)], evaluations)


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{path} is not JSON: {error}; move it away to export without it") from error


def _config(run: Path) -> Mapping[str, Any]:
    import yaml

    saved = sorted(run.rglob("config.yaml"), key=lambda p: p.stat().st_mtime)
    if not saved:
        return {}
    config = yaml.safe_load(saved[-1].read_text(encoding="utf-8"))
    return config if isinstance(config, dict) else {}


def write_card(folder: Path, facts: RunFacts, merged: tuple[str, MergeFidelity] | None = None) -> Path:
    """Write README.md with its front matter.

    Args:
        folder: of the adapter or the merged model; its name becomes the card's title together with the base model's.
        facts: what to say.
        merged: number format and losses of a merged model; None for an adapter.

    Returns:
        The card's path.
    """
    path = folder / "README.md"
    with atomic_write(path) as file:
        file.write(card(facts, merged))
    return path


def card(facts: RunFacts, merged: tuple[str, MergeFidelity] | None = None) -> str:
    """The card's text: YAML front matter and Markdown."""
    parts = [
        f"---\n{_front_matter(facts, merged)}\n---\n",
        f"# {_title(facts)}\n",
        _introduction(facts, merged),
        _use(facts, merged),
        _scores(facts),
        _training(facts),
        _settings(facts),
        _remarks(facts, merged),
    ]
    return "\n".join(part for part in parts if part).rstrip() + "\n"


def _short(name: str) -> str:
    return name.rstrip("/").rpartition("/")[2].removeprefix(BUNDLED_PREFIX)


def _title(facts: RunFacts) -> str:
    return f"{_short(facts.hub_name or facts.base_model)}-{'longmab' if facts.rounds else 'dpo'}"


def _front_matter(facts: RunFacts, merged: tuple[str, MergeFidelity] | None) -> str:
    from huggingface_hub import EvalResult, ModelCardData

    results = [
        EvalResult(
            task_type="question-answering",
            task_name="long-context question answering",
            dataset_type="custom",
            dataset_name=f"{e.name} ({e.n} questions)",
            metric_type=metric,
            metric_name=metric,
            metric_value=e.scores[metric].value,
        )
        for e in facts.own
        for metric in measured_metrics(e)
    ]
    train = _init_args(facts.config.get("data")).get("train")
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


def _introduction(facts: RunFacts, merged: tuple[str, MergeFidelity] | None) -> str:
    what = f"A {merged[0]} model: a LoRA adapter merged into" if merged else "A LoRA adapter for"
    base = (
        f"[{facts.hub_name}](https://huggingface.co/{facts.hub_name})"
        if facts.hub_name
        else f"`{_short(facts.base_model)}`"
    )
    trained = ", trained on preference pairs"
    if facts.rounds:
        pairs = sum(int(row["statistics"].get("pairs/count", 0)) for row in facts.rounds)
        rounds = f"{len(facts.rounds)} on-policy round" + ("s" if len(facts.rounds) > 1 else "")
        trained = f", trained by direct preference optimization on {pairs:,} pairs of its own answers from {rounds}"
    steps = f" ({facts.step:,} optimizer steps)" if facts.step else ""
    return f"{what} {base}{trained}{steps}.\n"


def _use(facts: RunFacts, merged: tuple[str, MergeFidelity] | None) -> str:
    base = facts.hub_name or "BASE_MODEL"
    rank = facts.lora.get("r", 16)
    if merged:
        load = """from transformers import AutoModelForCausalLM, AutoTokenizer

model = AutoModelForCausalLM.from_pretrained("THIS_FOLDER", dtype="auto")
tokenizer = AutoTokenizer.from_pretrained("THIS_FOLDER")"""
        serve = "vllm serve THIS_FOLDER"
    else:
        load = f"""from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

base = AutoModelForCausalLM.from_pretrained("{base}", dtype="auto")
model = PeftModel.from_pretrained(base, "THIS_FOLDER")
tokenizer = AutoTokenizer.from_pretrained("THIS_FOLDER")"""
        serve = f"vllm serve {base} --enable-lora --max-lora-rank {rank} --lora-modules longmab=THIS_FOLDER"
    text = f"## Use\n\n```python\n{load}\n```\n\n```bash\n{serve}\n```\n"
    prompt_format = _init_args(facts.config.get("data")).get("prompt_format")
    if prompt_format:
        name, settings = _class_and_args(prompt_format)
        text += f"\nIt was trained on prompts of the prompt format `{name}`"
        template = settings.get("template")
        text += f":\n\n```\n{template}\n```\n" if template else ".\n"
        if settings.get("prefill"):
            text += f"\nThe assistant's turn was prefilled with `{settings['prefill']}`.\n"
    return text


def _scores(facts: RunFacts) -> str:
    if not facts.evaluations:
        return "## Scores\n\nNone were measured in this run.\n"
    lines = ["## Scores", "", "0 to 100, with 95% bootstrap intervals over the questions.", ""]
    for name in dict.fromkeys(e.name for e in facts.evaluations):
        rows = [e for e in facts.evaluations if e.name == name]
        metrics = list(dict.fromkeys(metric for e in rows for metric in measured_metrics(e)))
        lines += [f"| {name} | questions | " + " | ".join(metrics) + " |", "| --- |" + " ---: |" * (len(metrics) + 1)]
        for e in rows:
            cells = [str(e.scores[metric]) if metric in e.scores else "" for metric in metrics]
            when = "before training" if e.policy.endswith("+ base") else e.when
            mark = " (**this one**)" if e in facts.own else ""
            lines.append(f"| {when}{mark} | {e.n} | " + " | ".join(cells) + " |")
        lines.append("")
    if not facts.own:
        lines += ["This very adapter was not evaluated.", ""]
    return "\n".join(lines)


def _training(facts: RunFacts) -> str:
    if not facts.config and not facts.rounds:
        return ""
    data = _init_args(facts.config.get("data"))
    lines = ["## Data and method", ""]
    if isinstance(data.get("train"), str):
        lines.append(f"- {'Records' if facts.rounds else 'Preference pairs'}: `{_public(data['train'])}`.")
    if data.get("strategy"):
        lines.append(f"- Answers: {_described(data['strategy'])}")
        bandit = _class_and_args(data["strategy"])[1].get("bandit")
        if isinstance(bandit, dict) and bandit.get("policy"):
            lines.append(f"- Bandit policy: `{bandit['policy']}`.")
    if data.get("reward"):
        lines.append(f"- Reward: {_described(data['reward'])}")
    loss = _section(facts.config, "model").get("loss") or {"class_path": "longmab_pl.training.losses.SigmoidDPO"}
    lines.append(f"- Loss: {_described(loss)}")
    if not facts.rounds:
        return "\n".join(lines) + "\n"
    columns = {
        "records": ("rollout/records", "{:.0f}"),
        "answers": ("rollout/responses", "{:.0f}"),
        "mean reward": ("rollout/reward", "{:.3f}"),
        "pairs": ("pairs/count", "{:.0f}"),
        "reward of chosen": ("pairs/chosen_reward", "{:.2f}"),
        "of rejected": ("pairs/rejected_reward", "{:.2f}"),
    }
    lines += ["", "| round | " + " | ".join(columns) + " |", "| ---: |" + " ---: |" * len(columns)]
    for row in facts.rounds:
        found = row["statistics"]
        cells = [form.format(found[key]) if key in found else "" for key, form in columns.values()]
        lines.append(f"| {int(row['round']) + 1} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _settings(facts: RunFacts) -> str:
    import yaml

    config = facts.config
    if not config:
        named = ("r", "lora_alpha", "lora_dropout", "use_rslora", "use_dora")
        kept: dict[str, Any] = {"lora": {key: facts.lora[key] for key in named if key in facts.lora}}
    else:
        trainer = _section(config, "trainer")
        asked = ("max_epochs", "max_steps", "accumulate_grad_batches", "gradient_clip_val", "devices", "strategy")
        kept = {
            "seed_everything": config.get("seed_everything"),
            "trainer": {key: trainer[key] for key in asked if trainer.get(key) not in (None, -1, "auto")},
            "model": config.get("model"),
            "data": config.get("data"),
        }
    text = yaml.safe_dump(_public(kept), sort_keys=False, allow_unicode=True, width=100)
    return f"## Settings\n\n<details><summary>configuration</summary>\n\n```yaml\n{text}```\n\n</details>\n"


def _remarks(facts: RunFacts, merged: tuple[str, MergeFidelity] | None) -> str:
    from longmab_pl import __version__

    lines = ["## Good to know", ""]
    if facts.base_model.startswith(BUNDLED_PREFIX):
        lines.append(
            f"- Training used the copy of {facts.hub_name} that longmab_pl bundles, a 4-bit (Q4_1) file put back into "
            "16 bits: its weights differ slightly from those on the hub."
        )
    if _section(facts.config, "model").get("quantization", "none") == "nf4":
        lines.append("- The adapter was trained on the base model in NF4 (QLoRA).")
    if merged:
        dtype, kept = merged
        lines.append(
            "- Merged in float32 into the base model's original weights, never into 4-bit ones, then rounded once to "
            f"{dtype}. On {kept.texts} texts it shows {kept}; the adapter itself moves a token's log-probability by "
            f"{kept.change:.3f} nats (root mean square)."
        )
    lines.append("- Where no score is given above, nothing was measured. The base model's license and limits apply.")
    lines.append(f"- Made with longmab_pl {__version__}; versions: {_versions()}.")
    return "\n".join(lines) + "\n"


def _versions() -> str:
    from importlib.metadata import PackageNotFoundError, version

    found = []
    for package in ("torch", "lightning", "transformers", "peft", "vllm"):
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    return ", ".join(found)


def _section(config: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    section = config.get(name)
    return section if isinstance(section, dict) else {}


def _init_args(component: Any) -> Mapping[str, Any]:
    return _class_and_args(component)[1] if isinstance(component, dict) else {}


def _class_and_args(component: Any) -> tuple[str, Mapping[str, Any]]:
    """Class name and settings of a component as LightningCLI saves it."""
    if isinstance(component, str):
        return component.rpartition(".")[2], {}
    return str(component.get("class_path", "")).rpartition(".")[2], component.get("init_args") or {}


def _described(component: Any) -> str:
    """A component's class name and the first sentence of what the class says of itself."""
    path = component if isinstance(component, str) else str(component.get("class_path", ""))
    module, _, name = path.rpartition(".")
    try:
        doc = inspect.getdoc(getattr(importlib.import_module(module), name)) or ""
    except (ImportError, AttributeError, ValueError):
        return f"`{name or path}`."
    first = " ".join(doc.partition("\n\n")[0].split())
    return f"`{name}`: {first}" if first else f"`{name}`."


def _public(value: Any, name: str = "") -> Any:
    """Settings without what is nobody's business: passwords, and where folders lie on the training machine."""
    if isinstance(value, dict):
        return {key: _public(inner, str(key)) for key, inner in value.items() if inner is not None}
    if isinstance(value, list):
        return [_public(inner, name) for inner in value]
    if isinstance(value, str) and _SECRET.search(name):
        return "(left out)"
    if isinstance(value, str) and _FOLDER.match(value):
        return "…/" + _short(value)
    return value
