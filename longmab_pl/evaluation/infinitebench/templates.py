"""InfiniteBench's prompts in our own words."""

from __future__ import annotations

TEMPLATES = {
    "passkey": "A pass key is hidden in this text. Find it and remember it.\n\n{context}\n\n{input}",
    "number_string": "A sequence of digits is hidden in this text. Find it and remember it.\n\n{context}\n\n{input}",
    "kv_retrieval": "Look up the value of a key in this JSON object.\n\n{context}\n\n{input}",
    "longbook_sum_eng": "Summarize this book.\n\n{context}\n\nSummary:",
    "longbook_choice_eng": (
        "Read the book and answer the question.\n\n{context}\n\nQuestion: {question}\n\nAnswer with one letter only.\n"
        "A. {OPTION_A}\nB. {OPTION_B}\nC. {OPTION_C}\nD. {OPTION_D}"
    ),
    "longbook_qa_eng": "Read the book and answer the question in a few words.\n\n{context}\n\nQuestion: {question}",
    "longbook_qa_chn": "阅读这本书，用几个词回答问题。\n\n{context}\n\n问题：{question}",
    "longdialogue_qa_eng": (
        "In this scene one name is hidden behind $$MASK$$. Find out whose it is.\n\n{context}\n\n"
        "Which name belongs in the place of $$MASK$$? Answer with the name only."
    ),
    "math_find": "Find {target} in this list.\n\n{context}\n\n{input}\nAnswer with the number only.",
    "math_calc": (
        "Compute this expression from left to right and write down the result after every operation, with commas "
        "between the results.\n\n{context}"
    ),
    "code_run": (
        "Read these Python functions.\n\n{context}\n\nWhat does {func_call} return? Answer with the number only."
    ),
    "code_debug": (
        "One function in this code has an obvious error that makes it fail. Read all four options first.\n\n"
        "{context}\n\n"
        "Which function has the error? Answer with one letter only.\n"
        "A. {OPTION_A}\nB. {OPTION_B}\nC. {OPTION_C}\nD. {OPTION_D}"
    ),
}
"""Templates by task; their fields are those of `prompts.fields`."""
