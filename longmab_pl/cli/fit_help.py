"""The help page of `longmab fit`, for terminals of 80 columns."""

from __future__ import annotations

HELP = """\
usage: longmab fit --config NAME_OR_FILE [options]

Improve a language model on long documents, in rounds: it answers questions
about them (a bandit picks what it reads), answers are scored, the best and the
worst become a preference pair, an adapter is trained on the pairs, and the next
round asks the better model. Everything is written to the run folder.

Examples:
  longmab fit --config demo                  # all of it on a CPU, 10 minutes
  longmab fit --config demo --train my.jsonl --eval my_eval.jsonl \\
      --output runs/mine                     # the same with your own questions
  longmab fit --config llama-3.1-8b-24gb --train my.jsonl   # a GPU of 24 GB
  longmab fit --config demo --output runs/mine --ckpt_path last     # continue
  longmab fit --config preferences --train pairs.jsonl   # on pairs you have

What people change:
  --config NAME      a file, or one that comes with the package (`longmab
                     configs`); of several, the later ones win
  --train FILE       records with id, input, answer, context: .jsonl, .json,
                     .parquet, or a hub's owner/name  (data.train)
  --eval FILE        evaluation questions in the same form; without it a tenth
                     of the contexts of --train is held out
  --documents DIR    text, Markdown and PDF files in place of --train: the
                     model writes questions about them first
  --output DIR       the run folder  (trainer.default_root_dir)
  --model NAME       a folder, a hub's owner/name, or
                     bundled:smollm2-135m-instruct  (model.model)
  --rounds N         on-policy rounds  (data.rounds)
  --records N        records in each round  (data.records_per_round)
  --engine NAME      VLLMEngine, ServerEngine, TransformersEngine  (data.engine)
  --logger NAME      tensorboard, wandb, mlflow, csv  (trainer.logger)
  --ray [ADDRESS]    rollouts on the workers of a Ray cluster: host:port of its
                     head, auto, or none (this machine); --workers N  (data.cluster)
  --model.beta X     strength of the pull to the reference; another loss:
                     --model.loss SimPO
  --model.learning_rate X   --model.lora.r N   --model.quantization nf4
  --data.strategy NAME      what a document's questions are asked over:
                     BanditRollout, BestOfN, ...
  --seed_everything N  another adapter's start, order of the records and
                     sampling; the same questions are held out
  --ckpt_path last   continue from the run's own last checkpoint; settings that
                     are given again win

Every other setting is an option by its dotted name (--data.strategy.pulls 8):
  longmab options              the sections; `longmab options strategy` lists
                               one with type, default and meaning
  longmab configs copy demo    write a complete, commented config to edit;
                               `longmab validate-config FILE` checks it
  longmab doctor ...           will it run here, does it fit: fit's options
  longmab fit ... --print_config     this command's settings as YAML
"""

VALIDATE_HELP = """\
usage: longmab validate --config NAME_OR_FILE [options]

Print the preference metrics (loss, accuracy, margin) of a checkpoint or the
base model on given pairs.

Examples:
  longmab validate --config preferences --train pairs.jsonl
  longmab validate --config preferences --train pairs.jsonl \\
      --ckpt_path runs/preferences/checkpoints/last.ckpt

The options are those of fit: `longmab fit --help`, `longmab options`.
"""

ROLLOUT_HELP = """\
usage: longmab rollout --config NAME_OR_FILE [options]

Run one round without training: records are read, answered, scored and paired,
in the folder that the same `fit` would use. The same command goes on after a
stop. `longmab pairs` writes the pairs in other forms.

  --round N          which round, from 1: decides its records and seeds
  --adapter DIR      PEFT folder to answer with; without it the base model does
  --dry-run          print how many calls and tokens the round will take, and ask
                     nothing
  --ray [ADDRESS]    on the workers of a Ray cluster: host:port of its head,
                     auto (the one that runs here), or none (this machine)
  --workers N        workers of the cluster, each with an engine (default: 2)
  --worker-gpus X    GPUs of each worker (default: one, if the cluster has any)

The other options are those of fit: `longmab fit --help`, `longmab options`.
"""

DOCTOR_HELP = """\
usage: longmab doctor --config NAME_OR_FILE [options]

Check a config and this machine before a run, without loading weights: versions,
model, data, lengths, disk, and the memory of each phase. Exit status 1 if
something will fail.

  --gpu-memory-gb N  plan for one GPU with N GiB instead of this machine

The other options are those of fit: `longmab fit --help`, `longmab options`.
"""

PAGES = {"fit": HELP, "validate": VALIDATE_HELP, "rollout": ROLLOUT_HELP, "doctor": DOCTOR_HELP}
"""Help pages by command."""
