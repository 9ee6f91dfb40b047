"""`longmab synthesize FOLDER --documents FOLDER`: questions that a model writes about documents, in long contexts."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from longmab_pl.cli.failed_start import no_folder_of_a_failed_start
from longmab_pl.data.long_contexts import ContextSettings
from longmab_pl.engines.protocol import Engine
from longmab_pl.evaluation.model import evaluated_model, vllm_engine
from longmab_pl.models.tokenizer import load_tokenizer
from longmab_pl.sigterm import sigterm_interrupts
from longmab_pl.storage.locks import folder_lock
from longmab_pl.synthesis.question_set import AskedModel, DocumentSource, QuestionSet
from longmab_pl.synthesis.settings import QuestionSettings


def document_questions(
    folder: str,
    *,
    documents: str,
    model: str = "bundled:smollm2-135m-instruct",
    adapter: str | None = None,
    samples: int = 8,
    answers: int = 4,
    agreement: float = 0.5,
    known: float = 0.25,
    similarity: float = 0.8,
    chunk_size: int = 200,
    min_tokens: int = 1024,
    max_tokens: int = 4096,
    depths: list[float] | None = None,
    held_out: float = 0.1,
    limit: int | None = None,
    temperature: float = 0.7,
    seed: int = 0,
    template_arguments: dict[str, Any] | None = None,
    engine: Engine | None = None,
    dtype: str = "auto",
    concurrency: int = 16,
    max_model_len: int | None = 4096,
    kv_cache_gb: float = 1.0,
    gpu_memory_utilization: float = 0.9,
) -> None:
    """Let a model write questions about documents, keep the sound ones, and build long contexts around them.

    A question is kept if its answer stands in its chunk, the model answers it from the chunk, and not without it. The
    same command continues after an interruption: no reply is asked for twice.

    Args:
        folder: folder to write to: train.jsonl, eval.jsonl, candidates.jsonl (all questions, with why they were left
            out), summary.json, and the model's replies.
        documents: folder of text, Markdown and PDF files (PDF needs longmab-pl[pdf]).
        model: the model that writes and answers: a local folder, a hub name, or bundled:smollm2-135m-instruct.
        adapter: a PEFT LoRA folder for it.
        samples: questions written about each chunk.
        answers: answers sampled to a question from its chunk, and as many without it.
        agreement: least share of the answers from the chunk that must hold the question's own answer.
        known: share of the answers without the chunk from which a question is left out as known.
        similarity: share of equal words from which two questions are near-duplicates.
        chunk_size: tokens of a chunk; contexts are made of chunks.
        min_tokens: shortest target length of a context.
        max_tokens: longest target length; drawn per record.
        depths: where the chunk with the answer stands, one drawn per record: 0 (first) to 1 (last). Default: anywhere.
        held_out: share of the documents whose questions make eval.jsonl.
        limit: most chunks to ask about. Default: all.
        temperature: temperature at which questions are written.
        seed: the same seed, settings, documents and model give the same files.
        template_arguments: further variables of the chat template, such as {enable_thinking: false}.
        engine: another engine than vLLM in this process, or vLLM with further settings; the settings below are then not
            used.
        dtype: dtype of the weights; auto is float32 on CPU, bfloat16 on GPU.
        concurrency: number of responses generated at once.
        max_model_len: longest prompt and response together, in tokens; a few chunks are enough.
        kv_cache_gb: memory for the KV cache on CPU, in GiB.
        gpu_memory_utilization: share of the GPU's memory that vLLM may take.

    Raises:
        ConfigError, DataError: a setting, the documents or the adapter cannot be used.
        EngineError: the engine cannot start, or failed; the same command continues.
    """
    source = DocumentSource(documents, held_out, limit)
    settings = QuestionSettings(
        chunk_size=chunk_size,
        samples=samples,
        answers=answers,
        agreement=agreement,
        known=known,
        similarity=similarity,
        temperature=temperature,
        seed=seed,
    )
    contexts = ContextSettings(min_tokens, max_tokens, None if depths is None else tuple(depths), seed)
    asked = evaluated_model(model, adapter)
    if engine is None:
        engine = vllm_engine(asked.adapter, dtype, concurrency, max_model_len, kv_cache_gb, gpu_memory_utilization)
    writer = AskedModel(
        resolved=asked.resolved,
        tokenizer=load_tokenizer(asked.resolved),
        identity=asked.identity(engine.weight_format),
        adapter=None if asked.adapter is None else asked.adapter.folder,
        template_arguments=template_arguments or {},
    )
    made = QuestionSet(Path(folder), source, settings, contexts, writer, engine)
    try:
        with (
            no_folder_of_a_failed_start(Path(folder)),
            folder_lock(Path(folder), "question writing"),
            sigterm_interrupts(),
        ):
            print("\n".join(made.write().lines()))
    except KeyboardInterrupt:
        print("\nStopped. The same command goes on from here.", file=sys.stderr)
        raise SystemExit(130) from None
    finally:
        engine.close()
