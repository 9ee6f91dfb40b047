"""`longmab synthesize`: question-answering sets of invented facts, easy or hard and long, with long contexts from
multi-hop questions, or from documents alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Literal

from longmab_pl.cli.arguments import call
from longmab_pl.cli.config_errors import OneErrorParser
from longmab_pl.cli.function_options import refuse_wrong_options
from longmab_pl.cli.quiet import quiet_transformers
from longmab_pl.data.hard_contexts import HardSettings, write_hard_dataset
from longmab_pl.data.hard_questions import MAX_HOPS, TASKS, Task
from longmab_pl.data.long_context_records import LongContextSources, write_long_contexts
from longmab_pl.data.long_contexts import ContextSettings
from longmab_pl.data.synthesis import write_dataset
from longmab_pl.data.writing_instructions import write_instructions
from longmab_pl.models.hub import resolve_model
from longmab_pl.models.tokenizer import load_tokenizer
from longmab_pl.prompts import encoding


def synthesize(
    folder: str,
    train: int | None = None,
    eval: int | None = None,
    passages: int = 6,
    seed: int = 0,
    two_hop: float = 0.25,
    kind: Literal["questions", "writing"] = "questions",
    lengths: list[int] | None = None,
) -> None:
    """Write a synthetic multi-passage QA set (train.jsonl, eval.jsonl) whose answers are in invented documents.

    With `--from FILE`, write records with long contexts from multi-hop questions instead; its options:
    `longmab synthesize --from FILE --help`. With `--kind long`, write harder questions about contexts of 1k to 128k
    tokens; its options: `longmab synthesize --kind long --help`. With `--documents FOLDER`, a model writes questions
    about your own documents; its options: `longmab synthesize --documents FOLDER --help`.

    Args:
        folder: folder to write to.
        train: number of training records. Default: 240 questions, or 96 writing instructions.
        eval: number of evaluation records (no entity of theirs occurs in training). Default: 100 or 48.
        passages: passages per context; about 50 tokens each, so 300 make 15k tokens.
        seed: the same seed gives the same files.
        two_hop: share of questions that need two passages, one of which names the subject of the other; 1 makes a
            multi-hop set.
        kind: questions with contexts, or writing instructions with required lengths (`prompt`, `type`, `length`).
        lengths: required lengths of writing instructions, in words. Default: 60, 100, 160, 240, 400.
    """
    if kind == "writing":
        paths = write_instructions(folder, seed, 96 if train is None else train, 48 if eval is None else eval, lengths)
    else:
        counts = 240 if train is None else train, 100 if eval is None else eval
        paths = write_dataset(Path(folder), seed, *counts, passages, two_hop)
    for path in paths:
        print(path)


def hard_questions(
    folder: str,
    train: int = 200,
    eval: int = 100,
    tasks: list[Task] | None = None,
    min_tokens: int = 1024,
    max_tokens: int = 4096,
    model: str = "bundled:smollm2-135m-instruct",
    hops: int = MAX_HOPS,
    near: int = 2,
    topic: float = 0.3,
    links: int = 4,
    chains: int = 3,
    seed: int = 0,
) -> None:
    """Write hard questions about long contexts of invented facts (train.jsonl, eval.jsonl).

    Args:
        folder: folder to write to.
        train: number of training records.
        eval: number of evaluation records (no entity of theirs occurs in training).
        tasks: what makes questions hard, in turn: hops (facts of several passages), chain (a question that a chain of
            slips hides), unanswerable (the text does not say it), list, count. Default: all of them.
        min_tokens: shortest length of a context.
        max_tokens: longest length, such as 131072.
        model: the model whose tokenizer counts lengths.
        hops: most facts between a question and its answer, 1 to 3.
        near: near-duplicates of needed passages with another answer.
        topic: share of the other distractors that state the same fact about other entities.
        links: slips in a chain.
        chains: chains in a context; all but one lead to other questions.
        seed: the same seed, settings and tokenizer give the same files.
    """
    settings = HardSettings(
        TASKS if tasks is None else tuple(tasks), min_tokens, max_tokens, hops, near, topic, links, chains, seed
    )
    for path in write_hard_dataset(folder, settings, train, eval, _counter(model)):
        print(path)


def long_contexts(
    output: str,
    source: str,
    model: str = "bundled:smollm2-135m-instruct",
    min_tokens: int = 4 * 1024,
    max_tokens: int = 31 * 1024,
    depths: list[float] | None = None,
    articles: str | None = None,
    documents: str | None = None,
    limit: int | None = None,
    seed: int = 0,
    split: str = "train",
) -> None:
    """Write records with long contexts from multi-hop questions: needed passages among distractors (SeaLong).

    Distractors are the record's own, then passages of other records. The same command continues after an interruption.

    Args:
        output: the .jsonl file to write, or a folder, in which it is called train.jsonl.
        source: records of MuSiQue, HotpotQA or 2WikiMultihopQA as they are (a file, a folder, or a name on a hub), or
            with question, answer, and sources (titles of documents) or context (one text).
        model: the model whose tokenizer counts lengths.
        min_tokens: shortest target length of a context, headers of passages included.
        max_tokens: longest target length; drawn per record, in steps of 1,024.
        depths: where needed passages stand, one drawn per record: 0 (first) to 1 (last). Default: all are shuffled.
        articles: full articles by title, used in place of the records' passages: a file with title and text, or
            wikimedia/wikipedia where a hub can be reached.
        documents: folder of text and Markdown files: distractors, and what sources name.
        limit: number of records. Default: all questions.
        seed: the same seed gives the same record, whatever the limit and the order of the file.
        split: split of a folder or data set.
    """
    path = Path(output)
    path = path if path.suffix == ".jsonl" else path / "train.jsonl"
    settings = ContextSettings(min_tokens, max_tokens, None if depths is None else tuple(depths), seed)
    sources = LongContextSources(source, articles, documents, split)
    summary = write_long_contexts(path, sources, settings, _counter(model), counted_by=model, limit=limit)
    print("\n".join(summary.lines()))


def _counter(model: str) -> Callable[[str], int]:
    """Return a function that returns the tokens of a text by a model's tokenizer."""
    tokenizer = load_tokenizer(resolve_model(model), needs_chat=False)

    def count(text: str) -> int:
        return len(encoding.text_tokenizer(tokenizer, text).encode(text, add_special_tokens=False))

    return count


