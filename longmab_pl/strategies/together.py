"""Several request streams of one record that advance together."""

from __future__ import annotations

from collections.abc import Sequence

from longmab_pl.engines.protocol import Completion, R, Request, RequestStream


def together(streams: Sequence[RequestStream[R]]) -> RequestStream[list[R]]:
    """Run request streams side by side: each step asks what all of them ask, so that an engine answers it together.

    Args:
        streams: generators whose request ids differ.

    Returns:
        A generator that returns the results in the order of the streams.
    """
    results: dict[int, R] = {}
    waiting: dict[int, list[Request]] = {}

    def advance(i: int, answers: list[Completion] | None) -> None:
        try:
            waiting[i] = next(streams[i]) if answers is None else streams[i].send(answers)
        except StopIteration as stop:
            waiting.pop(i, None)
            results[i] = stop.value

    for i in range(len(streams)):
        advance(i, None)
    while waiting:
        asked = dict(waiting)
        answers = yield [request for requests in asked.values() for request in requests]
        start = 0
        for i, requests in asked.items():
            advance(i, answers[start : start + len(requests)])
            start += len(requests)
    return [results[i] for i in range(len(streams))]
