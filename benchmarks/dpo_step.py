"""Time and memory of a DPO training step: this package, packed and concatenated, beside TRL's `DPOTrainer`.

    python benchmarks/dpo_step.py --pairs 512+64 2048+200 4096+200 --out dpo_step.json
    python benchmarks/dpo_step.py --device cuda --model random-8b --precision nf4 --pairs 8192+200 16384+400
    python benchmarks/dpo_step.py --show dpo_step.json

`4096+200` is a prompt of 4,096 tokens with two completions of 200 tokens each. All systems train the same LoRA (rank
16, all linear layers, the same random start) with AdamW on the same pairs, one pair per step (`--per-step`), with
gradient checkpointing, the reference computed in the step (`--stored`: before training, so that a step does not need
it), and their own training loops (Lightning's, Transformers') around it.
Every case is a process of its own; its time is the median over steps after a warm-up, its memory the peak during steps
above what the process held before the first (CPU: resident memory; GPU: PyTorch's allocated memory). In float32 the
losses of every step must agree to 1e-4.

On a CPU the C library (glibc) keeps freed tensors of up to 32 MiB in its heap, and the peak is then mostly gaps between
them. So every system runs with MALLOC_MMAP_THRESHOLD_=1048576, with which freed tensors go back to the system, unless
that is set already: MALLOC_MMAP_THRESHOLD_=33554432 in front of the command measures with a heap.

`bound` is what sharing the prompt can give where every token costs the same: 2 (P + C) / (P + 2 C).

Cases already in the `--out` file are kept, so a table can be measured in pieces. The models `random-1b`, `random-8b`
and `random-qwen-7b` have the shapes of Llama 3.2 1B, Llama 3.1 8B and Qwen 2.5 7B and random weights: no download, made
once in `--workdir`.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from random_models import SHAPES, random_model

from longmab_pl.models.hub import nf4_config, resolve_model
from longmab_pl.sigterm import sigterm_interrupts
from longmab_pl.training.batch import PreferenceExample, collate
from longmab_pl.training.losses import SigmoidDPO
from longmab_pl.training.module import DPOModule
from longmab_pl.training.policy import LoRASettings

if TYPE_CHECKING:
    from peft import PeftModel

SYSTEMS = ("packed", "concatenated", "trl")
BUNDLED = "bundled:smollm2-135m-instruct"
LORA = LoRASettings(r=16, alpha=32)
BETA = 0.1
LEARNING_RATE = 1e-6
MAX_GRAD_NORM = 1.0
LOSS_TOLERANCE = 1e-4


@dataclass(frozen=True)
class Case:
    """What one process measures.

    Args:
        system: "packed", "concatenated" or "trl".
        model: bundled name, folder, hub name, or one of `SHAPES`.
        precision: "fp32", "bf16" or "nf4" (4-bit base, bf16 computation).
        device: "cpu" or "cuda".
        prompt: tokens of the prompt.
        chosen, rejected: tokens of the completions.
        warmup: steps that are not timed.
        steps: steps that are.
        pairs: pairs of a step, all in one batch.
        stored: whether the reference's log-probabilities were computed before training.
    """

    system: str
    model: str
    precision: str
    device: str
    prompt: int
    chosen: int
    rejected: int
    warmup: int
    steps: int
    pairs: int = 1
    stored: bool = False

    @property
    def lengths(self) -> str:
        """As on the command line: 4096+200, or 4096+200,150 for completions of different lengths; then what differs."""
        lengths = f"{self.prompt}+{self.chosen}" + (f",{self.rejected}" if self.rejected != self.chosen else "")
        more = f", {self.pairs} a step" if self.pairs > 1 else ""
        return lengths + more + (", reference stored" if self.stored else "")

    @property
    def bound(self) -> float:
        """Tokens of the concatenated form over tokens of the packed form."""
        completions = self.chosen + self.rejected
        return (2 * self.prompt + completions) / (self.prompt + completions)

    @property
    def dtype(self) -> torch.dtype:
        return torch.float32 if self.precision == "fp32" else torch.bfloat16


class Meter:
    """Clock and memory of the steps of one case."""

    def __init__(self, device: str) -> None:
        self.cuda = device == "cuda"
        self.seconds: list[float] = []
        self.cpu_seconds: list[float] = []
        self.losses: list[float] = []

    def begin(self) -> None:
        """Everything is loaded; the first step comes next."""
        gc.collect()
        if self.cuda:
            torch.cuda.synchronize()
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
            self.held = torch.cuda.memory_allocated()
        else:
            Path("/proc/self/clear_refs").write_text("5")  # resets VmHWM, the peak of resident memory
            self.held = _resident("VmRSS")

    def step_begins(self) -> None:
        self._synchronize()
        self.start, self.start_cpu = time.perf_counter(), time.process_time()

    def step_ends(self) -> None:
        self._synchronize()
        self.seconds.append(time.perf_counter() - self.start)
        self.cpu_seconds.append(time.process_time() - self.start_cpu)

    def peak(self) -> int:
        """Bytes above what was held when the first step began."""
        return (torch.cuda.max_memory_allocated() if self.cuda else _resident("VmHWM")) - self.held

    def _synchronize(self) -> None:
        if self.cuda:
            torch.cuda.synchronize()


def _resident(field: str) -> int:
    status = Path("/proc/self/status").read_text()
    return int(status.split(f"{field}:")[1].split()[0]) * 1024


def make_pairs(case: Case, folder: str) -> list[PreferenceExample]:
    """The pairs of all steps, none like another: running text for real models, random tokens for random weights."""
    draw = random.Random(0)
    tokens = case.prompt + case.chosen + case.rejected

    def streams() -> Iterator[list[int]]:
        if case.model in SHAPES:
            while True:
                yield [draw.randrange(10, 32_000) for _ in range(tokens)]
        from transformers import AutoTokenizer

        from longmab_pl.data.synthesis import synthesize

        text = "\n\n".join(r.context for r in synthesize(n_train=100, n_eval=0, passages=8).train)
        ids = AutoTokenizer.from_pretrained(folder)(text, verbose=False).input_ids
        while True:
            first = draw.randrange(len(ids) - tokens)
            yield ids[first : first + tokens]

    found = []
    for number, ids in zip(range(case.pairs * (case.warmup + case.steps)), streams(), strict=False):
        split = case.prompt + case.chosen
        found.append(
            PreferenceExample(
                f"pair {number}", tuple(ids[: case.prompt]), tuple(ids[case.prompt : split]), tuple(ids[split:])
            )
        )
    return found


@torch.no_grad()
def set_adapter(policy: PeftModel) -> None:
    """The same adapter in every system, unlike the usual start not zero: at zero every loss is log 2."""
    generator = torch.Generator().manual_seed(0)
    for name, parameter in sorted(policy.named_parameters()):
        if parameter.requires_grad:
            scale = 0.02 if ".lora_A." in name else 0.01
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * scale)


def with_stored_reference(module: DPOModule, pairs: Sequence[PreferenceExample]) -> list[PreferenceExample]:
    """Return the pairs with their reference log-probabilities, which the frozen model gives."""
    stored = []
    for pair in pairs:
        logps = module.reference_logps(collate([pair]).to(module.policy.device))
        stored.append(
            replace(
                pair, reference_chosen_logp=float(logps.chosen[0]), reference_rejected_logp=float(logps.rejected[0])
            )
        )
    return stored


def run_ours(case: Case, folder: str, pairs: Sequence[PreferenceExample], meter: Meter) -> None:
    """Steps of `DPOModule` under Lightning's Trainer."""
    from lightning.pytorch import Callback, Trainer

    given = list(pairs)

    class Measure(Callback):
        def on_train_start(self, trainer: Any, pl_module: Any) -> None:
            if case.stored:
                given[:] = with_stored_reference(pl_module, pairs)
            set_adapter(pl_module.policy)
            if case.system == "concatenated":
                pl_module.layout = "concatenated"
            if pl_module.layout != case.system:
                raise SystemExit(f"the model runs {pl_module.layout}, not {case.system}")
            meter.begin()

        def on_train_batch_start(self, *_: Any) -> None:
            meter.step_begins()

        def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, *_: Any) -> None:
            meter.step_ends()
            meter.losses.append(float(outputs["loss"]))

    module = DPOModule(
        model=folder,
        loss=SigmoidDPO(beta=BETA),
        nll_weight=0.0,
        lora=LORA,
        quantization="nf4" if case.precision == "nf4" else "none",
        dtype="fp32" if case.precision == "fp32" else "bf16",
        gradient_checkpointing=True,
        learning_rate=LEARNING_RATE,
        warmup_fraction=0.0,
        schedule="constant",
    )
    trainer = Trainer(
        accelerator="gpu" if case.device == "cuda" else "cpu",
        devices=1,
        max_steps=len(pairs) // case.pairs,
        gradient_clip_val=MAX_GRAD_NORM,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[Measure()],
    )
    # Dataloaders of a single worker: a batch is a few kilobytes.
    trainer.fit(module, torch.utils.data.DataLoader(given, batch_size=case.pairs, collate_fn=collate))


