"""Short names of suites, as `longmab evaluate --suite NAME` takes them."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from longmab_pl.errors import ConfigError
from longmab_pl.shown import quoted


@dataclass(frozen=True)
class ShortName:
    """A suite's short name.

    Args:
        name: the name, which is also the suite's own name and the folder of its results.
        suite: public class path.
        help: what it asks and what it needs, in one line.
        settings: settings of the class that the name stands for.
        kilo: number that "k" multiplies in the suite's lengths.
        sample: the setting that `--limit`, the number of questions for each task, stands for.
    """

    name: str
    suite: str
    help: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    kilo: int = 1024
    sample: str = "limit"


_HOME = "longmab_pl.evaluation."

SHORT_NAMES = {
    row.name: row
    for row in (
        ShortName("qa", _HOME + "QASuite", "your own questions: reason, then answer; --data questions.jsonl"),
        ShortName(
            "longbench", _HOME + "LongBenchSuite", "LongBench's 21 tasks, or your files in its format; --data FOLDER"
        ),
        ShortName(
            "longbench_e",
            _HOME + "LongBenchSuite",
            "LongBench-E: 13 tasks, scores by length; --data FOLDER",
            {"tasks": ["longbench_e"], "name": "longbench_e"},
        ),
        ShortName(
            "longbench_v2",
            _HOME + "LongBenchV2Suite",
            "503 four-way choices; --data data.json [--answer cot|log_likelihood] [--mode no_context|rag]",
        ),
        ShortName(
            "longbench_pro",
            _HOME + "LongBenchProSuite",
            "25 tasks, English and Chinese, 8k to 256k; --data longbench_pro.json",
        ),
        ShortName(
            "infinitebench",
            _HOME + "InfiniteBenchTasksSuite",
            "InfiniteBench's twelve tasks; --data FOLDER [--version published|corrected]",
            {"name": "infinitebench"},
        ),
        ShortName(
            "infinitebench_qa",
            _HOME + "InfiniteBenchSuite",
            "InfiniteBench's En.QA as the LongMab-PO paper asks it; --data FOLDER",
            {"name": "infinitebench_qa"},
        ),
        ShortName(
            "helmet",
            _HOME + "HELMETSuite",
            "HELMET's passages and novels, plain and agentic; --data FOLDER [--styles '[plain,agentic]']",
        ),
        ShortName(
            "agentic",
            _HOME + "AgenticSuite",
            "your own questions by several ways of asking, five turns among them; --data questions.jsonl",
        ),
        ShortName(
            "ruler", _HOME + "RULERSuite", "RULER's 13 tasks, generated; --lengths 4k,8k,16k,32k", sample="samples"
        ),
        ShortName(
            "needle", _HOME + "NeedleSuite", "a fact at every depth of a text; --lengths 1k,4k,16k", sample="needles"
        ),
        ShortName(
            "longbench_judge",
            _HOME + "JudgedLongBenchSuite",
            "12 tasks of LongBench rated by a judge; --data FOLDER --judge.model NAME",
        ),
        ShortName(
            "longbench_chat",
            _HOME + "LongBenchChatSuite",
            "LongBench-Chat; --cases test_cases.json --examples few_shots.json --judge.model NAME",
        ),
        ShortName(
            "longbench_write",
            _HOME + "LongBenchWriteSuite",
            "long answers of a required length; --data longbench_write.jsonl [--judge.model NAME]",
        ),
        ShortName(
            "longgenbench",
            _HOME + "LongGenBenchSuite",
            "answers of numbered sections with tasks; --data Dataset_short.json [--judge.model NAME]",
        ),
        ShortName("subem", _HOME + "SubEMSuite", "SeaLong's five tasks of LongBench, SubEM; --data FOLDER"),
        ShortName("mrcr", _HOME + "MRCRSuite", "OpenAI MRCR: one of several equal answers of a chat; --data FOLDER"),
        ShortName(
            "nolima",
            _HOME + "NoLiMaSuite",
            "needles without words of their question; --needles FILE --books FOLDER --lengths 1k,4k",
            kilo=1000,
        ),
    )
}
"""The suites of the package by short name."""


def short_name(name: str) -> ShortName:
    """Return what a short name stands for.

    Raises:
        ConfigError: there is none; the message has the nearest one and the list.
    """
    if name in SHORT_NAMES:
        return SHORT_NAMES[name]
    by_class = {row.suite.rpartition(".")[2].lower(): row.name for row in reversed(SHORT_NAMES.values())}
    wanted = name[:100].lower()
    known = [*SHORT_NAMES, *by_class, *(cls.removesuffix("suite") for cls in by_class)]
    found = difflib.get_close_matches(wanted.replace("-", "_"), known, n=1, cutoff=0.6)
    near = next((by_class.get(n, by_class.get(f"{n}suite", n)) for n in found), "")
    hint = f"; did you mean `{near}`?" if near else "."
    raise ConfigError(
        f"--suite: there is no suite {quoted(name)}{hint} Suites are {', '.join(SHORT_NAMES)}, or the class path of "
        "your own (my_module.MySuite)"
    )


def list_of_suites() -> str:
    """Return all short names with their lines, for `--help`."""
    width = max(map(len, SHORT_NAMES)) + 2
    return "\n".join(f"  {row.name:<{width}}{row.help}" for row in SHORT_NAMES.values())
