"""Predicted memory of a run, from a model's configuration and the run's own: phase by phase, part by part.

    bytes of a phase = bytes held through it + the largest snapshot of its computation
    peak = max over rollout, annotate, update (and, with a learned reward: reward_model, its training, and reward)

The worst case is predicted: every completion at the token limit, every prompt as long as the longest, a later round
(with the optimiser's state).  Nothing is loaded or run.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from harness.config.rewards import RewardModelFields
from harness.models.limits import micro_batches
from harness.planner.activations import Load, Snapshot
from harness.planner.inference import Decode, reading
from harness.planner.setting import Setting, living_parts, reward_model_parameters, value_model_parameters
from harness.planner.training_step import Pass

LIVING = ("policy", "rollout_weights", "reference", "critic", "reward_model", "optimizer", "rollouts")
PASSING = ("gradients", "kv_cache", "activations", "logits", "autocast_copies")
PARTS = (*LIVING, *PASSING)
BATCH = RewardModelFields.batch


@dataclass(frozen=True)
class Phase:
    """Bytes by part at the phase's largest snapshot, and that snapshot's name."""

    name: str
    moment: str
    parts: dict[str, float]

    @property
    def bytes(self) -> float:
        return sum(self.parts.values())


@dataclass(frozen=True)
class Plan:
    setting: Setting
    phases: tuple[Phase, ...]
    notes: tuple[str, ...] = field(default=())

    @property
    def worst(self) -> Phase:
        return max(self.phases, key=lambda phase: phase.bytes)

    @property
    def peak(self) -> float:
        return self.worst.bytes


def predict(s: Setting) -> Plan:
    """Rollout (where completions are sampled), annotate (where the algorithm needs a reference or a value model;
    without a rollout the policy scores too) and update."""
    living = living_parts(s)
    parked = {**living, "reference": 0.0} if s.config.reference_device == "cpu" and s.cuda else living
    cached = decode(s).cache if s.cuda and s.sampled else 0.0  # a static cache is kept between rounds
    phases = [_phase("rollout", {**parked, "rollouts": 0.0}, decode(s).snapshots(), 0.0)] if s.sampled else []
    if s.learned_reward:
        early = {} if s.config.refresh_reward else {"optimizer": 0.0}  # the policy has taken no step yet
        phases.insert(0, _phase("reward_model", {**parked, "rollouts": 0.0, **early}, _fit(s), cached))
        read = [
            m for load in _loads(s, s.schedule.prompts) for m in reading(s.architecture, load, s.numbers, False, True)
        ]
        phases.append(_phase("reward", parked, read, cached))
    if s.readers or not s.sampled:
        phases.append(_phase("annotate", living, _annotate(s), cached))
    phases.append(_phase("update", {**parked, "rollouts": 2 * living["rollouts"]}, _update(s), cached))
    return Plan(s, tuple(phases), tuple(_notes(s)))


def _phase(name: str, living: dict[str, float], moments: Iterable[Snapshot], cached: float) -> Phase:
    """The parts held throughout, with the largest snapshot."""
    fullest = max(moments, key=lambda moment: moment.bytes)
    parts = {part: living.get(part, 0.0) for part in PARTS}
    parts["gradients"], parts["activations"] = fullest.gradients, fullest.activations
    parts["logits"], parts["autocast_copies"] = fullest.logits, fullest.casts
    parts["optimizer"] += fullest.optimizer
    parts["kv_cache"] = fullest.kv_cache + (cached if name != "rollout" else 0.0)
    return Phase(name, fullest.name, parts)


def decode(s: Setting) -> Decode:
    """Decoding with the largest number of rows: whole groups, `rollout_batch_size` at most, or one group."""
    group = s.schedule.group_size
    prompts = min(s.schedule.prompts, max(1, s.config.rollout_batch_size // group))
    own = s.config.max_new_tokens
    return Decode(s.architecture, s.numbers, prompts, group, s.prompt, own, s.cuda)


def micro_batches_of(groups: int, size: int, prompt: int, own: int, limit: int) -> list[tuple[int, int]]:
    """(prompts, completions) of each micro-batch, of rows that are all alike.

    >>> micro_batches_of(groups=2, size=3, prompt=10, own=21, limit=60)
    [(1, 2), (2, 2), (1, 2)]
    """
    batches = micro_batches(((row // size, prompt, own - 1) for row in range(groups * size)), limit)
    return [(len({row // size for row in batch}), len(batch)) for batch in batches]


def _loads(s: Setting, groups: int) -> list[Load]:
    """The distinct micro-batches, largest first."""
    distinct = dict.fromkeys(_micro_batches(s, groups)[::-1])
    return [Load(prompts, rows, s.prompt, s.config.max_new_tokens) for prompts, rows in distinct]


def _micro_batches(s: Setting, groups: int) -> list[tuple[int, int]]:
    group_size, own = s.schedule.group_size, s.config.max_new_tokens
    return micro_batches_of(groups, group_size, s.prompt, own, s.config.micro_batch_tokens)


def _annotate(s: Setting) -> list[Snapshot]:
    """Scoring by the policy (if nothing was sampled), by the reference, and by a separate value model."""
    moments = []
    for load in _loads(s, s.schedule.prompts):
        if not s.sampled:
            moments += reading(s.architecture, load, s.numbers, live=True, adapted=s.adapter is not None)
        if "reference" in s.readers:
            moments += reading(s.architecture, load, s.numbers, live=s.adapter is not None)
        if "values" in s.readers:
            moments += reading(s.architecture, load, s.numbers, False, True, s.adapter is not None)
    return moments


def _update(s: Setting) -> list[Snapshot]:
    """The first and the later micro-batches of an update, and the optimiser's step."""
    groups = -(-s.schedule.prompts // s.schedule.minibatches)
    loads = _loads(s, groups)
    several = len(_micro_batches(s, groups)) > 1
    moments = [_step(s)]
    for place, load in enumerate(loads):
        for accumulated in {False, several} if place == 0 else {True}:
            moments += _round_trip(s, load, accumulated)
    return moments


def _round_trip(s: Setting, load: Load, accumulated: bool) -> list[Snapshot]:
    """Forward and backward of one micro-batch.  A separate value model's come before the policy's."""
    options = (s.config.gradient_checkpointing, accumulated)
    entropy = "entropy" in s.algo.needs
    policy = Pass(s.architecture, load, s.numbers, *options, head=True, entropy=entropy, adapter=s.adapter)
    if s.schedule.critic != "separate":
        return policy.snapshots()
    value_model = Pass(s.architecture, load, s.numbers, *options, head=False, adapter=s.adapter)
    beside_value_model = Snapshot("", gradients=policy.gradients if accumulated else 0.0)
    beside_policy = Snapshot("", gradients=value_model.gradients)
    return [
        *(m.over(beside_value_model) for m in value_model.snapshots()),
        *(m.over(beside_policy) for m in policy.snapshots()),
    ]


def _fit(s: Setting) -> list[Snapshot]:
    """A reward model's training: its own optimiser state, and shuffled rows, which share no prompt."""
    n, own, batch = s.numbers, s.config.max_new_tokens, int(s.config.reward_model.get("batch", BATCH))
    adamw = Snapshot("", optimizer=8.0 * n.master / 4 * reward_model_parameters(s))
    cut = micro_batches_of(batch, 1, s.prompt, own, s.config.micro_batch_tokens)
    loads = [Load(prompts, rows, s.prompt, own) for prompts, rows in dict.fromkeys(cut[::-1])]
    passes = [Pass(s.architecture, load, n, False, len(cut) > 1, head=False) for load in loads]
    step = Snapshot(
        "step", gradients=float(n.master * reward_model_parameters(s)), optimizer=float(n.master * _scratch(s))
    )
    return [m.over(adamw) for m in (*(m for each in passes for m in each.snapshots()), step)]


def _step(s: Setting) -> Snapshot:
    """All gradients; torch's AdamW on the CPU allocates two temporaries of the current parameter's size (a root and a
    quotient) while the previous parameter's quotient is still held: three matrices of the MLP, or two of the embedding,
    three where a value model's embedding follows the policy's head."""
    a, n = s.architecture, s.numbers
    gradients = float(n.master * (a.parameters + value_model_parameters(s)))
    if s.adapter is not None:
        scratch = 3 * s.adapter.largest if s.config.optimizer == "adamw" and not s.cuda else 0
        trained = n.master * (s.adapter.parameters + value_model_parameters(s))
        return Snapshot("step", gradients=float(trained), optimizer=float(n.master * scratch))
    scratch = 0
    if s.config.optimizer == "adamw":
        scratch = _scratch(s, 3 if s.schedule.critic == "separate" and not a.tied else 2)
    return Snapshot("step", gradients=gradients, optimizer=float(n.master * scratch))


def _scratch(s: Setting, embeddings: int = 2) -> int:
    """Size of the temporaries of torch's AdamW step on the CPU; on CUDA it is one kernel."""
    a = s.architecture
    return 0 if s.cuda else max(embeddings * a.embedding, (3 if a.family.gated else 2) * a.hidden * a.inner)


def _notes(s: Setting) -> list[str]:
    notes = []
    if not s.architecture.known:
        notes.append(
            f"'{s.architecture.model_type}' is not a known architecture: parameters and activations are "
            "those of a Llama of these sizes, a rough guide"
        )
    if s.learned_reward:
        notes.append("the reward model is assumed to be trained in this run; its training is charged to the budget")
    if s.cuda:
        notes.append(
            "bytes of tensors only: CUDA context, kernel workspaces, captured graphs and fragmentation come on top"
        )
    return notes
