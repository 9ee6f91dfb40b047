"""Do the scores of `longmab evaluate` equal those of a plain Transformers loop? Checked on a sample of a finished run.

    longmab evaluate --model MODEL --suite longmab_pl.evaluation.LongBenchSuite --suite.data FOLDER --out runs/lb
    python studies/evaluation_parity.py --model MODEL --data FOLDER --predictions runs/lb/longbench --sample 3

For every sampled record the prompt is made again by the official program's steps (fill, cut the middle, chat template),
written here without the package's own code, answered by `model.generate` in float32, greedily, and scored. Where two
texts part, the gap between the two best logits at that token is reported: rounding decides ties, and only those.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from pathlib import Path
from typing import Any

import torch

from longmab_pl.evaluation.longbench.loading import LongBenchItem, load_items
from longmab_pl.evaluation.longbench.metrics import spec_metric
from longmab_pl.evaluation.longbench.task import LongBenchTask
from longmab_pl.models.hub import resolve_model

TIE = 1e-2
"""Logits of float32 models that differ by less were computed in another order of summation, not differently."""


def official_prompt(tokenizer: Any, settings: dict[str, Any], item: LongBenchItem) -> list[int]:
    """Token ids as LongBench's `pred.py` makes them from the same template and length."""
    text = settings["prompt"].replace("{context}", item.context).replace("{input}", item.question)
    ids = tokenizer(text, truncation=False)["input_ids"]
    most = settings["max_prompt_tokens"]
    if most is not None and len(ids) > most:
        half = most // 2
        text = tokenizer.decode(ids[:half], skip_special_tokens=True)
        text += tokenizer.decode(ids[-half:], skip_special_tokens=True)
    if not settings["chat"] or not tokenizer.chat_template:
        return list(tokenizer(text)["input_ids"])
    turn = [{"role": "user", "content": text}]
    return list(tokenizer.apply_chat_template(turn, add_generation_prompt=True, return_dict=True)["input_ids"])


def greedy(model: Any, tokenizer: Any, ids: list[int], most: int) -> tuple[str, list[int], list[float]]:
    """The text, its token ids, and at each of them the gap between the two best logits."""
    with torch.no_grad():
        out = model.generate(
            torch.tensor([ids]),
            attention_mask=torch.ones(1, len(ids), dtype=torch.long),
            max_new_tokens=most,
            do_sample=False,
            output_logits=True,
            return_dict_in_generate=True,
            pad_token_id=tokenizer.pad_token_id or tokenizer.eos_token_id,
        )
    new = out.sequences[0, len(ids) :].tolist()
    gaps = [float(-logits[0].topk(2).values.diff()) for logits in out.logits]
    # Where the token limit cuts a character in two, vLLM leaves the half out and Transformers writes U+FFFD for it.
    return tokenizer.decode(new, skip_special_tokens=True).rstrip("\ufffd"), new, gaps


def parting_gap(tokenizer: Any, new: list[int], gaps: list[float], other: str) -> float:
    """The logit gap at the first token after which this text is no longer the beginning of the other one."""
    for step in range(len(new)):
        if not other.startswith(tokenizer.decode(new[: step + 1], skip_special_tokens=True).rstrip("\ufffd")):
            return gaps[step]
    return gaps[-1]  # the other text goes on where this one ends


def check_task(args: argparse.Namespace, task: str, model: Any, tokenizer: Any) -> dict[str, Any]:
    """Compare a sample of one task's predictions."""
    folder = Path(args.predictions)
    settings = json.loads((folder / f"{task}.settings.json").read_text(encoding="utf-8"))
    rows = [json.loads(line) for line in (folder / f"{task}.jsonl").read_text(encoding="utf-8").splitlines()]
    predictions = {row["id"]: row for row in rows}
    items, spec, _ = load_items(args.data, task)
    items = [item for item in items if item.id in predictions]
    drawn = random.Random(args.seed).sample(items, min(args.sample, len(items)))
    mine = LongBenchTask(task, items, spec, max_prompt_tokens=settings["max_prompt_tokens"])
    found: dict[str, Any] = {"task": task, "n": len(drawn), "prompts": 0, "texts": 0, "scores": 0, "parted": []}
    totals = {"engine": 0.0, "transformers": 0.0}
    for item in drawn:
        ids = official_prompt(tokenizer, settings, item)
        same_ids = tuple(ids) == mine.prompt(item, tokenizer, settings["max_model_len"]).ids
        found["prompts"] += same_ids and len(ids) == predictions[item.id]["prompt_tokens"]
        started = time.monotonic()
        text, new, gaps = greedy(model, tokenizer, ids, settings["sampling"]["max_tokens"])
        other = predictions[item.id]["pred"]
        pair = {
            name: 100 * spec_metric(spec).score(said, item.answers, item.all_classes).scores[spec.metric]
            for name, said in (("engine", other), ("transformers", text))
        }
        for name, value in pair.items():
            totals[name] += value / len(drawn)
        found["texts"] += text == other
        found["scores"] += pair["engine"] == pair["transformers"]
        if text != other:
            gap = parting_gap(tokenizer, new, gaps, other)
            found["parted"].append({"id": item.id, "logit_gap": gap, "tie": gap < TIE, **pair})
        seconds = time.monotonic() - started
        print(f"{task} {item.id[:12]}: {len(ids)} tokens, {seconds:.0f} s, equal: {text == other}", flush=True)
    return found | {"score": totals}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="bundled:smollm2-135m-instruct")
    parser.add_argument("--data", required=True)
    parser.add_argument("--predictions", required=True, help="folder that `longmab evaluate` wrote")
    parser.add_argument("--sample", type=int, default=3, help="records of each task")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", help="write the comparison to this file")
    args = parser.parse_args()
    from transformers import AutoModelForCausalLM, AutoTokenizer

    path = resolve_model(args.model)
    tokenizer = AutoTokenizer.from_pretrained(path)
    model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()
    tasks = sorted(p.name.removesuffix(".settings.json") for p in Path(args.predictions).glob("*.settings.json"))
    found = [check_task(args, task, model, tokenizer) for task in tasks]
    print(
        f"\n{'task':24}{'n':>4}{'prompts equal':>15}{'texts equal':>13}{'scores equal':>14}{'engine':>9}{'direct':>9}"
    )
    for row in found:
        print(
            f"{row['task']:24}{row['n']:4}{row['prompts']:15}{row['texts']:13}{row['scores']:14}"
            f"{row['score']['engine']:9.2f}{row['score']['transformers']:9.2f}"
        )
        for parted in row["parted"]:
            why = "a tie" if parted["tie"] else "not a tie"
            print(
                f"    {parted['id'][:16]}: parts where the two best logits are {parted['logit_gap']:.1e} apart: {why}"
            )
    if args.json:
        Path(args.json).write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
