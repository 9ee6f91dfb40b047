"""RULER's QA tasks: a question over its own paragraph and paragraphs of other questions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from longmab_pl.evaluation.ruler.example import Draws, Example, Generator, Template


@dataclass(frozen=True)
class Question:
    """A question over a collection of documents.

    Args:
        text: the question.
        answers: the references.
        gold: documents that are in every context of the question.
        related: documents that are put there before any others.
    """

    text: str
    answers: tuple[str, ...]
    gold: tuple[int, ...]
    related: tuple[int, ...] = ()


@dataclass(frozen=True)
class QuestionSet:
    """Questions and the documents that they are asked over, sorted and without repetitions."""

    questions: tuple[Question, ...]
    documents: tuple[str, ...]


def squad_questions(data: dict[str, Any]) -> QuestionSet:
    """Return the answerable questions of a file in SQuAD 2.0's format; paragraphs of the article are related."""
    documents = sorted({p["context"] for article in data["data"] for p in article["paragraphs"]})
    number = {text: i for i, text in enumerate(documents)}
    questions = []
    for article in data["data"]:
        inside = [number[p["context"]] for p in article["paragraphs"]]
        for paragraph in article["paragraphs"]:
            gold = number[paragraph["context"]]
            related = tuple(i for i in inside if i != gold)
            for qa in paragraph["qas"]:
                if not qa["is_impossible"]:
                    answers = tuple(answer["text"] for answer in qa["answers"])
                    questions.append(Question(qa["question"], answers, (gold,), related))
    return QuestionSet(tuple(questions), tuple(documents))


def hotpot_questions(data: Sequence[dict[str, Any]]) -> QuestionSet:
    """Return the questions of a file in HotpotQA's distractor format; all ten paragraphs are gold."""
    texts = [[f"{title}\n{''.join(sentences)}" for title, sentences in row["context"]] for row in data]
    documents = sorted({text for row in texts for text in row})
    number = {text: i for i, text in enumerate(documents)}
    questions = tuple(
        Question(row["question"], (row["answer"],), tuple(number[text] for text in inside))
        for row, inside in zip(data, texts, strict=True)
    )
    return QuestionSet(questions, tuple(documents))


class DocumentQuestions:
    """A generator of the contexts of a question set; the size counts documents.

    Args:
        template: template with `{context}` and `{query}`.
        document: one document, with `{i}` and `{document}`.
        data: questions and documents.
        draws: random numbers.
    """

    def __init__(self, template: Template, document: str, data: QuestionSet, draws: Draws) -> None:
        self.template = template
        self.document = document
        self.data = data
        self.draws = draws

    def of(self, index: int) -> Generator:
        """Return the generator of one question's examples."""
        return lambda size: self.example(index, size)

    def example(self, index: int, size: int) -> Example:
        """Return the example of question `index` over `size` documents."""
        question = self.data.questions[index]
        chosen = self._chosen(question, size)
        self.draws.shuffle(chosen)
        context = "\n\n".join(
            self.document.format(i=i, document=self.data.documents[number]) for i, number in enumerate(chosen, 1)
        )
        return self.template.fill(question.answers, context=context, query=question.text)

    def _chosen(self, question: Question, size: int) -> list[int]:
        documents = self.data.documents
        if size >= len(documents):
            return [i % len(documents) for i in range(size)]
        first = [*question.gold, *question.related]
        if size <= len(first):
            return [*question.gold, *self.draws.random.sample(question.related, size - len(question.gold))]
        taken = set(first)
        others = [i for i in range(len(documents)) if i not in taken]
        return first + self.draws.random.sample(others, size - len(first))