def run_trl(case: Case, folder: str, pairs: Sequence[PreferenceExample], meter: Meter) -> None:
    """Steps of TRL's `DPOTrainer` under its own loop: the adapter switched off is the reference, as in ours.

    All completions of a step are one batch. Its `padding_free` option does nothing in this version, and completions of
    equal length need no padding; the output head runs in tiles ("fused") as it does by default.
    """
    from datasets import Dataset
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast, TrainerCallback
    from trl import DPOConfig, DPOTrainer

    class Measure(TrainerCallback):
        def on_train_begin(self, *_: Any, model: Any, **__: Any) -> None:
            set_adapter(model)
            meter.begin()

        def on_step_begin(self, *_: Any, **__: Any) -> None:
            meter.step_begins()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            meter.step_ends()

    class TokenDPOTrainer(DPOTrainer):
        """Takes token ids as they are, in their order."""

        def _prepare_dataset(self, dataset: Any, *_: Any) -> Any:
            return dataset

        def _get_train_sampler(self, dataset: Any = None) -> Any:
            return torch.utils.data.SequentialSampler(self.train_dataset)

        def training_step(self, *args: Any, **kwargs: Any) -> torch.Tensor:
            loss = super().training_step(*args, **kwargs)
            meter.losses.append(float(loss))
            return loss

    quantization = nf4_config(torch.bfloat16) if case.precision == "nf4" else None
    model = AutoModelForCausalLM.from_pretrained(
        folder,
        dtype=case.dtype,
        attn_implementation="sdpa",
        device_map={"": case.device},
        quantization_config=quantization,
    )
    # Only its pad token is used.
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(WordLevel({"<pad>": 0, "<eos>": 1}, unk_token="<eos>")),
        pad_token="<pad>",
        eos_token="<eos>",
    )
    with tempfile.TemporaryDirectory() as output:
        trainer = TokenDPOTrainer(
            model,
            args=DPOConfig(
                output_dir=output,
                per_device_train_batch_size=case.pairs,
                max_steps=len(pairs) // case.pairs,
                precompute_ref_log_probs=case.stored,
                learning_rate=LEARNING_RATE,
                lr_scheduler_type="constant",
                optim="adamw_torch",
                max_grad_norm=MAX_GRAD_NORM,
                beta=BETA,
                max_length=None,
                gradient_checkpointing=True,
                gradient_checkpointing_kwargs={"use_reentrant": False},
                bf16=case.dtype is torch.bfloat16,
                use_cpu=case.device == "cpu",
                dataloader_pin_memory=False,
                logging_strategy="no",
                save_strategy="no",
                report_to="none",
                disable_tqdm=True,
            ),
            train_dataset=Dataset.from_list(
                [
                    {
                        "prompt_ids": list(p.prompt_ids),
                        "chosen_ids": list(p.chosen_ids),
                        "rejected_ids": list(p.rejected_ids),
                    }
                    for p in pairs
                ]
            ),
            processing_class=tokenizer,
            peft_config=LORA.to_peft(),
            callbacks=[Measure()],
        )
        trainer.train()


