"""A transformers causal LM behind the `Policy` interface: scoring, gradient, step, the frozen reference, the value
model."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any, Literal

import torch
from accelerate import Accelerator
from torch import Tensor

from algos import Batch, Credit, Critic, Policy, PolicyOutputs, Requirement, Rollouts, Totals
from harness.models.adapters.adapter_set import CRITIC, POLICY, REFERENCE, AdapterSet
from harness.models.backbone import Backbone, SelectedTokens, View, checkpointed
from harness.models.causal_lm import CausalLM
from harness.models.half_precision import autocast_dtype, to_half_precision
from harness.models.microbatching import cut, own
from harness.models.optimizer import OptimizerSettings
from harness.models.parallel import sharding
from harness.models.parallel.sharding import local
from harness.models.value_model import ValueModel
from harness.processes.group import current


class LMPolicy(Policy):
    """The live model and its optimiser; a frozen copy as reference and a value model where an algorithm needs them.

    Dropout is off throughout: the policy that is trained is the one that was sampled.  Policy and critic are two
    parameter groups of one optimiser, each with its own count of updates, rate and clipped norm: a value model that has
    much to learn does not shorten the policy's steps.
    """

    def __init__(
        self,
        model: Any,
        accelerator: Accelerator,
        optim: OptimizerSettings,
        temperature: float,
        reference: bool,
        micro_batch_tokens: int,
        critic: Critic = "none",
        critic_lr: float = 1.0,
        gradient_checkpointing: bool = False,
        reference_device: Literal["device", "cpu"] = "device",
        adapters: AdapterSet | None = None,
        parallel: Literal["ddp", "fsdp2"] = "ddp",
        cpu_offload: bool = False,
    ) -> None:
        """With `adapters` on the model they alone are trained: the reference is the base without one, a separate value
        model the base with one of its own."""
        self.accelerator, self.optim, self.temperature = accelerator, optim, temperature
        self.micro_batch_tokens, self.progress = micro_batch_tokens, 0.0
        self.gradient_bytes = {"policy": 0, "critic": 0}
        model.eval()
        self.reference_device = torch.device("cpu") if reference_device == "cpu" else accelerator.device
        self.adapters, copied = adapters, reference and adapters is None
        self.reference = self._frozen(model, parallel == "fsdp2").to(accelerator.device) if copied else None
        self.critic = None if critic == "none" else ValueModel(model, critic, adapters).to(accelerator.device)
        self.checkpointed = gradient_checkpointing
        if gradient_checkpointing:
            for trunk in filter(None, (model, self.critic and self.critic.trunk)):
                checkpointed(trunk, nullcontext if adapters is None else adapters.held)
        self.shards = self._sharded(model, cpu_offload) if parallel == "fsdp2" else []
        trained = list(model.parameters()) if adapters is None else adapters.parameters(POLICY)
        groups: list[dict[str, Any]] = [{"params": trained, "scale": 1.0, "taken": 0}]
        if self.critic is not None:
            groups.append({"params": list(self.critic.parameters()), "scale": critic_lr, "taken": 0})
        self.model, self.optimizer = accelerator.prepare(model, optim.build(groups, accelerator.device))
        self.model.eval()
        with sharding.gathered(*self.shards):
            self.lm = CausalLM(accelerator.unwrap_model(self.model), accelerator.autocast)
            self.critic_trunk = self._critic_trunk()
            self.reference_lm = self._reference_lm() if reference else None
        if self.reference is not None and not self.shards:
            self.reference.to(self.reference_device)

    def _sharded(self, model: Any, offload: bool) -> list[Any]:
        """The models of which every process now holds its share."""
        if self.adapters is not None:
            raise ValueError("parallel: adapters are small, and are not shared out; choose parallel=ddp")
        models = [m for m in (model, self.critic and self.critic.trunk, self.reference) if m is not None]
        return [sharding.shard(m.to(self.device), offload) for m in models]

    def _critic_trunk(self) -> Backbone | None:
        """A separate value model's: a model of its own, or the policy's base with an adapter of its own."""
        module = self.critic and self.critic.trunk
        view: View = nullcontext
        if self.critic is not None and self.critic.adapter is not None:
            assert self.adapters is not None
            module, view = self.lm.module, self.adapters.view(CRITIC)
        if module is None:
            return None
        return Backbone(module, self.lm.packs, self.accelerator.autocast, self.lm.varlen, view)

    def _reference_lm(self) -> CausalLM:
        """A model of its own; or the policy's base without an adapter, or with one that is kept."""
        if self.adapters is None:
            return CausalLM(self.reference, self.accelerator.autocast)
        kept = REFERENCE if REFERENCE in self.adapters.names else None
        return CausalLM(self.lm.model, self.accelerator.autocast, self.adapters.view(kept))

    def _frozen(self, model: Any, uniform: bool) -> Any:
        """A copy of the model to read alone: under autocast its matrices need no more than 16 bits (but what is sharded
        has one precision: `uniform`)."""
        twin = copy.deepcopy(model).requires_grad_(False)
        dtype = None if uniform else autocast_dtype(self.accelerator.autocast, self.device)
        return twin if dtype is None else to_half_precision(twin, dtype)

    def reset_reference(self) -> None:
        """reference <- policy, as a new iteration begins (2402.03300, Algorithm 1)."""
        if self.adapters is not None and REFERENCE in self.adapters.names:
            self.adapters.copy(POLICY, REFERENCE)
            return
        if self.reference is None:
            raise ValueError("this policy has no reference to reset")
        live = self.modules()["policy"].state_dict()
        for name, kept in self.reference.state_dict().items():
            kept.copy_(live[name])

    def annotate(self, rollouts: Rollouts, needs: frozenset[Requirement]) -> Rollouts:
        if "reference" in needs:
            assert self.reference_lm is not None
            if self.reference is not None and not self.shards:
                self.reference.to(self.device)
            rollouts = replace(rollouts, ref_logp_NT=self.score(rollouts, self.reference_lm))
            if self.reference is not None and not self.shards:
                self.reference.to(self.reference_device)
        if "values" in needs:
            rollouts = replace(rollouts, value_NT=self.values(rollouts))
        return rollouts

    @torch.inference_mode()
    def score(self, rollouts: Rollouts, lm: CausalLM | None = None) -> Tensor:
        """log pi of every sampled token under `lm` (default: the live one), without gradient.  (N, T)."""
        lm = lm or self.lm
        with sharding.gathered(lm.model):
            return self._over(rollouts, lambda part: _token_outputs(lm, lm.hidden_states(part), self.temperature)[0])

    @torch.inference_mode()
    def values(self, rollouts: Rollouts) -> Tensor:
        """V of the state in which every sampled token was chosen, without gradient.  (N, T)."""
        with sharding.gathered(self.lm.model if self.critic_trunk is None else self.critic_trunk.module):
            return self._over(rollouts, self._value)

    def _over(self, rollouts: Rollouts, read: Callable[[Rollouts], Tensor]) -> Tensor:
        """`read` of all rows, so many at a time; of several processes each reads its share."""
        mine = own(rollouts, torch.arange(len(rollouts.group_N), device=self.device))
        rows = cut(rollouts, mine, self.micro_batch_tokens)
        out_NT = torch.zeros(rollouts.completion_mask_NT.shape, dtype=rollouts.logp_NT.dtype, device=self.device)
        for part in rows:
            values = read(rollouts.take(part))
            out_NT = out_NT.to(torch.promote_types(out_NT.dtype, values.dtype)).index_copy(0, part, values)
        current().sum_([out_NT])  # a row is 0 where it was not read
        return out_NT

    def forward(self, batch: Batch, needs: frozenset[Requirement]) -> PolicyOutputs:
        def read() -> tuple[Tensor, Tensor, Tensor, SelectedTokens]:
            chosen = self.lm.hidden_states(batch.rollouts)
            outputs = _token_outputs(self.lm, chosen, self.temperature, "entropy" in needs)
            return *outputs, chosen.state_MH, chosen

        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.value_only):
            logp_NT, entropy_NT, _, chosen = sharding.reading(self.lm.model, read)
        value_NT = self._value(batch.rollouts, chosen) if "values" in needs else None
        return PolicyOutputs(logp_NT=logp_NT, entropy_NT=entropy_NT, value_NT=value_NT)

    def forward_passes(self, batch: Batch, needs: frozenset[Requirement]) -> Iterator[PolicyOutputs]:
        """A separate value model is read first, beside the sampler's log-probabilities, and goes back
        before the policy is read beside its values: the activations of one model are held at a time, not of two.

            L = L_V(V) + L_pi(pi)     =>     dL/dV at the sampler's pi = dL/dV at the live pi

        ValueError where the loss is no such sum: the two gradients are compared.
        """
        if self.critic_trunk is None or self.value_only or "values" not in needs:
            yield self.forward(batch, needs)
            return
        value_NT = self._value(batch.rollouts)
        value_NT.retain_grad()
        yield replace(sampler_outputs(batch), value_NT=value_NT)
        beside_NT = value_NT.detach().requires_grad_()
        yield replace(self.forward(batch, needs - {"values"}), value_NT=beside_NT)
        there, here = value_NT.grad, beside_NT.grad
        # what is not a number is not more than anything: `step` names it
        if there is None or here is None or bool(((there - here).abs() > 1e-4 * here.abs() + 1e-8).any()):
            raise ValueError("algo.loss: with critic=separate, a sum of a term of values and one of log-probabilities")

    def _value(self, r: Rollouts, shared: SelectedTokens | None = None) -> Tensor:
        """The value model's view of a batch; `shared` are the policy's states, where they are at hand.  (N, T)."""
        if self.critic is None:
            raise ValueError("this policy has no value head")
        chosen = (
            self.critic_trunk.hidden_states(r) if self.critic_trunk is not None else shared or self.lm.hidden_states(r)
        )
        return chosen.scatter(self.critic(chosen.state_MH))

    def backward(self, loss: Tensor) -> None:
        self.accelerator.backward(loss)

    def keep_step(self, micro_batches: Sequence[Batch]) -> None:
        """Of a sharded model every process must make as many passes as any other: those that this one's micro-batches
        lack are made here, and count for nothing."""
        if not self.shards:
            return
        needs: frozenset[Requirement] = frozenset() if self.critic is None else frozenset({"values"})
        passes = sum(len(batch.rollouts.group_N) > 0 and not batch.zero_gradient for batch in micro_batches)
        for _ in range(sharding.missing(passes)):
            for outputs in self.forward_passes(_idle_batch(self.device), needs):
                read = [x.sum() for x in vars(outputs).values() if x is not None and x.requires_grad]
                self.backward(0 * torch.stack([x.float() for x in read]).sum())

    def step(self) -> dict[str, float]:
        metrics: dict[str, float] = {}
        for name, group in zip(("policy", "critic"), self.optimizer.param_groups, strict=False):
            if name == "policy" and self.value_only:
                continue
            for p in group["params"]:  # an update in which nothing had a gradient is a step all the same
                p.grad = torch.zeros_like(p) if p.grad is None else p.grad
            sharding.sum_replicated_(group["params"])  # of a loss over the whole update's totals: no mean
            rate = self.optim.rate(group["taken"], self.progress) * group["scale"]
            clip = sharding.clip_ if self.shards else self.accelerator.clip_grad_norm_
            norm = clip(group["params"], self.optim.max_norm)
            if not torch.isfinite(norm):
                raise FloatingPointError(f"the {name}'s gradient norm is {float(norm)} at update {group['taken'] + 1}")
            self.gradient_bytes[name] = sum(local(p.grad).nbytes for p in group["params"] if p.grad is not None)
            group["lr"], group["taken"] = rate, group["taken"] + 1
            prefix = "" if name == "policy" else f"{name}/"
            metrics |= {f"{prefix}grad_norm": float(norm), f"{prefix}learning_rate": rate}
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        sharding.let_go(self.shards)
        return metrics

    @property
    def device(self) -> torch.device:
        return self.accelerator.device

    def modules(self) -> dict[str, Any]:
        """The models that a checkpoint keeps, by the name of their part of memory.  Of adapted ones, the adapters."""
        policy, reference = self.accelerator.unwrap_model(self.model), self.reference
        if self.adapters is not None:
            policy = self.adapters.weights(POLICY)
            reference = self.adapters.weights(REFERENCE) if REFERENCE in self.adapters.names else None
        modules = {"policy": policy, "critic": self.critic, "reference": reference}
        return {name: m for name, m in modules.items() if m is not None}

    def state(self) -> dict[str, Any]:
        """What training changes: weights, and the optimiser's moments, rates and counts.  Not a copy."""
        weights = {name: m.state_dict() for name, m in self.modules().items() if name != "reference"}
        return {**weights, "optimizer": self.optimizer.state_dict()}

    def load(self, state: dict[str, Any]) -> None:
        for name, module in self.modules().items():
            if name in state:
                module.load_state_dict(state[name])
        self.optimizer.load_state_dict(state["optimizer"])

    def memory_parts(self) -> dict[str, int]:
        """Bytes of the tensors that live for the whole run, and of the gradients at the last step, counted."""
        parts = {name: sum(local(p).nbytes for p in module.parameters()) for name, module in self.modules().items()}
        if self.adapters is not None:  # one base for all
            parts["policy"] += self.adapters.base_bytes
        state = [t for s in self.optimizer.state.values() for t in s.values() if isinstance(t, Tensor)]
        return {
            **parts,
            "gradients": sum(self.gradient_bytes.values()),
            "optimizer": sum(local(t).nbytes for t in state),
        }


