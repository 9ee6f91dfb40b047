from __future__ import annotations

import pytest

from longmab_pl.rewards.porter_stemmer import stem


@pytest.mark.parametrize(
    ("word", "stemmed"),
    [
        # Porter's own examples, by step.
        ("caresses", "caress"),
        ("ponies", "poni"),
        ("cats", "cat"),
        ("agreed", "agre"),
        ("plastered", "plaster"),
        ("bled", "bled"),
        ("conflated", "conflat"),
        ("hopping", "hop"),
        ("falling", "fall"),
        ("filing", "file"),
        ("happy", "happi"),
        ("relational", "relat"),
        ("triplicate", "triplic"),
        ("adoption", "adopt"),
        ("probate", "probat"),
        ("controll", "control"),
        # The extensions: irregular forms, four letters in -ies, a y behind a vowel, -fulli, -logi.
        ("dying", "die"),
        ("Skies", "sky"),
        ("ties", "tie"),
        ("tied", "tie"),
        ("enjoy", "enjoy"),
        ("say", "say"),
        ("hopefully", "hope"),
        ("archaeology", "archaeolog"),
        ("is", "is"),
    ],
)
def test_stems_are_those_of_the_published_algorithm(word, stemmed):
    assert stem(word) == stemmed