def model_folder(model: str, workdir: Path) -> str:
    """Folder or hub name of the model; random weights are written into `workdir` on first use."""
    return str(random_model(model, workdir)) if model in SHAPES else resolve_model(model)


def measure(case: Case, folder: str) -> dict[str, Any]:
    """Run one case in this process."""
    import lightning
    import peft
    import transformers
    import trl

    meter = Meter(case.device)
    pairs = make_pairs(case, folder)
    (run_trl if case.system == "trl" else run_ours)(case, folder, pairs, meter)
    return {
        "case": asdict(case),
        "seconds": meter.seconds,
        "seconds_per_pair": statistics.median(meter.seconds[case.warmup :]) / case.pairs,
        "cpu_seconds_per_pair": statistics.median(meter.cpu_seconds[case.warmup :]) / case.pairs,
        "peak_bytes": meter.peak(),
        "held_bytes": meter.held,
        "losses": meter.losses,
        "device": torch.cuda.get_device_name() if case.device == "cuda" else _cpu_name(),
        "threads": torch.get_num_threads(),
        "versions": {m.__name__: m.__version__ for m in (torch, lightning, transformers, peft, trl)},
    }


def _cpu_name() -> str:
    names = re.findall(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    return names[0] if names else "CPU"


def measure_apart(case: Case, folder: str) -> dict[str, Any]:
    """Run one case in a process of its own.

    Raises:
        RuntimeError: it failed; the message ends with what it last wrote.
    """
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) / "result.json"
        command = [sys.executable, __file__, "--one", json.dumps(asdict(case)), "--folder", folder, "--out", str(out)]
        environment = {"MALLOC_MMAP_THRESHOLD_": "1048576"} | os.environ
        with sigterm_interrupts():  # else its process would be left behind
            done = subprocess.run(command, capture_output=True, text=True, env=environment)
        if done.returncode != 0:
            tail = "\n".join((done.stdout + done.stderr).strip().splitlines()[-12:])
            raise RuntimeError(f"{case.system} at {case.lengths} ended with code {done.returncode}:\n{tail}")
        result: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
        return result