def run(args: Sequence[str]) -> None:
    """Run the command."""
    if rest := _without_kind_long(args):
        refuse_wrong_options(__name__, "hard_questions", rest)
        quiet_transformers()
        call(hard_questions, rest)
        return
    if not _given(args, "--from") and _given(args, "--documents"):
        refuse_wrong_options("longmab_pl.cli.synthesize_documents", "document_questions", args)
        from longmab_pl.cli.synthesize_documents import document_questions  # needs torch, the others do not

        quiet_transformers()
        call(document_questions, args)
        return
    if not _given(args, "--from"):
        refuse_wrong_options(__name__, "synthesize", args)
        call(synthesize, args)
        return
    quiet_transformers()
    parser = OneErrorParser(prog=f"longmab {args[0]}", description=(long_contexts.__doc__ or "").split("\n", 1)[0])
    parser.add_function_arguments(long_contexts, skip={"source"}, as_positional=True)
    parser.add_argument("--from", type=str, required=True, help="The multi-hop records to use.")
    given = parser.parse_args(list(args[1:])).as_dict()
    source = given.pop("from")
    long_contexts(source=source, **given)


def _given(args: Sequence[str], option: str) -> bool:
    return any(arg == option or arg.startswith(f"{option}=") for arg in args)


def _without_kind_long(args: Sequence[str]) -> list[str]:
    """Return the arguments without `--kind long`; an empty list if they do not have it."""
    if "--kind=long" in args:
        return [arg for arg in args if arg != "--kind=long"]
    for place, pair in enumerate(pairwise(args)):
        if pair == ("--kind", "long"):
            return [*args[:place], *args[place + 2 :]]
    return []
