"""Prompts of a judge (LongReward), in English and Chinese and in our own words. Every text is a setting."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields
from string import Template

from longmab_pl.errors import ConfigError

FIELDS: Mapping[str, frozenset[str]] = {
    "helpfulness": frozenset({"rule", "question", "answer"}),
    "logicality": frozenset({"rule", "question", "answer"}),
    "helpfulness_of_all": frozenset({"rule", "question", "answers", "form"}),
    "logicality_of_all": frozenset({"rule", "question", "answers", "form"}),
    "statements": frozenset({"rule", "question", "answer", "nothing"}),
    "support": frozenset({"rule", "statement", "evidence"}),
    "support_of_all": frozenset({"rule", "statements", "form"}),
    "notes": frozenset({"rule", "question", "document", "nothing"}),
    "completeness": frozenset({"rule", "question", "notes", "answer"}),
}
"""The `$names` that each prompt must contain. They are replaced once, without replacing names in the inserted texts."""


@dataclass(frozen=True)
class JudgePrompts:
    """The texts of a judge, with `$names` for what is filled in (`FIELDS`).

    Args:
        helpfulness: rates one answer.
        logicality: rates one answer.
        helpfulness_of_all: rates all answers to a question at once.
        logicality_of_all: rates all answers to a question at once.
        statements: lists the factual statements of an answer.
        support: rates how far evidence supports one statement.
        support_of_all: rates the support of all statements of an answer at once.
        notes: notes what a part of the document says on the question.
        completeness: rates whether an answer covers the notes.
    """

    helpfulness: str
    logicality: str
    helpfulness_of_all: str
    logicality_of_all: str
    statements: str
    support: str
    support_of_all: str
    notes: str
    completeness: str

    def __post_init__(self) -> None:
        for each in fields(self):
            template = Template(getattr(self, each.name))
            found, wanted = set(template.get_identifiers()), FIELDS[each.name]
            if found != wanted or not template.is_valid():
                raise ConfigError(
                    f"the judge's prompt {each.name!r} holds {_listed(found)}; it must hold {_listed(wanted)}, each as "
                    "it is here (write $$ for a dollar)"
                )


def _listed(names: Collection[str]) -> str:
    return ", ".join(f"${name}" for name in sorted(names)) or "no $names"


def fill(prompt: str, **texts: str) -> str:
    """Return a prompt with its `$names` replaced in one pass; names inside the inserted texts are unchanged.

    Example:
        >>> fill("Q: $question A: $answer", question="$answer?", answer="yes")
        'Q: $answer? A: yes'
    """
    return Template(prompt).substitute(texts)


_RATE_LAST = "Analyze first, in a few sentences. Then end with one line: Rating: [[n]], n from 0 to 10."
_RATE_ALL = (
    "Compare the answers, in a few sentences. Then end with one JSON object that gives each answer a number from 0 to "
    "10 under its name, exactly as in: $form"
)

_HELPFULNESS = (
    "Criteria: the answer is on the question's topic, serves what the asker needs, replies to every part of the "
    "question, and keeps the form that was asked for. A reply to two of three parts is about half as good; a refusal "
    "with a reason is near 2; an answer off the topic is 0."
)

_LOGICALITY = (
    "Criteria: the parts of the answer fit together, its opinion stays the same, its reasoning and arithmetic are "
    "right, and nothing in it contradicts itself. Judge the answer by itself, without knowledge of the world."
)

ENGLISH = JudgePrompts(
    helpfulness=(
        "You rate how helpful an answer to a question is.\n"
        f"{_HELPFULNESS}\n$rule\n\nQuestion: $question\n\nAnswer:\n$answer\n\n{_RATE_LAST}"
    ),
    logicality=(
        "You rate how sound the reasoning of an answer is.\n"
        f"{_LOGICALITY}\n$rule\n\nQuestion: $question\n\nAnswer:\n$answer\n\n{_RATE_LAST}"
    ),
    helpfulness_of_all=(
        "You rate how helpful several answers to one question are, each by itself.\n"
        f"{_HELPFULNESS}\n$rule\n\nQuestion: $question\n\nAnswers:\n$answers\n\n{_RATE_ALL}"
    ),
    logicality_of_all=(
        "You rate how sound the reasoning of several answers to one question is, each by itself.\n"
        f"{_LOGICALITY}\n$rule\n\nQuestion: $question\n\nAnswers:\n$answers\n\n{_RATE_ALL}"
    ),
    statements=(
        "List the factual statements of an answer that was written from a document, about one a sentence, in order. "
        "Leave out openings, transitions, summaries and conclusions. Replace pronouns by what they stand for, so that "
        "each statement can be understood by itself; a short answer is one statement together with its question.\n"
        "$rule\n\nQuestion: $question\n\nAnswer:\n$answer\n\n"
        "Write every statement between <statement> and </statement>. If the answer states no fact, write only $nothing"
    ),
    support=(
        "Say how far passages of a document support a statement: fully (they say it almost literally), partially (they "
        "say more than half of it), or not.\n"
        "$rule\n\nStatement:\n$statement\n\nPassages:\n$evidence\n\n"
        "Analyze first, in a few sentences. Then end with one line: [[Fully supported]], [[Partially supported]] or "
        "[[No support]]."
    ),
    support_of_all=(
        "Say how far passages of a document support each of several statements: fully (they say it almost literally), "
        "partially (they say more than half of it), or not. Every statement is followed by its own passages.\n"
        "$rule\n\n$statements\n\n"
        "Analyze first, in a few sentences. Then end with one JSON object that says fully, partially or none for each "
        "statement under its name, exactly as in: $form"
    ),
    notes=(
        "Write down everything in a part of a document that bears on a question, as a numbered list. Do not answer the "
        "question.\n$rule\n\nQuestion: $question\n\nPart of the document:\n$document\n\n"
        "If there is nothing, write only: $nothing"
    ),
    completeness=(
        "Notes were taken on a question from all parts of a document. You rate how completely an answer covers the "
        "important points in them: 10 leaves out none, 0 has none.\n"
        f"$rule\n\nQuestion: $question\n\nNotes:\n$notes\n\nAnswer:\n$answer\n\n{_RATE_LAST}"
    ),
)

_ZH_RATE = "先用几句话分析，最后单独一行写：评分：[[n]]，n 为 0 到 10。"
_ZH_RATE_ALL = "先用几句话比较，最后写一个 JSON 对象，用每个回答的名称给出 0 到 10 的分数，格式为：$form"
_ZH_HELPFULNESS = (
    "标准：是否切题，是否满足提问者的需要，是否答复了问题的每个部分，是否符合所要求的格式。三个部分只答两个约为一半的分数；"
    "说明理由的拒答约为 2；答非所问为 0。"
)
_ZH_LOGICALITY = (
    "标准：各部分是否一致，观点是否前后相同，推理和计算是否正确，有无自相矛盾。只看回答本身，不使用外部知识。"
)

CHINESE = JudgePrompts(
    helpfulness=f"请评价一个回答的有用程度。\n{_ZH_HELPFULNESS}\n$rule\n\n问题：$question\n\n回答：\n$answer\n\n{_ZH_RATE}",
    logicality=f"请评价一个回答的逻辑。\n{_ZH_LOGICALITY}\n$rule\n\n问题：$question\n\n回答：\n$answer\n\n{_ZH_RATE}",
    helpfulness_of_all=(
        f"请分别评价同一问题的几个回答的有用程度。\n{_ZH_HELPFULNESS}\n$rule\n\n问题：$question\n\n回答：\n$answers\n\n"
        f"{_ZH_RATE_ALL}"
    ),
    logicality_of_all=(
        f"请分别评价同一问题的几个回答的逻辑。\n{_ZH_LOGICALITY}\n$rule\n\n问题：$question\n\n回答：\n$answers\n\n"
        f"{_ZH_RATE_ALL}"
    ),
    statements=(
        "请按顺序列出一个根据文档写成的回答中的事实陈述，大约每句一条。略去开场白、过渡、总结和推论。把代词换成所指的对象，"
        "使每条陈述能单独理解；简短的回答与问题合成一条陈述。\n$rule\n\n问题：$question\n\n回答：\n$answer\n\n"
        "每条陈述写在 <statement> 和 </statement> 之间。如果回答没有陈述任何事实，只写 $nothing"
    ),
    support=(
        "请判断文档片段对一条陈述的支持程度：完全（几乎原样说出）、部分（说出一半以上）或没有。\n"
        "$rule\n\n陈述：\n$statement\n\n片段：\n$evidence\n\n"
        "先用几句话分析，最后单独一行写：[[Fully supported]]、[[Partially supported]] 或 [[No support]]。"
    ),
    support_of_all=(
        "请判断文档片段对几条陈述各自的支持程度：完全（几乎原样说出）、部分（说出一半以上）或没有。每条陈述后面是它自己的片段。\n"
        "$rule\n\n$statements\n\n"
        "先用几句话分析，最后写一个 JSON 对象，用每条陈述的名称写 fully、partially 或 none，格式为：$form"
    ),
    notes=(
        "请把文档的一部分中与问题有关的全部内容写成编号列表。不要回答问题。\n"
        "$rule\n\n问题：$question\n\n文档的一部分：\n$document\n\n如果没有，只写：$nothing"
    ),
    completeness=(
        "下面的笔记取自一份文档的各个部分。请评价一个回答对其中要点的覆盖程度：没有遗漏为 10，全部遗漏为 0。\n"
        f"$rule\n\n问题：$question\n\n笔记：\n$notes\n\n回答：\n$answer\n\n{_ZH_RATE}"
    ),
)