def same_table(case: Case) -> Case:
    """What cases that stand side by side have in common."""
    return replace(case, system="", warmup=0, steps=0)


def show(results: Sequence[dict[str, Any]]) -> bool:
    """Print the table in Markdown, grouped by model and lengths.

    Returns:
        Whether all float32 losses of the same pairs agree.
    """
    groups: dict[Case, dict[str, dict[str, Any]]] = {}
    for result in results:
        case = Case(**result["case"])
        groups.setdefault(same_table(case), {})[case.system] = result
    print("| model | pair | system | s / pair | pairs/s, TRL = 1 | bound | peak, GB | TRL = 100% | loss differs by |")
    print("| --- | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    equal = True
    for shared, systems in sorted(groups.items(), key=lambda g: (g[0].model, g[0].precision, g[0].prompt, g[0].chosen)):
        trl = systems.get("trl")
        for system in SYSTEMS:
            if (result := systems.get(system)) is None:
                continue
            cells = [f"{shared.model.partition(':')[2] or shared.model} {shared.precision}", shared.lengths, system]
            cells.append(f"{result['seconds_per_pair']:.3g}")
            cells.append(f"{trl['seconds_per_pair'] / result['seconds_per_pair']:.2f}" if trl else "")
            cells.append(f"{shared.bound:.2f}" if system == "packed" else "")
            cells.append(f"{result['peak_bytes'] / 1e9:.2f}")
            cells.append(f"{result['peak_bytes'] / trl['peak_bytes']:.0%}" if trl and trl["peak_bytes"] else "")
            cells.append("")
            if trl and system != "trl":
                difference = max(abs(a - b) for a, b in zip(result["losses"], trl["losses"], strict=False))
                cells[-1] = f"{difference:.1e}"
                if shared.precision == "fp32" and not difference <= LOSS_TOLERANCE:
                    equal = False
            print("| " + " | ".join(cells) + " |")
    if results:
        first = results[0]
        versions = ", ".join(f"{name} {version}" for name, version in first["versions"].items())
        print(f"\n{first['device']}, {first['threads']} threads; {versions}")
        print(f"LoRA rank {LORA.r} on all linear layers, gradient checkpointing, AdamW")
    if not equal:
        print(f"LOSSES DIFFER by more than {LOSS_TOLERANCE:g} in float32: something is not computed as it should be")
    return equal


def parse_lengths(text: str) -> tuple[int, int, int]:
    """Prompt, chosen and rejected tokens of "4096+200" or "4096+200,150"."""
    match = re.fullmatch(r"(\d+)\+(\d+)(?:,(\d+))?", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not PROMPT+COMPLETION, such as 4096+200 or 4096+200,150")
    prompt, chosen, rejected = match.groups()
    return int(prompt), int(chosen), int(rejected or chosen)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", nargs="+", type=parse_lengths, metavar="P+C", default=[(512, 64, 64)])
    parser.add_argument("--systems", nargs="+", choices=SYSTEMS, default=SYSTEMS)
    parser.add_argument("--model", default=BUNDLED, help=f"bundled name, folder, hub name, {', '.join(SHAPES)}")
    parser.add_argument("--precision", choices=("fp32", "bf16", "nf4"), default="fp32")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--warmup", type=int, default=1, help="steps that are not timed (default 1)")
    parser.add_argument("--steps", type=int, default=3, help="steps that are timed (default 3)")
    parser.add_argument(
        "--per-step", type=int, default=1, metavar="N", help="pairs of a step, in one batch (default 1)"
    )
    parser.add_argument("--stored", action="store_true", help="compute the reference before training, in all systems")
    parser.add_argument("--out", "--json", type=Path, help="JSON file; cases that it already holds are not run again")
    parser.add_argument("--again", action="store_true", help="run cases again that the file holds")
    parser.add_argument("--workdir", type=Path, default=Path(tempfile.gettempdir()), help="for random weights")
    parser.add_argument("--show", type=Path, metavar="JSON", help="print the table of a file and measure nothing")
    parser.add_argument("--one", type=json.loads, help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.show:
        raise SystemExit(0 if show(json.loads(args.show.read_text(encoding="utf-8"))) else 1)
    if args.one:
        args.out.write_text(json.dumps(measure(Case(**args.one), args.folder)), encoding="utf-8")
        return
    results: list[dict[str, Any]] = []
    if args.out and args.out.is_file():
        results = json.loads(args.out.read_text(encoding="utf-8"))
    folder = model_folder(args.model, args.workdir)
    for prompt, chosen, rejected in args.pairs:
        for system in args.systems:
            lengths = prompt, chosen, rejected
            steps = args.warmup, args.steps, args.per_step, args.stored
            case = Case(system, args.model, args.precision, args.device, *lengths, *steps)
            kept = [
                r for r in results if (c := Case(**r["case"])).system != system or same_table(c) != same_table(case)
            ]
            if len(kept) < len(results) and not args.again:
                continue
            try:
                result = measure_apart(case, folder)
            except RuntimeError as error:
                print(error, file=sys.stderr, flush=True)
                continue
            print(
                f"{case.lengths} {system}: {result['seconds_per_pair']:.3g} s/pair, "
                f"{result['peak_bytes'] / 1e9:.2f} GB above the weights",
                file=sys.stderr,
                flush=True,
            )
            results = [*kept, result]
            if args.out:
                args.out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    raise SystemExit(0 if show(results) else 1)


if __name__ == "__main__":
    main()
