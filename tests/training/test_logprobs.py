"""The packed form against the model's own full logits on plain prompt + completion sequences."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
import torch

from longmab_pl.errors import ConfigError
from longmab_pl.training.batch import PackedBatch, PreferenceExample, collate
from longmab_pl.training.logprobs import check_packing, completion_logps
from longmab_pl.training.losses import PairLogps, SigmoidDPO
from longmab_pl.training.policy import LoRASettings, load_policy

TinyModel = Callable[..., str]


def ragged_pairs(seed: int = 0) -> list[PreferenceExample]:
    """Pairs over three prompts: ragged lengths, a one-token completion, a shared prompt, a shared completion. And the
    steps of one text: three nested pairs, and two on blocks that are in no pair."""
    rng = random.Random(seed)

    def ids(n: int) -> tuple[int, ...]:
        return tuple(rng.randrange(3, 200) for _ in range(n))

    first, second, third = ids(31), ids(7), ids(1)
    best, worst, odd = ids(9), ids(14), ids(1)
    text, one, two, other = ids(6), ids(5), ids(11), ids(4)
    return [
        PreferenceExample("a", first, best, worst),
        PreferenceExample("b", second, ids(5), ids(3)),
        PreferenceExample("c", first, best, odd),
        PreferenceExample("d", third, ids(12), ids(2)),
        PreferenceExample("e", first, odd, worst),
        PreferenceExample("step 2", text + one, two, ids(3)),
        PreferenceExample("step 1", text, one, ids(7)),
        PreferenceExample("step 3", text + one + two, ids(8), ids(6)),
        PreferenceExample("elsewhere", text + other + ids(3), ids(2), ids(5)),
        PreferenceExample("later", text + one + other, ids(9), ids(1)),
    ]


def own_logps(model: torch.nn.Module, prompt: tuple[int, ...], completion: tuple[int, ...]) -> torch.Tensor:
    """Summed log-probability from the model's own forward and full logits: the form that every trainer starts from."""
    logits = model(input_ids=torch.tensor([prompt + completion]), use_cache=False).logits[0].float()
    logps = logits.log_softmax(-1)
    rows = range(len(prompt) - 1, len(prompt) + len(completion) - 1)
    return torch.stack([logps[row, token] for row, token in zip(rows, completion, strict=True)]).sum()


def randomize_adapter(policy: torch.nn.Module) -> None:
    """A fresh adapter's B is zero, which would hide the A gradients and the adapter's part in the forward pass."""
    torch.manual_seed(1)
    for parameter in policy.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=0.05)


