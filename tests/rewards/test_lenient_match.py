from __future__ import annotations

import pytest

from longmab_pl.data.records import QARecord
from longmab_pl.errors import ConfigError
from longmab_pl.rewards import AnswerMatch
from longmab_pl.rewards.answer_match import answer_scores, extract_answer, pair_reward, rollout_reward
from longmab_pl.rewards.lenient_match import normalize_lenient


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Answer: Lima", "lima"),
        ("Answer : Lima", "lima"),
        ("Answer：東京", "東京"),
        ("**Answer**: Lima", "lima"),
        ("**Answer:** Lima", "lima"),
        ("**Answer : Lima**", "lima"),
        ("__Answer__ : `Lima`", "lima"),
        ("“Answer”: “Lima”", "lima"),
        ("The answer is: Lima", "lima"),
        ("The Final Answer is **: Lima", "lima"),
        ("### Answer\n\nLima", "lima"),
        ("**Final answer**\nLima", "lima"),
        ("<answer>Lima</answer> as the text says", "lima"),
        (r"So it is $\boxed{42}$.", "42"),
        (r"\boxed{\text{two}}", "two"),
        (r"\boxed{\frac{1}{2}}", r"\frac{1}{2}"),
        (r"Answer: $\boxed{5}$ because", "5"),
        # The last that states something, of whatever form.
        ("The answer is: x. Answer: y", "y"),
        ("Answer: y. The answer is: x", "x"),
        ("Answer: a\nthen ANSWER:  b \n", "b"),
        ("Answer: x\nAnswer:", "x"),
        (r"\boxed{1} Answer: 2", "2"),
        (r"Answer: 2 \boxed{", "2"),
        # Without a colon only if there is none with one.
        ("The answer is “Lima”", "lima"),
        ("Answer: Lima. The answer is in the second part", "lima. the answer is in the second part"),
        ("<think>Answer: Quito?</think>It is Lima. **Answer**: Lima", "lima"),
        ("İİİİ Answer : İzmir", "i̇zmir"),
        ("Answer:", None),
        ("Answer: \n **", None),
        ("Two answers: 5", None),
        ("reanswer: 5", None),
        ("Lima", None),
        ("", None),
    ],
)
def test_extraction(text: str, expected: str | None) -> None:
    assert extract_answer(text, "lenient") == expected


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("The  Cat, and a dog!", "cat and dog"),
        ("U.S.A.", "usa"),
        ("the end.Then ... more…less", "end then more less"),
        ("“quoted” – dash", "quoted dash"),
        ("Lima’s O'Brien", "lima o brien"),
        ("New York-based", "new york based"),
        ("twenty-one million", "21000000"),
        ("1,234,567.50 or 3.5.", "1234567.5 or 3.5"),
        ("Peru,Lima/Quito", "peru lima quito"),
        ("Ｌｉｍａ ٣", "lima 3"),
        ("Straße", "strasse"),
        ("東京都 is", "東 京 都 is"),
        ("서울은", "서 울 은"),
        ("A", "a"),
        ("...", ""),
    ],
)
def test_normal_form(text: str, normal: str) -> None:
    assert normalize_lenient(text) == normal


@pytest.mark.parametrize(
    ("said", "gold", "subem"),
    [
        ("November", "no", 0.0),
        ("No, never", "no", 1.0),
        ("1912", "19", 0.0),
        ("35", "3.5", 0.0),
        ("1/2", "2", 0.0),
        ("14/10/2022", "10 November", 0.0),
        ("1990–1995", "1990", 1.0),
        ("two", "2", 1.0),
        ("2 rivers", "two", 1.0),
        ("1,000 men", "one thousand", 1.0),
        ("it is “New York City”", "New York", 1.0),
        ("東京都です", "東京", 1.0),
        ("x", "...", 0.0),
        ("x", "The", 0.0),
    ],
)
def test_a_gold_answer_is_found_as_whole_words(said: str, gold: str, subem: float) -> None:
    assert answer_scores(f"Answer: {said}", gold, "lenient")["subem"] == subem


def test_scores_follow_the_style() -> None:
    text = "In November there are two. **Answer** : “two”"
    assert answer_scores(text, "2", "lenient") == {"em": 1.0, "f1": 1.0, "subem": 1.0}
    assert answer_scores(text, "2") == {"em": 0.0, "f1": 0.0, "subem": 0.0}
    assert pair_reward(text, ["no", "2"], "lenient") == 1.0
    assert rollout_reward(text, "no") == 0.5, "as the paper's code"
    assert rollout_reward(text, "no", "lenient") == 0.0


def test_the_reward_takes_the_style_of_its_setting() -> None:
    record = QARecord("r", "How many?", ("2",), "...")
    for style, expected in (("paper", 0.0), ("lenient", 1.0)):
        scoring = AnswerMatch(style=style).score(record, ["**Answer**: two"], None)  # type: ignore[arg-type]
        with pytest.raises(StopIteration) as done:
            next(scoring)
        (score,) = done.value.value
        assert (score.value, score.parts) == (expected, {"rollout": expected, "in_format": expected})
    with pytest.raises(ConfigError, match="style of AnswerMatch"):
        AnswerMatch(style="strict")  # type: ignore[arg-type]
