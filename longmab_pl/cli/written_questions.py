"""The questions of `longmab fit --documents`, written by the run's own engine before its first round."""

from __future__ import annotations

import sys
from pathlib import Path

from lightning import LightningDataModule

from longmab_pl.cli.given_documents import GivenDocuments
from longmab_pl.data.long_contexts import ContextSettings
from longmab_pl.datamodules.rollouts import RolloutDataModule
from longmab_pl.errors import ConfigError, DataError
from longmab_pl.evaluation.model import model_identity
from longmab_pl.models.hub import resolve_model
from longmab_pl.models.tokenizer import load_tokenizer
from longmab_pl.sigterm import sigterm_interrupts
from longmab_pl.synthesis.question_set import AskedModel, DocumentSource, QuestionSet
from longmab_pl.synthesis.settings import QuestionSettings

HELD_OUT = 0.1
"""Share of the documents whose questions are held out, if the run evaluates on them."""

RESERVED = 128
"""Tokens of a training prompt that are kept for the question, the instructions and the chat template."""

CHUNKS = 5
"""Fewest chunks of a long context, if the training prompt is short."""


def write_questions(documents: GivenDocuments, data: LightningDataModule, model: str, output: Path) -> None:
    """Write the question set of a run whose config asks for its files; the engine is left started and asleep.

    Contexts are as long as the training prompts of the run take, or down to half as long. A set that is there, from the
    same documents, settings and model, is used again.

    Args:
        documents: the documents.
        data: the run's data module.
        model: the run's base model, which writes the questions.
        output: folder of the set.

    Raises:
        ConfigError, DataError: the documents or settings cannot be used, or no question is kept.
        EngineError: the engine failed; the same command goes on.
        SystemExit: it was interrupted (status 130); the same command goes on.
    """
    if not isinstance(data, RolloutDataModule):
        raise ConfigError(f"--documents makes questions, and data is a {type(data).__name__}; use a RolloutDataModule")
    plan, resolved = data.plan, resolve_model(model)
    room = plan.pairs.max_prompt_length - RESERVED - plan.strategy.max_response_tokens
    chunk_size = min(QuestionSettings.chunk_size, room // CHUNKS)
    if chunk_size < 16:
        raise ConfigError(
            f"data.pairs.max_prompt_length is {plan.pairs.max_prompt_length}, which leaves {room} tokens for a context "
            f"beside answers of {plan.strategy.max_response_tokens}; raise it for --documents"
        )
    writer = AskedModel(
        resolved=resolved,
        tokenizer=load_tokenizer(resolved),
        identity=model_identity(model, None, data.engine.weight_format),
        template_arguments=data.prompt_format.template_arguments,
    )
    made = QuestionSet(
        output,
        DocumentSource(documents.folder, HELD_OUT if documents.evaluated else 0.0),
        QuestionSettings(chunk_size=chunk_size, seed=data.seed),
        ContextSettings(room // 2, room, seed=data.seed),
        writer,
        data.engine,
    )
    try:
        with sigterm_interrupts():
            summary = made.write()
    except KeyboardInterrupt:
        data.engine.close()
        print("\nStopped. The same command goes on from here.", file=sys.stderr)
        raise SystemExit(130) from None
    except BaseException:
        data.engine.close()
        raise
    print("\n".join(summary.lines()))
    if data.engine.started:
        data.engine.sleep()
    if documents.evaluated and not (output / "eval.jsonl").is_file():
        raise DataError(
            f"no question about the {summary.held_out} held-out documents was kept, so there is none to evaluate on; "
            "give --eval FILE, or more documents"
        )


def refuse_unwritten(output: Path) -> None:
    """Refuse a further process of a run whose questions the first process has not written yet.

    Args:
        output: folder of the set.

    Raises:
        ConfigError: the set is not there.
    """
    if not (output / "train.jsonl").is_file():
        raise ConfigError(
            f"{output}: no questions yet, and several processes were started at once; make them first: longmab "
            f"synthesize {output} --documents FOLDER, then fit with --train {output / 'train.jsonl'}"
        )
