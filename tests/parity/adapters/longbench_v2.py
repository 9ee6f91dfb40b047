"""LongBench v2: prompts, the middle cut, the answer's letter and the table."""

from __future__ import annotations

from typing import Any

from parity import Adapter, Deviation

from longmab_pl.evaluation.longbench_v2.decoding import COT_TOKENS, TEMPERATURE, TOKENS
from longmab_pl.evaluation.longbench_v2.prompts import Chunk, filled_in_turn, retrieved, values
from longmab_pl.evaluation.longbench_v2.scoring import Judged, accuracies, answer_letter
from longmab_pl.evaluation.middle_cut import cut_text

Given = dict[str, Any]


class Words:
    """The vectors' tokenizer: blanks separate tokens, and decoding drops special ones."""

    def __init__(self, keeps_special: bool = False) -> None:
        self.keeps_special = keeps_special

    def __call__(self, text: str, **_: Any) -> dict[str, list[str]]:
        return {"input_ids": text.split(" ")}

    def decode(self, ids: list[str], **_: Any) -> str:
        return " ".join(word for word in ids if self.keeps_special or not word.startswith("<|"))


def sent(given: Given) -> Any:
    prompt, _ = cut_text(given["prompt"], Words(keeps_special=not given["hf_model"]), given["max_len"])
    return {
        "prompt_sent": prompt,
        "role": "user",
        "temperature": TEMPERATURE,
        "max_tokens": TOKENS,
        "model": "org/M" if given["hf_model"] else "M",
        "kwargs": ["max_tokens", "messages", "model", "temperature"],
    }


def predicted(given: Given) -> Any:
    """The vectors' loop over one item, with the package's prompts and extraction."""
    item, mode, templates, replies = given["item"], given["mode"], given["templates"], given["server_replies"]
    chunks = [Chunk(chunk["c_idx"], chunk["content"]) for chunk in item.get("retrieved_context", [])]
    document = retrieved(chunks, given["rag_n"]) if mode == "rag" else item["context"]
    given_values = values(document, item["question"], [item[f"choice_{letter}"] for letter in "ABCD"])
    prompts = [filled_in_turn(templates[mode], given_values)]
    limits = [COT_TOKENS if mode == "cot" else TOKENS]
    row = {**item, "context": document[:1000]}
    answers = [reply.strip() for reply in replies]
    response = answers[0]
    if mode == "cot" and response:
        row["response_cot"] = response
        thoughts = {**given_values, "$DOC$": "$DOC$", "$COT$": response}
        prompts.append(filled_in_turn(templates["cot_ans"], thoughts))
        limits.append(TOKENS)
        response = answers[1]
    out = {"prompts": prompts, "max_tokens": limits, "temperature": [TEMPERATURE] * len(prompts)}
    letter = answer_letter(response)
    row |= {"response": response, "pred": letter, "judge": letter == item["answer"]}
    return out | {"row": row if response else None}


def table(given: Given) -> Any:
    rows = [Judged(*row) for row in given["rows_difficulty_length_pred_judge"]]
    found = accuracies(rows, compensated=given["compensated"])
    if None in found.values():  # the original divides by zero; ours leaves the cell of an empty group blank
        return {"exception": "ZeroDivisionError"}
    return {"header": ["Model", *found], "values": [str(value) for value in found.values()]}


REPEATED_BY_THE_ENGINE = "the engine repeats failed requests"


def repeated(_: Given) -> str:
    # What becomes of a failed request is tested with the engines (tests/engines/server).
    return REPEATED_BY_THE_ENGINE


ADAPTERS: dict[str, Adapter] = {
    "longbench_v2.extract_answer": lambda given: answer_letter(given["response"]),
    "longbench_v2.query_llm.prompt": sent,
    "longbench_v2.query_llm.retry": repeated,
    "longbench_v2.get_pred": predicted,
    "longbench_v2.result_table": table,
}

DEVIATIONS = [
    Deviation(
        function="longbench_v2.query_llm.retry",
        condition="every input",
        why="After five failed tries the original goes on with an empty answer, leaves the row out and so counts it "
        "nowhere (issue 100 of the original). Here the engine repeats the request, and one that never succeeds ends "
        "the run, which continues from its predictions file.",
        when=lambda given: True,
        ours=lambda given, original: REPEATED_BY_THE_ENGINE,
        example={"server_replies": ["ERR"], "n": 1},
        original={"returned": "", "calls": 2},
        value=REPEATED_BY_THE_ENGINE,
    ),
]
