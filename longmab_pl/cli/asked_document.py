"""A document that a model is asked about: what of it fits, which chunks are near a question, and the prompts."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from longmab_pl.checks import at_least
from longmab_pl.cli import command_line
from longmab_pl.cli.function_options import refuse_wrong_options
from longmab_pl.cli.inputs_check import refuse_missing_model
from longmab_pl.cli.quiet import quiet_transformers
from longmab_pl.cli.run_log import start_log
from longmab_pl.data.chunking import Chunk, chunk_spans
from longmab_pl.data.documents import read_document
from longmab_pl.data.truncation import middle_truncated
from longmab_pl.engines.protocol import Sampling
from longmab_pl.errors import ConfigError, DataError
from longmab_pl.exports import find_class
from longmab_pl.live import step
from longmab_pl.models.adapter_files import AdapterInfo, fitting_adapter
from longmab_pl.models.bundled import converted_folder
from longmab_pl.models.embedder import Embedder
from longmab_pl.models.hub import BUNDLED_MODELS, resolve_model
from longmab_pl.models.tokenizer import load_tokenizer
from longmab_pl.prompts import encoding
from longmab_pl.prompts.formats import DirectAnswer, PlanAndSolve, PromptFormat, ReasonThenAnswer
from longmab_pl.reporting.run_settings import init_args, saved_config
from longmab_pl.shown import printable, shown, tell

if TYPE_CHECKING:
    from longmab_pl.engines.transformers.conversation import Conversation

BUNDLED = BUNDLED_MODELS[0]

PLAIN = "Read the text and answer the question.\n\nText:\n{context}\n\nQuestion: {question}"
"""Prompt for models that no run of ours has trained."""

EXCERPT = 240
"""Characters of a marked chunk that are shown."""

Format = DirectAnswer | ReasonThenAnswer | PlanAndSolve


@dataclass(frozen=True)
class Loading:
    """How the model is loaded, as for `TransformersEngine`."""

    dtype: str = "auto"
    quantization: Literal["nf4"] | None = None
    device: str = "auto"
    max_model_len: int | None = None


@dataclass(frozen=True)
class Marking:
    """Which chunks of the document are shown.

    Args:
        marks: number of chunks nearest to a question; 0: none, and no embedder is loaded.
        chunk_size: tokens of a chunk.
        embedder: model that compares chunks and questions.

    Raises:
        ConfigError: a number is out of range.
    """

    marks: int = 3
    chunk_size: int = 200
    embedder: str = "bundled:minilm"

    def __post_init__(self) -> None:
        at_least("marks", self.marks, 0)
        at_least("chunk_size", self.chunk_size, 8)


@dataclass(frozen=True)
class Mark:
    """A chunk near a question."""

    number: int
    of: int
    similarity: float
    excerpt: str

    def __str__(self) -> str:
        return f"chunk {self.number} of {self.of} ({self.similarity:.2f})  {self.excerpt}"


class AskedDocument:
    """A document with a model that is loaded to answer questions about it.

    Args:
        file: a text, Markdown or PDF file.
        model: folder, hub name or bundled name.
        adapter: a PEFT folder whose answers stand beside the base model's; None: none.
        prompt_format: how document and question become a prompt; None: that of the adapter's run, else `PLAIN`.
        sampling: how answers are sampled.
        loading: how the model is loaded.
        marking: which chunks are shown.

    Raises:
        ConfigError, DataError: a setting, the document or the adapter cannot be used; raised before weights are loaded.
        EngineError: the model cannot be loaded.
    """

    def __init__(
        self,
        file: str,
        model: str,
        adapter: str | None,
        prompt_format: PromptFormat | None,
        sampling: Sampling,
        loading: Loading,
        marking: Marking,
    ) -> None:
        self.text = read_document(Path(file))
        self.sampling = sampling
        self.format = _known(prompt_format) or trained_format(adapter) or DirectAnswer(PLAIN, prefill="")
        resolved = resolve_model(model)
        with step("loading the libraries"):
            from longmab_pl.engines.transformers.engine import TransformersEngine

            quiet_transformers()
        self.tokenizer: Any = load_tokenizer(resolved)
        self.adapter: AdapterInfo | None = None if adapter is None else fitting_adapter(adapter, resolved)
        self._marks = marking.marks
        self._embedder = Embedder(marking.embedder)
        self.chunks: list[Chunk] = []
        if marking.marks:
            counter = encoding.text_tokenizer(self.tokenizer, self.text)
            self.chunks = chunk_spans(self.text, counter, marking.chunk_size, 0, 1)
            if len(self.chunks) > 1:
                self._embedder.load()
        self._engine = TransformersEngine(
            max_model_len=loading.max_model_len,
            dtype=loading.dtype,
            quantization=loading.quantization,
            device=loading.device,
        )
        with step(f"loading weights of {shown(model, 100)}"):
            self._engine.start(resolved)
        if self.adapter is not None:
            self._engine.sync(self.adapter.folder)

    def readers(self) -> dict[str, Reader]:
        """Return who answers, by name: the base model, and beside it the adapter if there is one."""
        names = {"base": False} | ({"adapter": True} if self.adapter is not None else {})
        return {name: Reader(self, self._engine.conversation(adapter)) for name, adapter in names.items()}

    def fitting(self, question: str) -> str:
        """Return the document, without its middle if it does not fit the model beside the question and its answer."""
        overhead = len(self.format.prompt_ids(self.tokenizer, "", question))
        room = self._engine.max_model_len - overhead - self.sampling.max_tokens - 8
        if room < 1:
            raise ConfigError(
                f"the question and an answer of {self.sampling.max_tokens} tokens alone do not fit the "
                f"{self._engine.max_model_len} tokens that the model takes; lower --max_tokens"
            )
        counter = encoding.text_tokenizer(self.tokenizer, self.text)
        text, cut = middle_truncated(self.text, counter, room)
        if cut:
            tell(f"note: the document is longer than the {room:,} tokens that fit, so its middle is left out")
        return text

    def marks(self, question: str) -> list[Mark]:
        """Return the chunks nearest to the question, nearest first; none of a document that is one chunk."""
        if len(self.chunks) < 2:
            return []
        texts = [chunk.of(self.text) for chunk in self.chunks]
        similarity = self._embedder.encode(texts) @ self._embedder.encode_query(question)
        nearest = similarity.argsort()[::-1][: self._marks]
        return [
            Mark(int(i) + 1, len(texts), float(similarity[i]), shown(_excerpt(texts[i]), EXCERPT + 4)) for i in nearest
        ]

    def close(self) -> None:
        """Free the model."""
        self._engine.close()


class Reader:
    """One model's conversation about the document, which it reads once."""

    def __init__(self, document: AskedDocument, conversation: Conversation) -> None:
        self._document = document
        self.conversation = conversation

    def answer(self, question: str) -> Iterator[str]:
        """Yield the answer to the next question piece by piece, safe to print.

        Raises:
            PromptTooLong: the conversation has become longer than the model takes.
        """
        document, format = self._document, self._document.format
        if not self.conversation.ids:
            new = format.prompt_ids(document.tokenizer, document.fitting(question), question)
        else:
            new = self._next_turn(question)
        begun = False
        for piece in self.conversation.answer(new, document.sampling):
            shown_piece = printable(piece) if begun else printable(piece).lstrip()
            begun = begun or bool(shown_piece)
            yield shown_piece

    def _next_turn(self, question: str) -> tuple[int, ...]:
        """Return the ids between the last answer and the next one."""
        document, format = self._document, self._document.format
        turn = [{"role": "user", "content": question}]
        gap = encoding.after_turn(document.tokenizer, turn, format.template_arguments)
        prefill: tuple[int, ...] = ()
        if isinstance(format, DirectAnswer) and format.prefill:
            prefill = tuple(document.tokenizer.encode(format.prefill, add_special_tokens=False))
        end = () if self.conversation.finished or gap.end is None else (gap.end,)
        return (*end, *gap.rest, *prefill)


