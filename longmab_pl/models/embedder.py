"""Sentence embeddings of chunks and probes; long texts are embedded in windows, never truncated."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from longmab_pl.checks import at_least
from longmab_pl.errors import ConfigError

Embeddings = NDArray[np.float32]


class Embedder:
    """A sentence-transformers model with a cache.

    A text longer than the model's limit is cut into windows of that many tokens; their normalized embeddings are
    averaged, weighted by their tokens, and normalized again.

    Args:
        model: hub name, local folder, or `bundled:minilm`. The authors used `openbmb/MiniCPM-Embedding`
            (with `trust_remote_code: true`).
        batch_size: windows per forward pass.
        device: torch device; None lets sentence-transformers choose.
        query_prompt: text added before a query (not before chunks), for embedders trained with one.
        trust_remote_code: whether a hub model's own code may run.
        cache_size: number of embedded texts in the cache.
    """

    def __init__(
        self,
        model: str = "bundled:minilm",
        batch_size: int = 32,
        device: str | None = None,
        query_prompt: str = "",
        trust_remote_code: bool = False,
        cache_size: int = 200_000,
    ) -> None:
        at_least("embedder.batch_size", batch_size, 1)
        self.model = model
        self.batch_size = batch_size
        self.device = device
        self.query_prompt = query_prompt
        self.trust_remote_code = trust_remote_code
        self.cache_size = cache_size
        self._loaded: Any = None
        self._cache: dict[bytes, Embeddings] = {}

    def describe(self) -> dict[str, Any]:
        """Return the settings that determine its output, for the rollout's fingerprint."""
        return {"model": self.model, "query_prompt": self.query_prompt}

    def encode(self, texts: Sequence[str]) -> Embeddings:
        """Embed texts (chunks, probes) without a prompt.

        Returns:
            Unit vectors, [len(texts), dimension] float32.
        """
        keys = [hashlib.blake2b(t.encode("utf-8", "surrogatepass"), digest_size=16).digest() for t in texts]
        new = {k: t for k, t in zip(keys, texts, strict=True) if k not in self._cache}
        found = {k: self._cache[k] for k in keys if k in self._cache}
        if new:
            vectors = self._embed(list(new.values()))
            found.update(zip(new, vectors, strict=True))
            self._remember({k: found[k] for k in new})
        return np.stack([found[k] for k in keys])

    def encode_query(self, text: str) -> Embeddings:
        """Embed one query with the model's query prompt; returns [dimension] float32."""
        return self.encode([self.query_prompt + text])[0]

    def _remember(self, fresh: dict[bytes, Embeddings]) -> None:
        self._cache.update(fresh)
        while len(self._cache) > self.cache_size:
            self._cache.pop(next(iter(self._cache)))

    def _embed(self, texts: list[str]) -> list[Embeddings]:
        model = self.load()
        windows: list[str] = []
        weights: list[int] = []
        owner: list[int] = []
        for i, text in enumerate(texts):
            for window, tokens in self.windows(text):
                windows.append(window)
                weights.append(tokens)
                owner.append(i)
        vectors = model.encode(
            windows,
            batch_size=self.batch_size,
            normalize_embeddings=True,
            show_progress_bar=False,
            convert_to_numpy=True,
        ).astype(np.float32)
        pooled = np.zeros((len(texts), vectors.shape[1]), np.float32)
        np.add.at(pooled, owner, vectors * np.asarray(weights, np.float32)[:, None])
        norms = np.linalg.norm(pooled, axis=1, keepdims=True)
        return list(pooled / np.maximum(norms, 1e-12))

    def windows(self, text: str) -> list[tuple[str, int]]:
        """Cut a text at token boundaries into windows that fit the model.

        Returns:
            (window, its number of tokens), in text order.
        """
        model = self.load()
        tokenizer, room = model.tokenizer, model.max_seq_length
        spans = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, truncation=False, verbose=False)[
            "offset_mapping"
        ]
        if room is None:
            return [(text, max(len(spans), 1))]
        room = max(room - tokenizer.num_special_tokens_to_add(), 1)
        if len(spans) <= room:
            return [(text, max(len(spans), 1))]
        windows = []
        start = 0
        while start < len(spans):
            stop = min(start + room, len(spans))
            # Cut between words if possible: a window that begins inside a word tokenizes to more tokens than it had.
            while stop < len(spans) and stop - start > room // 2 and spans[stop][0] == spans[stop - 1][1]:
                stop -= 1
            windows.append((text[spans[start][0] : spans[stop - 1][1]], stop - start))
            start = stop
        return windows

    def load(self) -> Any:
        """Return the sentence-transformers model, loading it on the first call.

        Raises:
            ConfigError: it cannot be loaded.
        """
        if self._loaded is None:
            from sentence_transformers import SentenceTransformer

            from longmab_pl.models.hub import resolve_embedder

            path = resolve_embedder(self.model)
            try:
                self._loaded = SentenceTransformer(path, device=self.device, trust_remote_code=self.trust_remote_code)
            except Exception as e:
                raise ConfigError(
                    f"the embedder {self.model!r} cannot be loaded: {e}. Give a sentence-transformers model by hub "
                    "name or local folder, or `bundled:minilm`."
                ) from e
            if not getattr(self._loaded.tokenizer, "is_fast", False) and self._loaded.max_seq_length is not None:
                raise ConfigError(
                    f"the embedder {self.model!r} has no fast tokenizer, needed to cut long chunks into windows"
                )
        return self._loaded
