"""The LightningModule that trains a LoRA policy on preference pairs."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities import rank_zero_warn

from longmab_pl.checks import at_least, not_negative, one_of, positive, unit_interval
from longmab_pl.errors import ConfigError, LongMabError, NonFiniteLoss
from longmab_pl.live import step
from longmab_pl.models.hub import resolve_model
from longmab_pl.shown import shown
from longmab_pl.training import adapter as adapters
from longmab_pl.training.accumulation import StepWeights, drop_partial_accumulation, scale_gradients
from longmab_pl.training.attention import Attention, leave_flex
from longmab_pl.training.batch import PackedBatch
from longmab_pl.training.detached import check_detached, detached_token_logps
from longmab_pl.training.logprobs import (
    Layout,
    PolicyLogps,
    causal_model,
    check_packing,
    flex_failure,
    pair_logps,
    text_logps,
    token_logps,
)
from longmab_pl.training.losses import PairLogps, PreferenceLoss, SigmoidDPO
from longmab_pl.training.losses.base import BetaLoss
from longmab_pl.training.objective import StepLoss
from longmab_pl.training.offload import offloaded_activations
from longmab_pl.training.phases import Phase, PhasePlan, PreferencePhase
from longmab_pl.training.policy import LoRASettings, Precision, Quantization, load_policy
from longmab_pl.training.reference import FROZEN_COPIES, WITHIN_POLICY, load_reference, reference_digest
from longmab_pl.training.schedule import Schedule, lr_factor, phase_progress
from longmab_pl.training.sequence_parallel import SequenceGroup, sequence_group
from longmab_pl.training.sharding import shard
from longmab_pl.training.split_limits import uneven_processes
from longmab_pl.training.split_logps import prepare_split, refuse_unsplittable, split_token_logps
from longmab_pl.training.terms import ShortToLong, Term
from longmab_pl.training.weighted import WeightedPhase

if TYPE_CHECKING:
    from peft import PeftModel
    from torch.distributed.device_mesh import DeviceMesh
    from transformers import PreTrainedModel


class DPOModule(LightningModule):
    """Preference optimization of a LoRA adapter, on batches that hold every shared prompt once.

    Loss of a pair: the preference loss + `nll_weight` x mean negative log-likelihood of the chosen completion's tokens.
    With `phases`, a round's pairs are trained on with several objectives in turn: SFT, then DPO.
    Keep the Trainer at `precision: 32-true`: weights are loaded in `dtype`, the adapter and its optimizer are float32.

    Args:
        model: a local folder, a hub name, or "bundled:smollm2-135m-instruct".
        loss: the preference loss; None is `SigmoidDPO(beta=0.1)`.
        beta: strength of the pull to the reference, in place of the loss's own; None keeps that.
        nll_weight: weight of the likelihood term (the LongMab-PO authors use 0.1 for Llama-3.1-8B, 0.2 for Qwen2.5-7B).
        short_to_long: settings of SoLoPO's term beside the preference loss of every phase; None: without it. Pairs
            whose chosen answer was not sampled from chunks are left out.
        losses: several weighted losses in place of `loss`, `nll_weight` and `short_to_long`; one phase.
        phases: objectives for each round's pairs, in turn, each for its own epochs; None: one phase of `loss` and
            `nll_weight`. Every phase has its own warm-up, schedule and optimizer state.
        lora: the adapter's settings.
        quantization: "nf4" keeps the base in 4 bits (QLoRA).
        dtype: number format of the base model's weights and activations.
        attention: "flex" (FlexAttention, CUDA only), "sdpa", "eager" (slow, for debugging), or "auto": flex on CUDA,
            sdpa elsewhere.
        gradient_checkpointing: recompute layers in the backward pass: less memory, about a third more time.
        activation_offload: keep activations for the backward pass (with checkpointing: the layers' inputs) in the
            computer's memory instead of the GPU's; slower, for the longest prompts.
        learning_rate: peak learning rate of phases that set none.
        weight_decay: AdamW's, on the adapter.
        warmup_fraction: fraction of the run (of each phase) with linear warm-up.
        schedule: shape of the learning rate after the warm-up, over the run (each phase). Under "cosine" and "linear"
            the later of several rounds train at a fraction of the rate: the second of two at 18% of its peak on
            average.
        optimizer: "paged_adamw_8bit" (bitsandbytes) needs a CUDA GPU.
        reference: "base" is the adapter switched off; "round_start" is a frozen copy of the adapter as the current
            round began (see `start_round`), "phase_start" as the current phase began (DPO after SFT is then compared
            with the SFT model); anything else is a separate model, loaded frozen in the policy's dtype and
            quantization (it must have the policy's tokenizer).
        precompute_reference: compute the reference's log-probabilities once per pair and keep them beside the pairs;
            "auto" does so where pairs are trained on more than once (see `longmab_pl.training.reference_store`).
        logprob_chunk: rows of hidden states that go through the output head at once.
        prompt_gradient: "detached" computes the prompts' keys and values without a graph, in pieces, and trains
            through the completions alone: less memory and time on long prompts, and another gradient (see
            `longmab_pl.training.detached`). Full attention only; on CUDA with `attention: sdpa`.
        sequence_parallel: number of processes that share the tokens of each sequence, a divisor of the number of
            processes and of the model's attention heads (see `longmab_pl.training.sequence_parallel`); 1: each
            process has its own sequences.

    Example:
        >>> module = DPOModule("bundled:smollm2-135m-instruct", dtype="fp32")
        >>> [phase.name for phase in module.phases]
        ['dpo']
    """

    def __init__(
        self,
        model: str,
        loss: PreferenceLoss | None = None,
        beta: float | None = None,
        nll_weight: float = 0.1,
        short_to_long: ShortToLong | None = None,
        losses: list[Term] | None = None,
        phases: list[Phase] | None = None,
        lora: LoRASettings = LoRASettings(),  # noqa: B008 - frozen
        quantization: Quantization = "none",
        dtype: Precision = "bf16",
        attention: Attention = "auto",
        gradient_checkpointing: bool = True,
        activation_offload: bool = False,
        learning_rate: float = 2e-5,
        weight_decay: float = 0.0,
        warmup_fraction: float = 0.1,
        schedule: Schedule = "constant",
        optimizer: Literal["adamw", "paged_adamw_8bit"] = "adamw",
        reference: str = "base",
        precompute_reference: bool | Literal["auto"] = "auto",
        logprob_chunk: int = 128,
        prompt_gradient: Literal["exact", "detached"] = "exact",
        sequence_parallel: int = 1,
    ) -> None:
        super().__init__()
        self.model = model
        self.loss = _with_beta(loss or SigmoidDPO(), beta)
        self.nll_weight = nll_weight
        not_negative("model.nll_weight", nll_weight)
        self.short_to_long = short_to_long
        self.losses = losses
        if losses is not None:
            _refuse_beside_losses({"loss": loss, "beta": beta, "short_to_long": short_to_long, "phases": phases})
            phases = [WeightedPhase(losses)]
        self.phases = PhasePlan(
            [self._with_defaults(phase) for phase in ([PreferencePhase()] if phases is None else phases)]
        )
        if reference != "round_start" and any(phase.reference_samples for phase in self.phases):
            raise ConfigError(
                f"model.reference is {shown(reference, 100)}, but the ratio of GroupTerm compares with the policy that "
                "sampled the responses; set model.reference: round_start, or clip: null of the term, which is the "
                "plain weighted likelihood"
            )
        if precompute_reference is True and any(phase.reference_tokens for phase in self.phases):
            raise ConfigError(
                "model.precompute_reference is true, but the reference's log-probabilities of weighted losses "
                "(model.losses, model.short_to_long, WeightedPhase) are computed in every step; set it to auto"
            )
        self.lora = lora
        self.quantization: Quantization = quantization
        self.dtype_name: Precision = dtype
        self.attention: Attention = attention
        self.gradient_checkpointing = gradient_checkpointing
        self.activation_offload = activation_offload
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.warmup_fraction = warmup_fraction
        self.schedule: Schedule = schedule
        self.optimizer_name = optimizer
        self.reference = reference
        self.precompute_reference = precompute_reference
        self.logprob_chunk = logprob_chunk
        positive("model.learning_rate", learning_rate)
        unit_interval("model.warmup_fraction", warmup_fraction, one=False)
        at_least("model.logprob_chunk", logprob_chunk, 1)
        one_of("model.prompt_gradient", prompt_gradient, ("exact", "detached"))
        self.detached = prompt_gradient == "detached"
        if self.detached and attention == "flex":
            raise ConfigError(
                "model.prompt_gradient is detached and model.attention is flex, whose kernels read no cache; set "
                "model.attention to sdpa or auto"
            )
        at_least("model.sequence_parallel", sequence_parallel, 1)
        if self.detached and sequence_parallel > 1:
            raise ConfigError(
                "model.prompt_gradient is detached, which computes a prompt in pieces in one process, and "
                f"model.sequence_parallel is {sequence_parallel}; use exact, or model.sequence_parallel: 1"
            )
        self.sequence_parallel = sequence_parallel
        self._sequence: SequenceGroup | None = None
        self.policy: PeftModel | None = None
        self.layout: Layout = "packed"
        # In a tuple, so that it is no submodule: never in a checkpoint, in no optimizer, neither moved nor wrapped.
        self._separate: tuple[PreTrainedModel, ...] = ()
        self._reference_layout: Layout = "packed"
        self._full_weights: dict[str, torch.Tensor] = {}
        self.load_device = torch.device("cpu")
        """Device on which `configure_model` loads the weights; `setup` reads it from the Trainer."""
        self._mesh: DeviceMesh | None = None
        self._fitting = True
        self._step = StepWeights()
        self._rest_of_step: torch.Tensor | None = None
        self.logged: frozenset[str] = frozenset()
        """Names of the last batch's metrics; Lightning keeps those of earlier phases beside them."""

    def _with_defaults(self, phase: Phase) -> Phase:
        """Return a phase with the module's settings for those that it leaves open."""
        if not isinstance(phase, PreferencePhase):
            return phase
        phase = phase.with_defaults(self.loss, self.nll_weight)
        return phase if self.short_to_long is None else WeightedPhase.short_to_long(phase, self.short_to_long)

    # Building

    def setup(self, stage: str) -> None:
        """Read the device, and the mesh of a sharding strategy, from the trainer; `configure_model` runs next."""
        precision = self.trainer.precision
        if precision in ("16-true", "bf16-true", "transformer-engine"):
            raise ConfigError(
                f"trainer.precision is {precision}, which would cast the adapter too; use 32-true and set model.dtype"
            )
        if uneven := uneven_processes(self.sequence_parallel, self.trainer.world_size):
            raise ConfigError(uneven)
        self.load_device = self.trainer.strategy.root_device
        self._mesh = self.device_mesh
        self._fitting = stage == "fit"

    @property
    def sharded(self) -> bool:
        """Whether each rank holds only its share of the weights (FSDP)."""
        return self._mesh is not None

    def data_share(self) -> tuple[int, int]:
        """Return this process's share of the data and the number of shares; a sequence's processes have the same."""
        return self.trainer.global_rank // self.sequence_parallel, self.trainer.world_size // self.sequence_parallel

    def configure_model(self) -> None:
        """Load the policy (once; Lightning calls this again for validate and test)."""
        if self.policy is not None:
            return
        device = self.load_device
        if self.sequence_parallel > 1:
            refuse_unsplittable(resolve_model(self.model), self.sequence_parallel)
            self._sequence = sequence_group(self.sequence_parallel, device)
        with step(f"loading weights of {shown(self.model, 100)}"):
            policy = load_policy(
                resolve_model(self.model),
                self.lora,
                self.quantization,
                self.dtype_name,
                "sdpa" if self.detached and device.type == "cuda" else self.attention,  # FlexAttention reads no cache
                self.gradient_checkpointing,
                device,
            )
        if self.reference in FROZEN_COPIES:
            adapters.add_reference(policy)
        self.layout = self._exact_layout(policy)
        self._reference_layout = self.layout
        if self.detached:
            self._check_detached(policy)
        if self.phases.needs_reference and self.reference not in WITHIN_POLICY:
            separate = load_reference(
                self.reference, policy, self.model, self.quantization, self.dtype_name, self.attention, device
            )
            self._separate = (separate,)
            self._reference_layout = self._exact_layout(separate)
        self.policy = policy
        if self._mesh is not None:  # ModelParallelStrategy
            if self.quantization == "nf4":
                raise ConfigError(
                    "model.quantization is nf4, whose packed weights cannot be sharded; use trainer.strategy: ddp "
                    "(every GPU holds the 4-bit base) or model.quantization: none"
                )
            if self.optimizer_name == "paged_adamw_8bit":
                raise ConfigError(
                    "model.optimizer is paged_adamw_8bit, which takes no sharded weights (FSDP); use adamw, whose "
                    "states are sharded as the weights are"
                )
            shard(policy, self._mesh)

    def _check_detached(self, policy: PeftModel) -> None:
        """Raise `ConfigError` if this model's prompts cannot be detached."""
        check_detached(causal_model(policy))
        if self.layout == "concatenated" or self._mesh is not None:
            reason = "sharded (FSDP)" if self._mesh is not None else "of an architecture that cannot be packed"
            raise ConfigError(f"model.prompt_gradient is detached, and the model is {reason}; use exact")

    def _exact_layout(self, model: PeftModel | PreTrainedModel) -> Layout:
        """Choose an attention that runs on this device, and return a layout that is exact with it."""
        if self.attention == "auto" and (reason := flex_failure(model)) is not None:
            fallback = leave_flex(causal_model(model))
            rank_zero_warn(f"FlexAttention does not run here ({reason}); attention is {fallback} instead")
        layout = check_packing(model)
        if self._sequence is not None:
            if layout == "concatenated":
                raise ConfigError(
                    f"model.sequence_parallel is {self.sequence_parallel}, and {type(causal_model(model)).__name__} "
                    "cannot take packed pairs exactly; set model.sequence_parallel: 1"
                )
            prepare_split(model, self._sequence)
        if layout == "concatenated":
            rank_zero_warn(
                f"{type(causal_model(model)).__name__} cannot take packed pairs exactly; each completion runs with "
                "its own copy of the prompt (slower)"
            )
        return layout

    @property
    def _policy(self) -> PeftModel:
        if self.policy is None:
            raise LongMabError("the policy is not loaded yet; call configure_model() first (the Trainer does)")
        return self.policy

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return AdamW over the adapter; the learning rate is set before every batch (see `on_train_batch_start`)."""
        trained = [p for p in self.parameters() if p.requires_grad]
        if self.optimizer_name == "adamw":
            return torch.optim.AdamW(trained, lr=self.learning_rate, weight_decay=self.weight_decay)
        if self.device.type != "cuda":
            raise ConfigError(
                f"model.optimizer paged_adamw_8bit needs a CUDA GPU, and this run is on {self.device.type}; use adamw"
            )
        from bitsandbytes.optim import PagedAdamW8bit

        return PagedAdamW8bit(trained, lr=self.learning_rate, weight_decay=self.weight_decay)

    # Rounds and phases

    @property
    def phase(self) -> Phase:
        """The current phase; outside of `fit` the last one."""
        return self.phases.at(self.current_epoch) if self._fitting else self.phases.phases[-1]

    def start_round(self) -> None:
        """Start a round: with `reference: round_start` the current adapter becomes the reference.

        Do not call it when resuming within a round: the checkpoint holds that round's reference.
        """
        if self.reference == "round_start":
            adapters.copy_to_reference(self._policy)

    def start_phase(self) -> None:
        """Start a phase: with `reference: phase_start` the current adapter becomes the reference.

        Do not call it when resuming within a phase: the checkpoint holds that phase's reference.
        """
        if self.reference == "phase_start":
            adapters.copy_to_reference(self._policy)

    # Steps

    def pair_logps(self, batch: PackedBatch) -> PolicyLogps:
        """Return the log-probabilities of a batch's pairs under the policy."""
        return pair_logps(batch, self._logps(self._policy, batch, self.layout), self.phase.ld_alpha)

    def _logps(self, model: PeftModel | PreTrainedModel, batch: PackedBatch, layout: Layout) -> torch.Tensor:
        """Return the log-probability (nats, float [N]) of each completion token."""
        if self._sequence is not None:
            return split_token_logps(model, batch, self._sequence, self.logprob_chunk)
        return token_logps(model, batch, self.logprob_chunk, layout)

    @torch.no_grad()
    def reference_logps(self, batch: PackedBatch) -> PairLogps:
        """Return the log-probabilities of a batch's pairs under the reference.

        They may be stored in the pairs (`PreferenceExample.reference_*_logp`) for as long as `reference_digest` stays
        the same.
        """
        return pair_logps(batch, self.reference_token_logps(batch), self.phase.ld_alpha)

    @torch.no_grad()
    def reference_token_logps(self, batch: PackedBatch) -> torch.Tensor:
        """Return the log-probability (nats, float [N]) of each completion token under the reference."""
        if self._separate:
            return self._logps(self._separate[0], batch, self._reference_layout)
        with adapters.as_reference(self._policy, self.reference):
            return self._logps(self._policy, batch, self._reference_layout)

    def reference_digest(self) -> str:
        """Return a digest of what a pair's reference log-probabilities depend on besides its tokens."""
        weights = reference_digest(self._policy, self.reference, self._separate[0] if self._separate else None)
        return f"{weights}-{self.phase.ld_alpha:g}"

    def training_step(self, batch: PackedBatch, batch_idx: int) -> torch.Tensor:
        step = self.step_loss(batch)
        self._log_metrics("train/", step, len(batch), ("loss", "rewards/accuracies", "rewards/margins"))
        return self._shared_out(step.mean(), step.units.sum(), batch_idx)

    def validation_step(self, batch: PackedBatch, batch_idx: int) -> None:
        self._log_metrics("eval/", self.step_loss(batch), len(batch), ("loss",))

    def _log_metrics(self, prefix: str, step: StepLoss, size: int, shown: Sequence[str]) -> None:
        metrics = dict(step.metrics)
        if len(self.phases) > 1:
            metrics[f"{self.phase.name}/loss"] = metrics["loss"]
        self.logged = frozenset(f"{prefix}{name}" for name in metrics)
        for name, value in metrics.items():
            self.log(f"{prefix}{name}", value, prog_bar=name in shown, batch_size=size, sync_dist=True)

    def step_loss(self, batch: PackedBatch) -> StepLoss:
        """Return the losses of a batch under the current phase.

        Raises:
            NonFiniteLoss: one of them is NaN or infinite; the message names its pair.
        """
        phase = self.phase
        reference: PairLogps | torch.Tensor | None = None
        if phase.needs_reference and phase.reference_tokens:
            reference = self.reference_token_logps(batch)
        elif phase.needs_reference:
            reference = batch.reference_logps() or self.reference_logps(batch)
        with offloaded_activations(self._policy) if self.activation_offload else nullcontext():
            if self.detached:
                logps = detached_token_logps(self._policy, batch, self.logprob_chunk)
            else:
                logps = self._logps(self._policy, batch, self.layout)
        step = phase.objective(batch, logps, reference)
        if not torch.isfinite(step.losses).all():
            finite = torch.isfinite(step.losses).tolist()
            bad = [id for id, is_finite in zip(batch.ids, finite, strict=True) if not is_finite]
            raise NonFiniteLoss(
                f"the loss is not finite for pairs {', '.join(map(repr, bad))} (epoch {self.current_epoch}, step "
                f"{self.global_step}); no checkpoint is written of these weights. Go on from the last one "
                "(checkpoints/last.ckpt) with a lower model.learning_rate or a trainer.gradient_clip_val, and look at "
                "the pairs"
            )
        return step

    def _shared_out(self, loss: torch.Tensor, weight: torch.Tensor, batch_idx: int) -> torch.Tensor:
        """Scale a batch's mean loss so that the optimizer step gets the mean over all units of all ranks' batches.

        Args:
            loss: mean over this rank's units, [].
            weight: the number of these units, [].
            batch_idx: index of the batch in the epoch.
        """
        batches = self.trainer.accumulate_grad_batches
        if batch_idx % batches == 0:
            self._step = StepWeights()
        ranks = self.trainer.world_size
        all_ranks = self.trainer.strategy.reduce(weight.clone(), reduce_op="sum")
        share = self._step.add(all_ranks)  # of this batch, all ranks together
        self._rest_of_step = 1 - share
        # Lightning divides by the number of batches, and the ranks' gradients are averaged. With several ranks to a
        # sequence `all_ranks` counts each batch as often, but the gradient of `summed` is as many times larger.
        return loss * (share * weight / all_ranks) * (batches * ranks)

    def on_before_backward(self, loss: torch.Tensor) -> None:
        """Scale the gradient of the step's earlier batches by their share of the step."""
        if self._rest_of_step is not None:
            scale_gradients(self.parameters(), self._rest_of_step)

    def on_train_batch_start(self, batch: PackedBatch, batch_idx: int) -> None:
        """Set the learning rate from the fraction of the phase that is done, which makes it exact on resume."""
        self._full_weights = {}
        if (
            batch_idx == 0
            and len(self.phases) > 1
            and self.phases.first_epoch(self.current_epoch) == self.current_epoch
        ):
            # Another objective has gradients of another size: Adam's averages of the last phase would mislead it.
            self.trainer.optimizers[0].state.clear()
        progress = phase_progress(self.trainer, batch_idx, self.phases)
        peak = self.phase.learning_rate or self.learning_rate
        rate = peak * lr_factor(progress, self.warmup_fraction, self.schedule)
        for group in self.trainer.optimizers[0].param_groups:
            group["lr"] = rate
        self.log("train/learning_rate", rate, batch_size=len(batch))

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        if self.optimizer_name == "paged_adamw_8bit":
            # bitsandbytes steps on CUDA's default stream, and vLLM may have moved this thread, and so the backward
            # pass, to one of its own: without waiting the step could read a gradient that is not there yet.
            torch.cuda.synchronize()

    # Checkpoints and export

    @property
    def strict_loading(self) -> bool:
        """False: checkpoints hold the adapter only; `on_load_checkpoint` checks that they hold all of it."""
        return False

    @strict_loading.setter
    def strict_loading(self, value: bool) -> None:
        raise ConfigError("strict_loading cannot be set: checkpoints hold the adapter only")

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Remove the base model's weights, so that the adapter (and the round's reference adapter) remain.

        A partly accumulated optimizer step is repeated from its first batch on resume.
        """
        if "loops" in checkpoint:
            drop_partial_accumulation(
                checkpoint, self.trainer.num_training_batches, self.trainer.accumulate_grad_batches
            )
        names = adapters.checkpoint_names(self)
        checkpoint["state_dict"] = {name: t for name, t in checkpoint["state_dict"].items() if name in names}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Raise an error if a checkpoint would load only in part."""
        self.configure_model()
        names = adapters.checkpoint_names(self)
        expected = {name: tensor for name, tensor in self.state_dict().items() if name in names}
        adapters.verify_checkpoint(expected, checkpoint["state_dict"])

    def save_adapter(self, folder: Path) -> Path:
        """Write the policy's adapter as a plain PEFT folder (see `longmab_pl.training.adapter.save_adapter`)."""
        return adapters.save_adapter(self._policy, Path(folder), resolve_model(self.model), self._full_weights)

    def gather_adapter(self) -> None:
        """Gather a sharded adapter (FSDP), so that any rank can save it or return its digest until the next batch.

        All ranks must call it. If the adapter is not sharded, it does nothing.
        """
        self._full_weights = adapters.gather_full_weights(self._policy)

    def adapter_is_identity(self) -> bool:
        """Return whether the adapter changes nothing, as before the first step."""
        return adapters.is_identity(self._policy, self._full_weights)

    def adapter_digest(self) -> str:
        """Return a digest of the adapter's weights, for file names; "base" while they change nothing."""
        return adapters.digest(self._policy, self._full_weights)

    @torch.no_grad()
    def token_logps(self, prompt_ids: Sequence[int], adapter: bool = True) -> list[float]:
        """Return the log-probabilities (nats) of a text's tokens 1..T-1, each given those before it.

        Args:
            prompt_ids: T >= 2 token ids.
            adapter: use the policy's adapter; False uses the base model.

        Raises:
            ConfigError: fewer than two tokens.
        """
        if len(prompt_ids) < 2:
            raise ConfigError(f"token_logps needs at least 2 tokens and was given {len(prompt_ids)}")
        policy = self._policy
        if self.sharded:
            raise LongMabError("one rank alone cannot compute log-probabilities with a sharded model (FSDP)")
        if not adapter:
            with adapters.as_reference(policy, "base"):
                return text_logps(policy, prompt_ids, self.logprob_chunk).tolist()
        was_training = policy.training
        policy.eval()
        try:
            return text_logps(policy, prompt_ids, self.logprob_chunk).tolist()
        finally:
            policy.train(was_training)


def _with_beta(loss: PreferenceLoss, beta: float | None) -> PreferenceLoss:
    """Return the loss with another `beta`.

    Raises:
        ConfigError: the loss has no such setting.
    """
    if beta is None:
        return loss
    positive("model.beta", beta)
    if not isinstance(loss, BetaLoss):
        raise ConfigError(f"model.beta is {beta}, but {type(loss).__name__} has no beta; leave model.beta out")
    return loss.with_beta(beta)


def _refuse_beside_losses(others: dict[str, object]) -> None:
    """Raise `ConfigError` for a setting whose place `model.losses` takes."""
    for name, value in others.items():
        if value is not None:
            raise ConfigError(f"model.losses and model.{name} are both set; leave model.{name} out")
