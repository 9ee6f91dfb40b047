from __future__ import annotations

import subprocess
import sys

import longmab_pl


def test_everything_that_is_promised_is_there():
    for name in longmab_pl.__all__:
        assert callable(getattr(longmab_pl, name)), name


def test_scoring_does_not_wait_for_torch():
    code = (
        "import sys, longmab_pl as m\n"
        "b = m.UCB1([0.2, 0.9, 0.4], 2); arms = b.select(); b.update(arms, 1.0)\n"
        "assert arms == [1, 2] and m.extract_answer('so\\nAnswer: Paris') == 'paris'\n"
        "assert m.rollout_reward('Answer: Paris', 'paris') == m.pair_reward('Answer: Paris', ['Paris']) == 1.0\n"
        "assert m.answer_scores('Answer: Paris', 'Paris') == {'em': 1.0, 'f1': 1.0, 'subem': 1.0}\n"
        "assert 'torch' not in sys.modules, 'torch was imported'\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_package_is_in_the_wheel():
    import tomllib
    from pathlib import Path

    root = Path(longmab_pl.__file__).parent
    listed = tomllib.loads((root.parent / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    found = {"longmab_pl", "longmab_pl.callbacks", "longmab_pl.configs"}
    found |= {"longmab_pl." + ".".join(p.parent.relative_to(root).parts) for p in root.glob("*/**/__init__.py")}
    assert set(listed) == found