def _idle_batch(device: torch.device) -> Batch:
    """One completion of one token."""
    attention_mask_NS = torch.ones(1, 3, dtype=torch.bool, device=device)
    zero_NT = torch.zeros(1, 1, device=device)
    r = Rollouts(
        tokens_NS=torch.zeros_like(attention_mask_NS, dtype=torch.long),
        attention_mask_NS=attention_mask_NS,
        completion_mask_NT=attention_mask_NS[:, 2:],
        logp_NT=zero_NT,
        group_N=torch.zeros(1, dtype=torch.long, device=device),
    )
    return Batch(r, Credit(zero_NT, torch.ones(1, dtype=torch.bool, device=device)), Totals(1, 1, 1))


def sampler_outputs(batch: Batch) -> PolicyOutputs:
    """What the sampler said of a batch, in the place of the policy's reading."""
    r = batch.rollouts
    return PolicyOutputs(r.logp_NT, torch.zeros_like(r.logp_NT) if r.entropy_NT is None else r.entropy_NT)


def _token_outputs(
    lm: CausalLM, chosen: SelectedTokens, temperature: float, entropy: bool = False
) -> tuple[Tensor, Tensor]:
    """Log-probability and entropy of each completion token, 0 where the policy chose none.  Two (N, T)."""
    logp_M, entropy_M = lm.token_logprobs(chosen, temperature, entropy)
    return chosen.scatter(logp_M), chosen.scatter(entropy_M)
