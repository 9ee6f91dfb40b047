"""Do LongBench v2's answers of `longmab evaluate` equal those of a plain Transformers loop? Checked on a finished run.

    python studies/longbench_v2_parity.py --data v2.json --predictions runs/v2/longbench_v2 --sample 6

The prompt of every sampled question is made again by the official program's steps, written here without the package's
own code, answered by `model.generate` in float32, greedily, and its letter is read by the official patterns. Of an
evaluation with `--answer log_likelihood` the letter is taken from the model's logits. Answers after thoughts
(`--answer cot`) are not checked.
"""

from __future__ import annotations

import argparse
import json
import random
import re
from pathlib import Path
from typing import Any

import torch

from longmab_pl.models.hub import resolve_model


def official_text(template: str, row: dict[str, Any]) -> str:
    """Fill a template as the program does, one placeholder after the other."""
    values = {"$DOC$": row["context"], "$Q$": row["question"]}
    values |= {f"$C_{letter}$": row[f"choice_{letter}"] for letter in "ABCD"}
    for name, value in values.items():
        template = template.replace(name, value.strip())
    return template


def letter_of(response: str) -> str | None:
    """Read the letter by the program's two patterns."""
    text = response.replace("*", "")
    found = re.search(r"The correct answer is \(([A-D])\)", text) or re.search(r"The correct answer is ([A-D])", text)
    return found.group(1) if found else None


def answered(model: Any, tokenizer: Any, text: str, new_tokens: int) -> tuple[str, int]:
    """Return the greedy answer and the number of prompt tokens."""
    turn = [{"role": "user", "content": text}]
    ids = tokenizer.apply_chat_template(turn, add_generation_prompt=True, return_dict=True)["input_ids"]
    with torch.no_grad():
        out = model.generate(
            torch.tensor([ids]),
            attention_mask=torch.ones(1, len(ids), dtype=torch.long),
            max_new_tokens=new_tokens,
            do_sample=False,
            pad_token_id=tokenizer.pad_token_id or tokenizer.eos_token_id,
        )
    return tokenizer.decode(out[0, len(ids) :], skip_special_tokens=True), len(ids)


def likeliest(model: Any, tokenizer: Any, text: str) -> tuple[str, int]:
    """Return the sentence with the likeliest letter and the number of tokens of the four prompts."""
    turn = [{"role": "user", "content": text}]
    start = tokenizer.apply_chat_template(turn, add_generation_prompt=True, tokenize=False) + "The correct answer is ("
    prompts = [tokenizer(start + letter, add_special_tokens=False)["input_ids"] for letter in "ABCD"]
    shared = next(place for place, tokens in enumerate(zip(*prompts, strict=False)) if len(set(tokens)) > 1)
    found = []
    for ids in prompts:
        with torch.no_grad():
            logits = model(torch.tensor([ids])).logits[0, shared - 1 : -1].float()
        # Element i of the logits predicts token shared + i.
        found.append(logits.log_softmax(-1).gather(1, torch.tensor(ids[shared:])[:, None]).sum().item())
    return f"The correct answer is ({'ABCD'[found.index(max(found))]})", sum(map(len, prompts))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="bundled:smollm2-135m-instruct")
    parser.add_argument("--data", required=True)
    parser.add_argument("--predictions", required=True, help="folder with longbench_v2.jsonl")
    parser.add_argument("--sample", type=int, default=6)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    from transformers import AutoModelForCausalLM, AutoTokenizer

    path = resolve_model(args.model)
    tokenizer = AutoTokenizer.from_pretrained(path)
    model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()
    folder = Path(args.predictions)
    settings = json.loads((folder / "longbench_v2.settings.json").read_text(encoding="utf-8"))
    template = settings["template"].partition(": ")[2]
    lines = (folder / "longbench_v2.jsonl").read_text(encoding="utf-8").splitlines()
    predictions = {row["id"]: row for row in map(json.loads, lines)}
    rows = [row for row in json.loads(Path(args.data).read_text(encoding="utf-8")) if row["_id"] in predictions]
    drawn = random.Random(args.seed).sample(rows, min(args.sample, len(rows)))
    equal = {"prompt tokens": 0, "texts": 0, "letters": 0, "scores": 0}
    for row in drawn:
        ours = predictions[row["_id"]]
        filled = official_text(template, row)
        if settings.get("answer") == "log_likelihood":
            text, tokens = likeliest(model, tokenizer, filled)
        else:
            text, tokens = answered(model, tokenizer, filled, settings["sampling"]["max_tokens"])
        letter = letter_of(text)
        same = {
            "prompt tokens": tokens == ours["prompt_tokens"],
            "texts": text.rstrip("\ufffd") == ours["pred"].rstrip("\ufffd"),
            "letters": letter == letter_of(ours["pred"]),
            "scores": float(letter == row["answer"]) == ours["scores"]["accuracy"],
        }
        for name, holds in same.items():
            equal[name] += holds
        print(f"{row['_id'][:12]}: {tokens} tokens, letter {letter}, gold {row['answer']}, equal: {same}", flush=True)
    print(f"of {len(drawn)} equal: {', '.join(f'{name} {count}' for name, count in equal.items())}")


if __name__ == "__main__":
    main()
