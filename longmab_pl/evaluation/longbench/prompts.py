"""Our own wording of the LongBench v1 and InfiniteBench En.QA prompts, one per task.

They follow the shape of the official ones (what is asked, what is before and after the context, the answer's form)
so that truncation and post-processing work the same, but the wording is ours: scores are comparable among runs of this
package. To reproduce published numbers load the official wording (`tasks.official_settings`).
"""

from __future__ import annotations

_MULTI_DOC = """Below are several passages and then a question. Reply with the answer alone and no explanation.

{context}

Use the passages above. Reply with the answer alone and no explanation.

Question: {input}
Answer:"""

PROMPTS: dict[str, str] = {
    "narrativeqa": """You will read a story (a novel or a film script) and then a question about it. Reply as briefly \
as you can, with one phrase if that is enough, and no explanation.

Story: {context}

Now reply to the question about this story as briefly as you can, with one phrase if that is enough, and no explanation.

Question: {input}

Answer:""",
    "qasper": """You will read a scientific paper and then a question about it. Reply as briefly as you can, with one \
phrase or sentence. If the paper does not hold the answer, write "unanswerable". For a yes/no question write "yes", \
"no" or "unanswerable". Give no explanation.

Paper: {context}

Reply to the question about this paper as briefly as you can, with one phrase or sentence. If the paper does not hold \
the answer, write "unanswerable". For a yes/no question write "yes", "no" or "unanswerable". Give no explanation.

Question: {input}

Answer:""",
    "multifieldqa_en": """Read this text and then reply briefly to a question about it.

{context}

Reply to this question about the text above with the answer alone and nothing else.

Question: {input}
Answer:""",
    "multifieldqa_zh": """请先读下面这篇文字，然后简短地回答一个问题。

{context}

请根据上文回答这个问题，只写出答案，不要写其他内容。

问题：{input}
答案：""",
    "hotpotqa": _MULTI_DOC,
    "2wikimqa": _MULTI_DOC,
    "musique": _MULTI_DOC,
    "dureader": """请先读下面的若干篇文章，再根据它们回答问题。

文章：{context}

请根据以上文章回答这个问题。

问题：{input}
回答：""",
    "gov_report": """Below is a report by a government agency. Summarize it on about one page.

Report:
{context}

Summarize the report above on about one page.

Summary:""",
    "qmsum": """Below is the transcript of a meeting, followed by a request about it. Answer the request in one or \
more sentences.

Transcript:
{context}

Answer this request about the meeting above in one or more sentences.

Request: {input}
Answer:""",
    "multi_news": """Below are several news articles. Summarize all of them together on about one page.

News:
{context}

Summarize all the news above together on about one page.

Summary:""",
    "vcsum": """下面是一次会议的记录。请读完后写一段总结，概括会议的内容。

会议记录：
{context}

会议总结：""",
    "trec": """Find the type of the last question. These questions and their types are examples.

{context}
{input}""",
    "triviaqa": """Answer the last question from the passage given with it. Write the answer alone. First some examples.

{context}

{input}""",
    "samsum": """Summarize the last dialogue in a few short sentences. First some examples.

{context}

{input}""",
    "lsht": """请判断最后一条新闻属于哪个类别。下面先给出一些例子。

{context}
{input}""",
    "passage_count": """Some of the paragraphs below may occur more than once. Read them and find out how many \
different paragraphs there are once repetitions are left out.

{context}

How many different paragraphs are there? Reply with the number alone, in digits, such as 1 or 2.

Number of different paragraphs:""",
    "passage_retrieval_en": """Below are 30 numbered paragraphs from Wikipedia, and then a summary of one of them.

{context}

Which paragraph does this summary belong to?

{input}

Reply with the number of the paragraph in the form "Paragraph 1", "Paragraph 2" and so on.

The summary belongs to:""",
    "passage_retrieval_zh": """下面先是若干个带编号的段落，然后是其中一个段落的摘要。

{context}

这段摘要出自哪一个段落？

{input}

请用“段落1”“段落2”这样的形式写出段落的编号。

这段摘要出自：""",
    "lcc": """Continue the program below with its next line of code.
{context}Next line:
""",
    "repobench-p": """Continue the program below with its next line of code.
{context}{input}Next line:
""",
    "longbook_qa_eng": """You will read a book and then a question about it. Reply as briefly as you can.

{context}

Question: {input}
Answer:""",
}

CUSTOM_QA: dict[str, str] = {
    "en": PROMPTS["multifieldqa_en"],
    "zh": PROMPTS["multifieldqa_zh"],
}
"""Prompt of a custom QA task, by language."""
