"""The real bundled embedder: windows, pooling, cache."""

from __future__ import annotations

import numpy as np
import pytest

from longmab_pl.errors import ConfigError
from longmab_pl.models.embedder import Embedder

pytestmark = pytest.mark.slow

FILLER = "The committee met again on Tuesday and talked about the budget of the library. "
ANSWER = "The volcano on the island erupted in the spring and covered the harbour with ash. "


@pytest.fixture(scope="module")
def embedder():
    return Embedder(device="cpu")


def test_short_texts_are_embedded_as_the_model_does(embedder):
    (vector,) = embedder.encode([ANSWER])
    raw = embedder.load().encode([ANSWER], normalize_embeddings=True)[0]
    np.testing.assert_allclose(vector, raw, atol=1e-5)


def test_what_stands_behind_the_models_limit_counts(embedder):
    assert embedder.load().max_seq_length == 256
    plain, late, early = embedder.encode([FILLER * 60, FILLER * 40 + ANSWER * 20, ANSWER * 20 + FILLER * 40])
    query = embedder.encode_query("When did the volcano erupt?")
    assert late @ query > plain @ query + 0.1
    assert abs(late @ query - early @ query) < 0.1
    assert np.linalg.norm([plain, late, early], axis=1) == pytest.approx(1.0, abs=1e-5)


def test_windows_cover_every_token_and_fit_the_model(embedder):
    text = " ".join(f"word{i} antidisestablishmentarianism" for i in range(600))
    windows = embedder.windows(text)
    assert "".join(w for w, _ in windows).replace(" ", "") == text.replace(" ", "")
    tokenizer = embedder.load().tokenizer
    assert all(len(tokenizer(w, truncation=False, verbose=False).input_ids) <= 256 for w, _ in windows)


def test_a_chunk_is_embedded_once(embedder, monkeypatch):
    embedder.encode(["first", "second"])
    asked = []
    encode = embedder.load().encode

    def counting(texts, **options):
        asked.extend(texts)
        return encode(texts, **options)

    monkeypatch.setattr(embedder.load(), "encode", counting)
    again = embedder.encode(["second", "third", "first", "third"])
    assert asked == ["third"]
    assert (again[1] == again[3]).all()


def test_a_cache_of_bounded_size_still_answers_right():
    small = Embedder(device="cpu", cache_size=2)
    texts = [f"text {i}" for i in range(6)]
    first = small.encode(texts)
    assert len(small._cache) == 2
    np.testing.assert_allclose(small.encode(texts), first, atol=1e-5)


def test_an_embedder_that_does_not_exist(tmp_path):
    with pytest.raises(ConfigError, match="nowhere"):
        Embedder(str(tmp_path / "nowhere")).encode(["x"])