def loss_and_gradients(
    policy: torch.nn.Module, chosen: torch.Tensor, rejected: torch.Tensor
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    zeros = torch.zeros_like(chosen)
    tokens = torch.ones_like(chosen)
    policy_logps, reference = (PairLogps(*logps, tokens, tokens) for logps in ((chosen, rejected), (zeros, zeros)))
    losses = SigmoidDPO(0.1)(policy_logps, reference).losses
    policy.zero_grad()
    losses.mean().backward()
    return losses.detach(), {n: p.grad.clone() for n, p in policy.named_parameters() if p.grad is not None}


MODELS = [
    ("llama", {}),
    ("qwen2", {}),
    ("mistral", {}),
    ("mistral", {"sliding_window": 8}),
    ("qwen2", {"use_sliding_window": True, "sliding_window": 6, "max_window_layers": 1}),
    ("gemma2", {"sliding_window": 8, "final_logit_softcapping": 3.0}),
    ("granite", {"logits_scaling": 7.0}),
]


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize(("family", "options"), MODELS)
@pytest.mark.parametrize("layout", ["packed", "concatenated"])
def test_loss_and_gradients_equal_the_plain_form(
    tiny_model: TinyModel, family: str, options: dict, checkpointing: bool, layout: str
) -> None:
    # Gemma 2 caps its attention logits, which SDPA cannot do.
    attention = "eager" if family == "gemma2" else "sdpa"
    policy = load_policy(
        tiny_model(family, **options),
        LoRASettings(r=4),
        dtype="fp32",
        attention=attention,
        gradient_checkpointing=checkpointing,
    )
    randomize_adapter(policy)
    pairs = ragged_pairs()

    plain_chosen = torch.stack([own_logps(policy, p.prompt_ids, p.chosen_ids) for p in pairs])
    plain_rejected = torch.stack([own_logps(policy, p.prompt_ids, p.rejected_ids) for p in pairs])
    plain_loss, plain_gradients = loss_and_gradients(policy, plain_chosen, plain_rejected)

    logps = completion_logps(policy, collate(pairs), chunk=5, layout=layout)
    loss, gradients = loss_and_gradients(policy, logps.chosen, logps.rejected)

    torch.testing.assert_close(logps.chosen, plain_chosen, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(logps.rejected, plain_rejected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(loss, plain_loss, rtol=1e-5, atol=1e-5)
    # Every LoRA layer learns, the first one under checkpointing too.
    assert gradients.keys() == plain_gradients.keys() == {n for n, p in policy.named_parameters() if p.requires_grad}
    for name, gradient in gradients.items():
        assert gradient.abs().max() > 0, name
        torch.testing.assert_close(gradient, plain_gradients[name], rtol=1e-5, atol=1e-5, msg=name)


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize(
    ("settings", "quantization"),
    [
        (LoRASettings(r=4, dora=True), "none"),
        (LoRASettings(r=4, rslora=True), "none"),
        (LoRASettings(r=4), "nf4"),
        (LoRASettings(r=4, dora=True, rslora=True), "nf4"),
    ],
    ids=["dora", "rslora", "nf4", "nf4-dora"],
)
def test_every_kind_of_adapter_and_base_packs_exactly(
    tiny_model: TinyModel, settings: LoRASettings, quantization: str, checkpointing: bool
) -> None:
    folder = tiny_model("llama", initializer_range=0.1)
    policy = load_policy(
        folder, settings, quantization=quantization, dtype="fp32", gradient_checkpointing=checkpointing
    )
    torch.manual_seed(1)
    for name, parameter in policy.named_parameters():
        if parameter.requires_grad and "magnitude" not in name:
            torch.nn.init.normal_(parameter, std=0.05)
    found = {}
    for layout in ("packed", "concatenated"):
        logps = completion_logps(policy, collate(ragged_pairs()), layout=layout)
        found[layout] = logps.chosen.detach(), *loss_and_gradients(policy, logps.chosen, logps.rejected)
    for packed, plain in zip(found["packed"][:2], found["concatenated"][:2], strict=True):
        torch.testing.assert_close(packed, plain, rtol=1e-4, atol=1e-4)
    gradients, plain_gradients = found["packed"][2], found["concatenated"][2]
    assert gradients.keys() == {n for n, p in policy.named_parameters() if p.requires_grad}
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, plain_gradients[name], rtol=1e-3, atol=1e-4, msg=name)
    assert max(float(g.abs().max()) for g in gradients.values()) > 1e-2


def test_chosen_and_rejected_are_blind_to_each_other(tiny_model: TinyModel) -> None:
    policy = load_policy(tiny_model("llama"), dtype="fp32").eval()
    prompt, rejected = (5, 6, 7, 8), (11, 12, 13)
    with torch.no_grad():
        one = completion_logps(policy, collate([PreferenceExample("x", prompt, (21, 22, 23), rejected)]))
        two = completion_logps(policy, collate([PreferenceExample("x", prompt, (31, 32, 33), rejected)]))
    assert torch.equal(one.rejected, two.rejected)
    assert not torch.equal(one.chosen, two.chosen)


@pytest.mark.parametrize("chunk", [1, 3, 1000])
def test_chunk_size_does_not_change_the_result(tiny_model: TinyModel, chunk: int) -> None:
    policy = load_policy(tiny_model("llama"), dtype="fp32")
    batch = collate(ragged_pairs())
    expected = completion_logps(policy, batch, chunk=64)
    found = completion_logps(policy, batch, chunk=chunk)
    torch.testing.assert_close(found.chosen, expected.chosen, rtol=1e-6, atol=1e-5)


def test_the_largest_logits_tensor_is_one_chunk(tiny_model: TinyModel) -> None:
    policy = load_policy(tiny_model("llama"), dtype="fp32")
    rows: list[int] = []
    policy.get_base_model().lm_head.register_forward_hook(lambda module, inputs, output: rows.append(output.shape[0]))
    batch = collate(ragged_pairs())
    completion_logps(policy, batch, chunk=4).chosen.sum().backward()
    assert max(rows) == 4
    # Only completion tokens go through the head: once forward and once again in the backward pass.
    assert sum(rows) == 2 * sum(batch.completion_lengths)


def test_bf16_is_close_to_fp32(tiny_model: TinyModel) -> None:
    folder = tiny_model("llama", initializer_range=0.05)
    batch = collate(ragged_pairs())
    with torch.no_grad():
        exact = completion_logps(load_policy(folder, dtype="fp32"), batch)
        rough = completion_logps(load_policy(folder, dtype="bf16"), batch)
    assert rough.chosen.dtype == torch.float32
    torch.testing.assert_close(
        rough.chosen / rough.chosen_tokens, exact.chosen / exact.chosen_tokens, rtol=0, atol=0.02
    )


def test_nll_and_lengths(tiny_model: TinyModel) -> None:
    policy = load_policy(tiny_model("llama"), dtype="fp32")
    logps = completion_logps(policy, collate(ragged_pairs()))
    assert logps.chosen_tokens.tolist()[:5] == [9, 5, 9, 12, 1]
    assert logps.rejected_tokens.tolist()[:5] == [14, 3, 1, 2, 14]
    torch.testing.assert_close(logps.chosen_nll, -logps.chosen / logps.chosen_tokens)


def test_excess_weight_counts_tokens_beyond_the_shorter_completion(tiny_model: TinyModel) -> None:
    policy = load_policy(tiny_model("llama"), dtype="fp32").eval()
    pairs = ragged_pairs()
    with torch.no_grad():
        weighted = completion_logps(policy, collate(pairs), ld_alpha=0.25)
        for i, pair in enumerate(pairs):
            n = min(len(pair.chosen_ids), len(pair.rejected_ids))
            for ids, found in ((pair.chosen_ids, weighted.chosen[i]), (pair.rejected_ids, weighted.rejected[i])):
                # A prefix's log-probability does not depend on what follows it.
                common = own_logps(policy, pair.prompt_ids, ids[:n])
                whole = own_logps(policy, pair.prompt_ids, ids)
                torch.testing.assert_close(found, common + 0.25 * (whole - common), rtol=1e-5, atol=1e-4)


def test_only_compared_tokens_count(tiny_model: TinyModel) -> None:
    """Step-wise DPO: two answers that share their first block; only the second block is compared."""
    policy = load_policy(tiny_model("llama"), dtype="fp32").eval()
    prompt, first, better, worse = (5, 6, 7, 8), (21, 22, 23), (31, 32), (41, 42, 43, 44)
    masked = PreferenceExample(
        "masked",
        prompt,
        first + better,
        first + worse,
        chosen_mask=(False,) * 3 + (True,) * 2,
        rejected_mask=(False,) * 3 + (True,) * 4,
    )
    in_prompt = PreferenceExample("in the prompt", prompt + first, better, worse)
    with torch.no_grad():
        for weight in (1.0, 0.25):
            found = completion_logps(policy, collate([masked]), ld_alpha=weight)
            expected = completion_logps(policy, collate([in_prompt]), ld_alpha=weight)
            for field in ("chosen", "rejected", "chosen_tokens", "rejected_tokens", "chosen_nll"):
                torch.testing.assert_close(getattr(found, field), getattr(expected, field), rtol=1e-5, atol=1e-5)
        # By hand, from the model's own logits: the sum over tokens 4 and 5 of the answer alone.
        whole = own_logps(policy, prompt, first + better)
        by_hand = whole - own_logps(policy, prompt, first)
        logps = completion_logps(policy, collate([masked]))
        torch.testing.assert_close(logps.chosen[0], by_hand, rtol=1e-5, atol=1e-4)
    assert found.chosen_tokens.tolist() == [2]
    assert found.rejected_tokens.tolist() == [4]


def test_tokens_that_are_not_compared_get_no_gradient_of_their_own(tiny_model: TinyModel) -> None:
    policy = load_policy(tiny_model("llama"), dtype="fp32")
    randomize_adapter(policy)
    hidden_grads: list[torch.Tensor] = []

    def keep(module: torch.nn.Module, inputs: tuple, output: torch.Tensor) -> None:
        output.register_hook(hidden_grads.append)

    policy.get_base_model().model.norm.register_forward_hook(keep)
    pair = PreferenceExample("p", (5, 6, 7), (8, 9, 10), (11,), chosen_mask=(True, False, True))
    logps = completion_logps(policy, collate([pair]))
    (logps.chosen + logps.rejected).sum().backward()
    # Rows 2, 3, 4 predict the chosen completion (row 2 the rejected one as well); row 3 predicts the masked token.
    rows = hidden_grads[0][0].abs().sum(-1)
    assert (rows > 0).tolist() == [False, False, True, False, True, False, False]


@pytest.mark.parametrize(("family", "options"), MODELS)
def test_check_packing_accepts_what_is_exact(tiny_model: TinyModel, family: str, options: dict) -> None:
    attention = "eager" if family == "gemma2" else "sdpa"
    assert check_packing(load_policy(tiny_model(family, **options), dtype="fp32", attention=attention)) == "packed"


def test_check_packing_falls_back_where_positions_come_from_the_mask(tiny_model: TinyModel) -> None:
    # Bloom's ALiBi takes distances from the sequence index: after the first completion they would be wrong.
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(tiny_model("bloom"), dtype=torch.float32)
    assert check_packing(model) == "concatenated"


def test_check_packing_refuses_an_unknown_output_head(tiny_model: TinyModel) -> None:
    policy = load_policy(tiny_model("llama"), dtype="fp32")
    causal = policy.get_base_model()
    plain = causal.forward

    def scaled(*args: object, **kwargs: object) -> object:
        output = plain(*args, **kwargs)
        output.logits = output.logits * 3
        return output

    causal.forward = scaled
    with pytest.raises(ConfigError, match="output head"):
        check_packing(policy)


def test_an_attention_without_masks_is_refused(tiny_model: TinyModel) -> None:
    policy = load_policy(tiny_model("llama"), dtype="fp32")
    policy.get_base_model().config._attn_implementation = "flash_attention_2"
    with pytest.raises(ConfigError, match="attention"):
        completion_logps(policy, collate(ragged_pairs()))


def test_batches_keep_their_result_after_moving(tiny_model: TinyModel) -> None:
    from lightning.fabric.utilities import move_data_to_device

    batch = collate(ragged_pairs())
    moved = move_data_to_device(batch, torch.device("meta"))
    assert isinstance(moved, PackedBatch)
    assert moved.input_ids.device.type == moved.source_index.device.type == "meta"
    assert moved.ids == batch.ids
