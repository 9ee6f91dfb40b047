"""RULER: generators with the original's random numbers, its length budget, and its scores."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from typing import Any

from parity import Adapter, Deviation

from longmab_pl.errors import ConfigError
from longmab_pl.evaluation.ruler import scoring
from longmab_pl.evaluation.ruler.common_words import CommonWords, Frequencies, word_count
from longmab_pl.evaluation.ruler.example import Draws, Example, Generator, Template, one_line
from longmab_pl.evaluation.ruler.frequent_words import frequent_example
from longmab_pl.evaluation.ruler.needles import NeedleForm, NeedleMaterial, Needles
from longmab_pl.evaluation.ruler.questions import DocumentQuestions, QuestionSet, hotpot_questions, squad_questions
from longmab_pl.evaluation.ruler.sizing import fitting_example, search_size
from longmab_pl.evaluation.ruler.texts import Essay
from longmab_pl.evaluation.ruler.variable_tracking import (
    TrackingText,
    VariableTracking,
    merged,
    renamed,
    worked_example,
)

Given = dict[str, Any]

ESSAY = [f"e{i}" + ("." if i % 7 == 6 else "") for i in range(1300)]
NOISE = "n1 n2. n3 n4. n5."


def tokens(example: Example) -> int:
    return len(example.whole.split())


def sentences(text: str) -> list[str]:
    return re.split(r"(?<=\.)\s+", text)


def recorded(text: str, whole: int = 400) -> dict[str, Any]:
    """A text as the vectors hold it: whole, or its digest and its ends."""
    if len(text) <= whole:
        return {"text": text}
    digest = hashlib.sha256(text.encode()).hexdigest()
    return {"sha256": digest, "chars": len(text), "head": text[:120], "tail": text[-120:]}


def template(args: Given, prefix: str) -> Template:
    text, _, rest = args["template"].partition(prefix)
    return Template(text, prefix + rest)


def sample(index: int, example: Example, taken: int, args: Given) -> dict[str, Any]:
    shown = Example(one_line(example.text), example.prefix, example.answers) if squeezed(args) else example
    return {
        "index": index,
        "outputs": list(example.answers),
        "length": taken,
        "length_w_model_temp": taken + args.get("model_template_token", 0),
        "answer_prefix": shown.prefix,
        **recorded(shown.text),
    }


def squeezed(args: Given) -> bool:
    return bool(args.get("remove_newline_tab"))


# Needles


def needles(args: Given) -> Needles:
    form = NeedleForm(
        args["type_haystack"],
        args["type_needle_k"],
        args["type_needle_v"],
        args["num_needle_k"],
        args["num_needle_v"],
        args["num_needle_q"],
    )
    words = sorted(f"adj{a:02d}-noun{n:02d}" for a in range(10) for n in range(10))
    material = NeedleMaterial(words, "K<{key}> T<{type_needle_v}> V<{value}>.", NOISE, Essay(ESSAY, sentences))
    return Needles(form, template(args, " REPLYWITH"), material, Draws(args["random_seed"]))


def niah_calls(given: Given) -> Any:
    make = needles(given["args"])
    made = [make(size) for size in given["calls_num_haystack"]]
    return [{**recorded(e.whole, 900), "answers": list(e.answers)} for e in made]


def niah_samples(given: Given) -> Any:
    args = given["args"]
    make = needles(args)
    try:
        made = fitted(make, args, step=make.step(args["max_seq_length"]))
    except ConfigError:  # the original's is a ValueError out of random.sample
        return {"error": "ValueError"}
    out = []
    for i, (example, taken) in enumerate(made):
        row = sample(i, example, taken, args)
        text = one_line(example.text) if squeezed(args) else example.text
        row["index"] = text.find(example.answers[0])
        row["token_position_answer"] = len(text[: row["index"]].split())
        out.append(row)
    return out


def fitted(
    make: Generator,
    args: Given,
    step: int,
    finished: Callable[[Example], Example] | None = None,
    worked: str = "",
) -> list[tuple[Example, int]]:
    limit = args["max_seq_length"] - args.get("model_template_token", 0)

    def taken(example: Example) -> int:
        return tokens(example) + args["tokens_to_generate"]

    size = search_size(make, taken, limit, step, beside=args["tokens_to_generate"] + len(worked.split()))
    return [fitting_example(make, taken, size, limit, step, finished) for _ in range(args["num_samples"])]


# Variable tracking


def tracking(args: Given, **options: Any) -> VariableTracking:
    text = TrackingText(NOISE, Essay(ESSAY, sentences) if args.get("type_haystack") == "essay" else None)
    return VariableTracking(
        options.pop("template", Template("{context}", "")),
        text,
        options.pop("draws", None) or Draws(args["random_seed"]),
        chains=args["num_chains"],
        hops=args["num_hops"],
        **options,
    )


def vt_chains(given: Given) -> Any:
    draws = Draws(given["args"]["random_seed"])
    out = []
    for is_icl in given["calls_is_icl"]:
        names, chains = tracking(given["args"], draws=draws, in_example=is_icl).statements()
        out.append({"is_icl": is_icl, "vars": names, "chains": chains})
    return out


def vt_merged(given: Given) -> Any:
    draws = Draws(given["random_seed"])
    return [merged(given["lists"], draws) for _ in range(given["calls"])]


def vt_renamed(given: Given) -> Any:
    draws = Draws(given["random_seed"])
    return [renamed(given["icl_example"], given["num_hops"], draws) for _ in range(given["calls"])]


def vt_main(given: Given) -> Any:
    args, fixed = given["args"], given["fixed"]
    draws = Draws(args["random_seed"])
    task, prefix = fixed["task_template"], fixed["answer_prefix"]
    text = template(args, prefix).text
    at = text.index(task)
    bare = tracking(args, template=Template(task, prefix), draws=draws, in_example=True)
    try:
        worked = worked_example(bare, tokens, 500 - args.get("model_template_token", 0))
    except ConfigError:  # the original's is a ValueError out of random.sample
        return {"error": "ValueError"}
    full = tracking(args, template=Template(text[at:], prefix, text[:at]), draws=draws, worked=worked)
    shown = worked.strip().split()
    whole = worked.removesuffix(" ".join(shown[-bare.hops - 1 :]) + "\n\n").removesuffix(" ")
    example = {"index": 0, "outputs": shown[-bare.hops - 1 :], "length": len(whole.split()), **recorded(whole)}
    made = fitted(full, args, full.step(args["max_seq_length"]), full.finished, worked)
    rows = [sample(i, e, taken, args) for i, (e, taken) in enumerate(made)]
    return {"icl_example": example, "samples": rows}


# Common and frequent words


def cwe(args: Given) -> CommonWords:
    words = [f"{kind}{i:02d}" for kind, n in (("noun", 80), ("adj", 60), ("verb", 60)) for i in range(n)]
    asked = Frequencies(args.get("freq_cw", 30), args.get("freq_ucw", 3), args.get("num_cw", 10))
    return CommonWords(
        template({"template": "{context} TOPWORDS", **args}, " TOPWORDS"),
        words,
        [f"r{i:05d}" for i in range(6000)],
        Draws(args["random_seed"]),
        frequencies=asked,
        worked=args.get("num_fewshot", 1),
        short=args["max_seq_length"] < 4096,
    )


def cwe_calls(given: Given) -> Any:
    make = cwe(given["args"])
    made = [make(size) for size in given["calls_num_words"]]
    return [{**recorded(e.whole), "answers": list(e.answers)} for e in made]


def cwe_listings(given: Given) -> Any:
    make = cwe(given["args"])
    made = [make.listing(n, Frequencies(*rest)) for n, *rest in given["calls"]]
    return [{**recorded(text), "common": common} for text, common in made]


def cwe_samples(given: Given) -> Any:
    args = given["args"]
    make = cwe(args)
    limit = args["max_seq_length"] - args.get("model_template_token", 0)

    def taken(example: Example) -> int:
        return tokens(example) + args["tokens_to_generate"]

    size = word_count(make, taken, limit, args["tokens_to_generate"])
    made = [fitting_example(make, taken, size, limit, 10) for _ in range(args["num_samples"])]
    return [sample(i, e, n, args) for i, (e, n) in enumerate(made)]


def fwe_calls(given: Given) -> Any:
    args = given["args"]
    draws = Draws(args["random_seed"])
    out = []
    for call in given["calls"]:
        example, _, size = frequent_example(
            template(args, " CODEDTOP"),
            draws,
            tokens,
            call["max_len"],
            size=call["num_words"] if call["num_words"] > 0 else None,
            step=call["incremental"],
            vocabulary=call["vocab_size"],
            letters=call["coded_wordlen"],
            alpha=call["alpha"],
        )
        out.append({**recorded(example.whole), "answers": list(example.answers), "num_words": size})
    return out


def fwe_samples(given: Given) -> Any:
    args = given["args"]
    draws = Draws(args["random_seed"])
    limit = args["max_seq_length"] - args["tokens_to_generate"] - args.get("model_template_token", 0)
    size = None
    rows = []
    for i in range(-1, args["num_samples"]):  # the first finds the size
        example, taken, size = frequent_example(
            template(args, " CODEDTOP"),
            draws,
            tokens,
            limit,
            size=size,
            step=limit // 32,
            vocabulary=args.get("vocab_size") or limit // 50,
            alpha=args.get("alpha", 2.0),
        )
        if i >= 0:
            rows.append(sample(i, example, taken + args["tokens_to_generate"], args))
    return rows


# Questions


def question_set(given: Given) -> QuestionSet:
    dataset = given.get("dataset") or given["args"]["dataset"]
    return squad_questions(given["data"]) if dataset == "squad" else hotpot_questions(given["data"])


def qa_read(given: Given) -> Any:
    data = question_set(given)
    qas = []
    for q in data.questions:
        row = {"query": q.text, "outputs": list(q.answers), "context": list(q.gold)}
        qas.append(row | ({"more_context": list(q.related)} if given["dataset"] == "squad" else {}))
    return {"qas": qas, "docs": list(data.documents)}


def questions(given: Given) -> DocumentQuestions:
    args = given["args"]
    return DocumentQuestions(
        template(args, " ANSWERED"), "Document {i}:\n{document}", question_set(given), Draws(args["random_seed"])
    )


def qa_calls(given: Given) -> Any:
    make = questions(given)
    made = [make.example(index, size) for index, size in given["calls_index_numdocs"]]
    return [{**recorded(e.whole), "answers": list(e.answers)} for e in made]


def qa_samples(given: Given) -> Any:
    args = given["args"]
    make = questions(given)
    limit = args["max_seq_length"] - args.get("model_template_token", 0)

    def taken(example: Example) -> int:
        return tokens(example) + args["tokens_to_generate"]

    size = search_size(make.of(0), taken, limit, 10, beside=args["tokens_to_generate"])
    first = args.get("pre_samples", 0)
    made = [fitting_example(make.of(first + i), taken, size, limit, 10) for i in range(args["num_samples"])]
    return [sample(i, e, n, args) for i, (e, n) in enumerate(made)]


def match(score: Callable[[str, list[str]], float], given: Given) -> float:
    return scoring.mean_score([score(p, r) for p, r in zip(given["preds"], given["refs"], strict=False)])


ADAPTERS: dict[str, Adapter] = {
    "ruler.niah.generate_input_output": niah_calls,
    "ruler.niah.generate_samples": niah_samples,
    "ruler.vt.generate_chains": vt_chains,
    "ruler.vt.shuffle_sublists_heap": vt_merged,
    "ruler.vt.randomize_icl": vt_renamed,
    "ruler.vt.main": vt_main,
    "ruler.cwe.generate_input_output": cwe_calls,
    "ruler.cwe.get_example": cwe_listings,
    "ruler.cwe.sys_word_pair_random": cwe_samples,
    "ruler.fwe.generate_input_output": fwe_calls,
    "ruler.fwe.sys_kwext": fwe_samples,
    "ruler.qa.read": qa_read,
    "ruler.qa.generate_input_output": qa_calls,
    "ruler.qa.generate_samples": qa_samples,
    "ruler.string_match_all": lambda g: match(scoring.all_found, g),
    "ruler.string_match_part": lambda g: match(scoring.any_found, g),
    "ruler.postprocess_pred": lambda g: scoring.clean(g["pred"]),
}

DEVIATIONS: list[Deviation] = []