def _excerpt(text: str) -> str:
    """Return the beginning of a text on one line, up to the last whole word of `EXCERPT` characters."""
    line = " ".join(text.split())
    return line if len(line) <= EXCERPT else f"{line[:EXCERPT].rpartition(' ')[0] or line[:EXCERPT]} ..."


def _known(prompt_format: PromptFormat | None) -> Format | None:
    if prompt_format is not None and not isinstance(prompt_format, Format):
        raise ConfigError(
            f"--prompt_format {type(prompt_format).__name__} has no later turns; use DirectAnswer, ReasonThenAnswer or "
            "PlanAndSolve of longmab_pl.prompts"
        )
    return prompt_format


def trained_format(adapter: str | None) -> Format | None:
    """Return the prompt format of the run that an adapter lies in; None if it lies in none that says so."""
    if adapter is None:
        return None
    try:
        given = init_args(saved_config(Path(adapter).expanduser().resolve().parent).get("data")).get("prompt_format")
        if isinstance(given, str):
            given = {"class_path": given}
        if not isinstance(given, Mapping):
            return None
        found = find_class(str(given.get("class_path", "")), object)(**(given.get("init_args") or {}))
    except (DataError, TypeError, ValueError):
        return None
    return found if isinstance(found, Format) else None


def checked_arguments(module: str, name: str, args: Sequence[str], *, positionals: int) -> list[str]:
    """Return a command's arguments, with the model that is asked, checked before a library is imported.

    Args:
        module: module of the command's function.
        name: name of the function.
        args: the command's name and its arguments.
        positionals: number of positional arguments without the model.

    Raises:
        ConfigError, DataError, EngineError: an option, the document, the model or the adapter cannot be used.
    """
    given = command_line.positionals(args[1:])
    if len(given) < positionals and not {"-h", "--help", "--config"} & {arg.partition("=")[0] for arg in args}:
        what, form = ("a document and a question", 'FILE "question"') if positionals > 1 else ("a document", "FILE")
        raise ConfigError(f"longmab {args[0]} needs {what}: longmab {args[0]} [MODEL] {form}")
    complete = with_default_model(args, positionals=positionals)
    found = refuse_wrong_options(module, name, complete)
    start_log()
    if "model" in found and "file" in found:
        if not Path(found["file"]).is_file():
            read_document(Path(found["file"]))  # it says what is wrong
        refuse_missing_model(found["model"], found.get("adapter"), "the model")
    return complete


def with_default_model(args: Sequence[str], *, positionals: int) -> list[str]:
    """Return a command's arguments with the default model in front if none is named.

    Args:
        args: the command's name and its arguments.
        positionals: number of positional arguments without the model.
    """
    command, *given = args
    if len(command_line.positionals(given)) == positionals:
        given = [default_model(command_line.option_value(given, "--adapter")), *given]
    return [command, *given]


def default_model(adapter: str | None) -> str:
    """Return the model that is asked if none is named: the adapter's base model if it is there, else the bundled."""
    if adapter is not None:
        try:
            config = json.loads((Path(adapter).expanduser() / "adapter_config.json").read_text(encoding="utf-8"))
            base = str(config["base_model_name_or_path"])
        except (OSError, ValueError, KeyError, TypeError):
            return BUNDLED
        if base and Path(base) == converted_folder():
            return BUNDLED
        if base and (Path(base).is_dir() or not base.startswith(("/", ".", "~"))):
            return base
    return BUNDLED
