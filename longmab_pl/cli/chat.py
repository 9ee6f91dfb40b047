"""`longmab chat`: several questions about a document, which the model reads once."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Literal

from longmab_pl.cli.arguments import call
from longmab_pl.cli.asked_document import AskedDocument, Loading, Marking, checked_arguments
from longmab_pl.engines.protocol import Sampling
from longmab_pl.errors import PromptTooLong
from longmab_pl.prompts.formats import PromptFormat


def chat(
    model: str,
    file: str,
    *,
    adapter: str | None = None,
    prompt_format: PromptFormat | None = None,
    max_tokens: int = 256,
    temperature: float = 0.0,
    marks: int = 1,
    chunk_size: int = 200,
    embedder: str = "bundled:minilm",
    dtype: str = "auto",
    quantization: Literal["nf4"] | None = None,
    device: str = "auto",
    max_model_len: int | None = None,
) -> None:
    """Answer questions about a document, one a line, until an empty line or the end of the input.

    The document is read once, with the first question; later turns read only what is new. With an adapter, base model
    and adapter each have a conversation of their own, side by side. `longmab chat FILE` asks the adapter's base model,
    or the bundled one.

    Args:
        model: a local folder, a hub name, or bundled:smollm2-135m-instruct.
        file: a text, Markdown or PDF file (PDF needs longmab-pl[pdf]).
        adapter: a PEFT LoRA folder, whose answers are shown beside the base model's.
        prompt_format: how document and question become a prompt. Default: that of the run in which the adapter lies,
            else the document and the question alone.
        max_tokens: longest answer.
        temperature: 0 is greedy.
        marks: number of the document's chunks to show that are nearest to a question; 0 shows none.
        chunk_size: tokens of such a chunk.
        embedder: model that compares chunks and question.
        dtype: dtype of the weights; auto is float32 on CPU, bfloat16 on GPU.
        quantization: nf4 loads the weights in 4 bits.
        device: auto is the GPU if there is one.
        max_model_len: longest conversation in tokens. Default: the model's own limit.

    Raises:
        ConfigError, DataError: a setting, the document or the adapter cannot be used.
    """
    sampling = Sampling(temperature=temperature, top_p=1.0, presence_penalty=0.0, max_tokens=max_tokens)
    loading = Loading(dtype, quantization, device, max_model_len)
    marking = Marking(marks, chunk_size, embedder)
    document = AskedDocument(file, model, adapter, prompt_format, sampling, loading, marking)
    try:
        readers = document.readers()
        print(f"Ask about {file}; an empty line ends.", file=sys.stderr)
        while question := _next_question():
            for name, reader in readers.items():
                label = f"{name}: " if len(readers) > 1 else ""
                print(label, end="")
                try:
                    for piece in reader.answer(question):
                        print(piece.replace("\n", "\n" + " " * len(label)), end="", flush=True)
                except PromptTooLong:
                    print("\nThe conversation has become as long as the model takes; begin another one.")
                    return
                print(f"   [{reader.conversation.newly_read:,} tokens read]")
            for mark in document.marks(question):
                print(f"  {mark}")
    finally:
        document.close()


def _next_question() -> str:
    """Return the next line of the input; "" at its end."""
    try:
        return input("> " if sys.stdin.isatty() else "").strip()
    except (EOFError, KeyboardInterrupt):
        return ""


def run(args: Sequence[str]) -> None:
    """Run the command."""
    call(chat, checked_arguments(__name__, "chat", args, positionals=1))  # FILE
