"""`longmab ask`: one question about a document, answered by a model, and by its adapter beside it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from longmab_pl.cli.arguments import call
from longmab_pl.cli.asked_document import AskedDocument, Loading, Marking, checked_arguments
from longmab_pl.engines.protocol import Sampling
from longmab_pl.prompts.formats import PromptFormat


def ask(
    model: str,
    file: str,
    question: str,
    *,
    adapter: str | None = None,
    prompt_format: PromptFormat | None = None,
    max_tokens: int = 256,
    temperature: float = 0.0,
    marks: int = 3,
    chunk_size: int = 200,
    embedder: str = "bundled:minilm",
    dtype: str = "auto",
    quantization: Literal["nf4"] | None = None,
    device: str = "auto",
    max_model_len: int | None = None,
) -> None:
    """Answer a question about a document: the base model, and beside it its adapter.

    `longmab ask FILE "question"` asks the adapter's base model, or the bundled one. Answers are made by Transformers,
    which starts sooner for one question than vLLM.

    Args:
        model: a local folder, a hub name, or bundled:smollm2-135m-instruct.
        file: a text, Markdown or PDF file (PDF needs longmab-pl[pdf]).
        question: the question.
        adapter: a PEFT LoRA folder, whose answer is shown beside the base model's.
        prompt_format: how document and question become a prompt. Default: that of the run in which the adapter lies,
            else the document and the question alone.
        max_tokens: longest answer.
        temperature: 0 is greedy.
        marks: number of the document's chunks to show that are nearest to the question; 0 shows none.
        chunk_size: tokens of such a chunk.
        embedder: model that compares chunks and question.
        dtype: dtype of the weights; auto is float32 on CPU, bfloat16 on GPU.
        quantization: nf4 loads the weights in 4 bits.
        device: auto is the GPU if there is one.
        max_model_len: longest prompt and answer together, in tokens. Default: the model's own limit.

    Raises:
        ConfigError, DataError: a setting, the document or the adapter cannot be used.
    """
    sampling = Sampling(temperature=temperature, top_p=1.0, presence_penalty=0.0, max_tokens=max_tokens)
    loading = Loading(dtype, quantization, device, max_model_len)
    marking = Marking(marks, chunk_size, embedder)
    document = AskedDocument(file, model, adapter, prompt_format, sampling, loading, marking)
    try:
        readers = document.readers()
        for name, reader in readers.items():
            label = f"{name}: " if len(readers) > 1 else ""
            print(label, end="")
            for piece in reader.answer(question):
                print(piece.replace("\n", "\n" + " " * len(label)), end="", flush=True)
            print("" if reader.conversation.finished else f" [cut at {max_tokens} tokens]")
        if found := document.marks(question):
            print("\nnearest to the question:")
            print("\n".join(f"  {mark}" for mark in found))
    finally:
        document.close()


def run(args: Sequence[str]) -> None:
    """Run the command."""
    call(ask, checked_arguments(__name__, "ask", args, positionals=2))  # FILE "question"
