"""One batch of Transformers' `generate` in which each row has its own sampling settings, seed and stop conditions."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import torch
from transformers import (
    LogitsProcessor,
    LogitsProcessorList,
    StoppingCriteria,
    StoppingCriteriaList,
    TopPLogitsWarper,
)

from longmab_pl.engines.protocol import Request, Sampling


class RowSampler(LogitsProcessor):
    """A logits processor that makes greedy decoding sample: the largest of each row's scores is a sample.

    It uses the Gumbel-max trick: argmax(log p - log E) with E ~ Exp(1) independent over the vocabulary is distributed
    as p.
    Every row draws E from its own generator, so its random numbers do not depend on the other rows of the batch.
    The order is vLLM's: presence penalty (over generated tokens), temperature, top-p.

    Args:
        sampling: settings of each row.
        seeds: seed of each row, in [0, 2^63).
        prompt_length: width of the (left-padded) prompts, in tokens.
        device: device of the logits; random numbers are drawn there.
    """

    def __init__(
        self, sampling: Sequence[Sampling], seeds: Sequence[int], prompt_length: int, device: torch.device
    ) -> None:
        self._sampling = list(sampling)
        self._prompt_length = prompt_length
        self._generators = [torch.Generator(device).manual_seed(seed) for seed in seeds]
        self._penalties = torch.tensor([each.presence_penalty for each in sampling], device=device)[:, None]  # [B, 1]
        # Rows with top-p sampling, by top_p.
        self._nuclei: dict[float, list[int]] = {}
        for row, each in enumerate(sampling):
            if each.temperature > 0 and each.top_p < 1:
                self._nuclei.setdefault(each.top_p, []).append(row)

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        """Return the scores [B, V] of the next token, given all tokens so far [B, T]."""
        result: Any = scores.float()
        generated = input_ids[:, self._prompt_length :]
        if generated.shape[1] and bool(self._penalties.any()):
            present = torch.zeros_like(result, dtype=torch.bool).scatter_(1, generated, True)
            result = result - present * self._penalties
        temperatures = [each.temperature or 1.0 for each in self._sampling]
        result = result / torch.tensor(temperatures, device=result.device)[:, None]
        for top_p, rows in self._nuclei.items():
            result[rows] = TopPLogitsWarper(top_p)(input_ids[rows], result[rows])  # type: ignore[arg-type]
        for row, each in enumerate(self._sampling):
            if each.temperature > 0:
                noise = torch.empty_like(result[row]).exponential_(generator=self._generators[row])
                result[row] -= noise.log()
        return result


class TokenLogprobs(LogitsProcessor):
    """A logits processor that changes nothing and keeps the log-probability of every generated token.

    It stands before the sampler, so these are the model's own, at temperature 1.
    """

    def __init__(self) -> None:
        self._steps: list[torch.Tensor] = []  # [B] each, of all tokens but the last
        self._last: torch.Tensor | None = None  # [B, V], of the next token

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        """Return the scores [B, V] unchanged, given all tokens so far [B, T]."""
        self._keep(input_ids)
        self._last = scores.float().log_softmax(-1)
        return scores

    def _keep(self, ids: torch.Tensor) -> None:
        if self._last is not None:
            self._steps.append(self._last.gather(-1, ids[:, -1:])[:, 0])

    def of(self, ids: torch.Tensor) -> list[list[float]]:
        """Return the log-probabilities (nats) of the generated tokens of each row, given all tokens [B, T + new]."""
        self._keep(ids)
        self._last = None
        return torch.stack(self._steps, dim=1).tolist()  # type: ignore[no-any-return]


class RowEnd(StoppingCriteria):
    """A stopping criterion: a row ends at its own `max_tokens`, or when its response contains one of its stop strings.

    Args:
        sampling: settings of each row.
        prompt_length: width of the (left-padded) prompts, in tokens.
        tokenizer: the model's tokenizer.
    """

    def __init__(self, sampling: Sequence[Sampling], prompt_length: int, tokenizer: Any) -> None:
        self._sampling = list(sampling)
        self._prompt_length = prompt_length
        self._tokenizer = tokenizer
        self._limits = torch.tensor([each.max_tokens for each in sampling])

    def __call__(self, input_ids: torch.LongTensor, scores: Any, **_: Any) -> Any:
        """Return which rows [B] are done, given all tokens so far [B, T]."""
        generated = input_ids[:, self._prompt_length :]
        done = generated.shape[1] >= self._limits.to(input_ids.device)
        for row, each in enumerate(self._sampling):
            if each.stop and not done[row]:
                # A stop string that the last token completed spans at most this many tokens: each has at least a byte.
                window = max(len(stop.encode()) for stop in each.stop) + 8
                text = self._tokenizer.decode(generated[row, -window:], skip_special_tokens=True)
                done[row] = any(stop in text for stop in each.stop)
        return done


def response_text(tokenizer: Any, prompt_ids: Sequence[int], response_ids: Sequence[int]) -> str:
    """Return the text of a response as it continues its prompt: some tokenizers drop a space at the start of a text."""
    before = list(prompt_ids[-8:])
    start = tokenizer.decode(before, skip_special_tokens=True)
    whole = tokenizer.decode([*before, *response_ids], skip_special_tokens=True)
    if whole.startswith(start):
        return str(whole[len(start) :])
    return str(tokenizer.decode(list(response_ids), skip_special_tokens=True))


@torch.no_grad()
def answer_rows(
    model: Any, tokenizer: Any, ends: Collection[int], rows: Sequence[tuple[Request, int]]
) -> list[tuple[str, str, tuple[int, ...], float]]:
    """Generate one response for each row.

    Args:
        model: a Transformers causal language model, or a PEFT model around one, whose generation config is plain.
        tokenizer: the model's tokenizer.
        ends: token ids that end a response.
        rows: requests with the seed of this response; a request with n responses is listed n times.

    Returns:
        text, finish reason ("stop" or "length"), tokens (including a sampled end token or stop string), and their mean
        log-probability in nats (0 for requests that do not ask for it).
    """
    width = max(len(request.prompt_ids) for request, _ in rows)
    ids = torch.zeros(len(rows), width, dtype=torch.long)  # [B, T], prompts at the right
    mask = torch.zeros_like(ids)
    for row, (request, _) in enumerate(rows):
        ids[row, width - len(request.prompt_ids) :] = torch.tensor(request.prompt_ids)
        mask[row, width - len(request.prompt_ids) :] = 1
    sampling = [request.sampling for request, _ in rows]
    sampler = RowSampler(sampling, [seed for _, seed in rows], width, model.device)
    logprobs = TokenLogprobs() if any(request.logprobs for request, _ in rows) else None
    output = model.generate(
        input_ids=ids.to(model.device),
        attention_mask=mask.to(model.device),
        max_new_tokens=max(each.max_tokens for each in sampling),
        logits_processor=LogitsProcessorList([sampler] if logprobs is None else [logprobs, sampler]),
        stopping_criteria=StoppingCriteriaList([RowEnd(sampling, width, tokenizer)]),
    )  # [B, T + new], padded after a row's end
    found: list[list[float]] = [[]] * len(rows) if logprobs is None else logprobs.of(output)
    answers = []
    for (request, _), tokens, values in zip(rows, output[:, width:].tolist(), found, strict=True):
        text, reason, kept = _finished(tokenizer, request, tokens[: request.sampling.max_tokens], ends)
        mean = sum(values[: len(kept)]) / len(kept) if request.logprobs and kept else 0.0
        answers.append((text, reason, kept, mean))
    return answers


def _finished(
    tokenizer: Any, request: Request, tokens: list[int], ends: Collection[int]
) -> tuple[str, str, tuple[int, ...]]:
    end = next((i + 1 for i, token in enumerate(tokens) if token in ends), None)
    text = response_text(tokenizer, request.prompt_ids, tokens[:end])
    stops = request.sampling.stop
    found = [text.index(stop) for stop in stops if stop in text]
    if not found:
        return text, "length" if end is None else "stop", tuple(tokens[:end])
    for length in range(1, len(tokens) + 1):  # to the token that completed a stop string
        if any(stop in response_text(tokenizer, request.prompt_ids, tokens[:length]) for stop in stops):
            break
    return text[: min(found)], "stop", tuple(tokens[:length])
