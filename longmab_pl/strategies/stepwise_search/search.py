"""One record's stepwise search, from its first request to its rollout."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from longmab_pl.data.records import QARecord
from longmab_pl.engines.protocol import Request, RequestStream
from longmab_pl.errors import DataError
from longmab_pl.prompts import encoding
from longmab_pl.rewards.base import RewardContext
from longmab_pl.seeding import derive_seed
from longmab_pl.shown import quoted
from longmab_pl.strategies.base import RecordRollout, Response, StrategyContext
from longmab_pl.strategies.stepwise_search.candidates import distinct_candidates
from longmab_pl.strategies.stepwise_search.facts import GatedStep, remembered
from longmab_pl.strategies.stepwise_search.refinement import (
    Suggestion,
    better_principles,
    needs_refinement,
    pick_suggestions,
    with_suggestions,
)
from longmab_pl.strategies.stepwise_search.tree import Node
from longmab_pl.strategies.whole_context import whole_context

if TYPE_CHECKING:
    from longmab_pl.strategies.stepwise_search.strategy import StepwiseSearch


class Search:
    """The search for one record.

    Args:
        settings: the strategy.
        record: the writing instruction or question.
        context: tokenizer, prompt format, rewards and seed.

    Raises:
        DataError: the record cannot be used: its prompt leaves no room for a block, or its required length is out of
            reach.
    """

    def __init__(self, settings: StepwiseSearch, record: QARecord, context: StrategyContext) -> None:
        self.settings, self.record, self.context = settings, record, context
        self._refuse_unreachable_length()
        self.document = self._document()
        self.prompt_ids = self._prompt(record.question)
        self.root = Node()
        self.refined: dict[Node, Node] = {}  # chosen block -> the block that replaces it
        self.ended = "blocks"
        self.counts = dict.fromkeys(("steps", "candidates", "empty", "contradictions", "gate_failures"), 0)

    def run(self) -> RequestStream[RecordRollout]:
        """Run the search.

        Returns:
            A generator that returns the rollout.
        """
        for number in range(self.settings.steps):
            leaf = self.root.leaf()
            if not (leaf.finished or leaf.closed or leaf.depth == self.settings.blocks):
                yield from self._expand(leaf, number)
            elif not self.settings.back_up:
                break  # every further descent would end here
            if self.settings.back_up:
                best = leaf.chosen()
                leaf.back_up(leaf.mean_value if best is None else best.value or 0.0)
        if self.settings.refinement is not None:
            for number, node in enumerate(list(self.root.expanded())):
                yield from self._refine(node, number)
        return self._rollout()

    # one step

    def _expand(self, node: Node, number: int) -> RequestStream[None]:
        """Sample, score and gate candidates for the block after a node."""
        key = f"{self.record.id}/{number}"
        prompt_ids = (*self.prompt_ids, *self._ids_of(node))
        if len(prompt_ids) + self.settings.sampling.max_tokens > self.context.max_model_len:
            self._close(node, "no_room")
            return
        if self.settings.facts is not None and node.parent is not None and node.facts is None:
            yield from self._remember(node, key)
        request = Request(
            id=key,
            prompt_ids=prompt_ids,
            sampling=self.settings.sampling,
            n=self.settings.candidates,
            seed=derive_seed(self.context.seed, self.record.id, number),
            is_block=True,
            logprobs=True,
        )
        (completion,) = yield [request]
        texts = completion.texts
        logprobs = completion.mean_logprobs or (0.0,) * len(texts)
        end = str(self.context.tokenizer.eos_token or "\0")
        found = distinct_candidates(texts, logprobs, completion.finish_reasons, end)
        self.counts["steps"] += 1
        self.counts["empty"] += sum(not text.strip() for text in texts)
        self.counts["candidates"] += len(found)
        if not found:
            self._close(node, "finished" if "stop" in completion.finish_reasons else "empty")
            return
        written = node.written
        blocks = [self._opened(node, candidate.text) for candidate in found]
        whole = [written + block for block in blocks]
        scores = yield from self.context.score(self.record, whole, key, written)
        for candidate, block, own in zip(found, blocks, scores, strict=True):
            at = texts.index(candidate.text)
            score = own[self.context.primary]
            node.children.append(
                Node(
                    depth=node.depth + 1,
                    parent=node,
                    text=block,
                    ids=completion.token_ids[at] if completion.token_ids else (),
                    prior=candidate.prior,
                    finished=candidate.finish_reason == "stop",
                    scores=own,
                    value=score.value if score.excluded is None else None,
                )
            )
        yield from self._gate(node, key)
        if node.chosen() is None:
            self._close(node, "no_verdict")

    def _remember(self, node: Node, key: str) -> RequestStream[None]:
        """Ask for the facts of a block that is continued."""
        assert self.settings.facts is not None
        found = yield from self.settings.facts.list_facts(
            self.record.question, node.text, self._asking(f"{key}/memory")
        )
        self.counts["gate_failures"] += found is None
        node.facts = remembered(found or [], GatedStep(0, not node.contradicts))

    def _gate(self, node: Node, key: str) -> RequestStream[None]:
        """Mark the candidates that contradict what earlier blocks state."""
        facts = node.remembered()
        if self.settings.facts is None or not facts:
            return
        blocks = [child.text for child in node.children]
        found = yield from self.settings.facts.contradicting(facts, blocks, self._asking(f"{key}/gate"))
        self.counts["gate_failures"] += found is None
        for i in found or ():
            node.children[i].contradicts = True
            self.counts["contradictions"] += 1

    # refinement

    def _refine(self, node: Node, number: int) -> RequestStream[None]:
        """Rewrite the chosen block after a node if it is weak."""
        refinement, chosen = self.settings.refinement, node.chosen()
        assert refinement is not None
        if chosen is None:
            return
        own = chosen.scores[self.context.primary].parts
        if not needs_refinement(own.get("quality"), refinement.threshold):
            return
        better: dict[int, Node] = {}
        for child in node.children:
            if child is chosen or child.value is None:
                continue
            for i in better_principles(own, child.scores[self.context.primary].parts):
                better.setdefault(i, child)
        if not better:
            return
        key = f"{self.record.id}/refine-{number}"
        texts = {i: child.text for i, child in sorted(better.items())}
        advice = yield from refinement.advice(self.record.question, chosen.text, texts, self._asking(key))
        ranked = [Suggestion(0, node.depth + 1, text, sure) for text, sure in advice or ()]
        kept = pick_suggestions(ranked, 0, node.depth + 1, refinement.suggestions)
        prompt_ids = (*self._prompt(with_suggestions(self.record.question, kept)), *self._ids_of(node))
        room = self.context.max_model_len - len(prompt_ids)
        if not kept or room < self.settings.sampling.max_tokens:
            return
        seed = derive_seed(self.context.seed, self.record.id, f"refine-{number}")
        request = Request(f"{key}/block", prompt_ids, self.settings.sampling, seed=seed, is_block=True)
        (completion,) = yield [request]
        text = self._opened(node, completion.texts[0])
        if not completion.texts[0].strip() or text == chosen.text:
            return
        written = node.written
        scores = yield from self.context.score(
            self.record, [written + chosen.text, written + text], f"{key}/block", written
        )
        weak, new = (each[self.context.primary] for each in scores)
        if weak.excluded is not None or new.excluded is not None or new.value <= weak.value:
            return
        self.refined[chosen] = Node(
            depth=chosen.depth,
            parent=node,
            text=text,
            ids=completion.token_ids[0] if completion.token_ids else (),
            finished=completion.finish_reasons[0] == "stop",
            scores=scores[1],
            value=new.value,
        )

    # parts

    def _opened(self, node: Node, block: str) -> str:
        """Return the text of a block after a node: the first begins with the prompt format's prefill."""
        return self.context.prompt_format.response(block) if node.parent is None else block

    def _close(self, node: Node, reason: str) -> None:
        """Let nothing follow a node; the reason is the search's, unless it goes on elsewhere."""
        node.closed = True
        if node.parent is None and reason == "no_room":
            raise DataError(
                f"record {quoted(self.record.id)}: the prompt takes {len(self.prompt_ids)} tokens, so that no block of "
                f"{self.settings.sampling.max_tokens} fits the engine's {self.context.max_model_len}; raise "
                "engine.max_model_len or lower strategy.sampling.max_tokens"
            )
        self.ended = reason

    def _asking(self, key: str) -> RewardContext:
        context = self.context
        return RewardContext(context.tokenizer, context.embedder, context.seed, key, context.addressees)

    def _prompt(self, question: str) -> tuple[int, ...]:
        return self.context.prompt_format.prompt_ids(self.context.tokenizer, self.document, question)

    def _ids_of(self, node: Node) -> tuple[int, ...]:
        """Return the token ids of the answer up to a node: those that were sampled, if the engine returns them."""
        path = node.path()
        if all(each.ids for each in path):
            return tuple(token for each in path for token in each.ids)
        written = node.written.removeprefix(self.context.prompt_format.response(""))
        tokenizer: Any = encoding.text_tokenizer(self.context.tokenizer, written)
        return tuple(tokenizer.encode(written, add_special_tokens=False))

    def _document(self) -> str:
        """Return the record's context, with its middle cut out where it leaves no room for the whole answer."""
        if not self.record.context:
            return ""
        return whole_context(self.record, self.context, self.settings.max_response_tokens).text

    def _refuse_unreachable_length(self) -> None:
        reach = self.settings.max_response_tokens
        if self.record.length is not None and self.record.length > 3 * reach:
            raise DataError(
                f"record {quoted(self.record.id)}: it asks for {self.record.length:,} words, and "
                f"{self.settings.blocks} blocks of {self.settings.sampling.max_tokens} tokens are less than a third of "
                "that, so that no length would score; raise strategy.blocks or strategy.sampling.max_tokens, or leave "
                "the record out"
            )

    # result

    def _rollout(self) -> RecordRollout:
        """Return the rollout: all blocks as responses, and the tree as its trace."""
        order: dict[Node, int] = {}
        for node in self.root.expanded():
            for child in node.children:
                order[child] = len(order)
        for new in self.refined.values():
            order[new] = len(order)
        responses = tuple(
            Response(
                text=node.text,
                finished=node.finished,
                step=node.depth - 1,
                parent=order.get(node.parent) if node.parent is not None else None,
                scores=node.scores,
                token_ids=node.ids,
            )
            for node in order
        )
        path = self._chosen_path()
        if path and path[-1].finished:
            self.ended = "finished"
        trace = {
            **self.counts,
            "ended": self.ended,
            "blocks": len(path),
            "refined": len(self.refined),
            "nodes": self._nodes(order),
        }
        return RecordRollout(self.record.id, "ok", responses, trace=trace)

    def _chosen_path(self) -> list[Node]:
        node, path = self.root, []
        while (following := node.chosen()) is not None:
            path.append(following)
            node = following
        return path

    def _nodes(self, order: dict[Node, int]) -> list[dict[str, Any]]:
        """Return the tree as JSON values: the prompt is node 0, response i is node i + 1."""
        chosen = {node.chosen() for node in self.root.expanded()} | set(self.refined.values())
        rejected = {self._rejected(node) for node in self.root.expanded()}
        refined = set(self.refined.values())
        nodes: list[dict[str, Any]] = [
            {
                "id": 0,
                "parent": None,
                "kind": "root",
                "text": self.record.question,
                "score": None,
                "parts": {},
                "chosen": True,
                "rejected": False,
                "excluded": None,
                "response": None,
                "turns": [],
            }
        ]
        for node, i in order.items():
            assert node.parent is not None
            score = node.scores[self.context.primary]
            nodes.append(
                {
                    "id": i + 1,
                    "parent": order.get(node.parent, -1) + 1,
                    "kind": "refined" if node in refined else "block",
                    "text": node.text,
                    "score": node.value,
                    "parts": {**score.parts, "prior": node.prior},
                    "chosen": node in chosen,
                    "rejected": node in rejected,
                    "excluded": score.excluded,
                    "response": i,
                    "turns": [],
                    "visits": node.visits,
                    "mean_value": node.mean_value,
                    "contradicts": node.contradicts,
                    "facts": node.facts or [],
                }
            )
        return nodes

    def _rejected(self, node: Node) -> Node | None:
        """Return the candidate of lowest value after a node, if the chosen one is better."""
        chosen = node.chosen()
        if chosen is None or chosen.value is None:
            return None
        worse = [child for child in node.children if child.value is not None and child.value < chosen.value]
        return min(worse, key=lambda child: child.value or 0.0, default=None)
