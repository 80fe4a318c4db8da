"""Predicted memory of a run, from a model's configuration and the run's own: phase by phase, part by part.

    bytes of a phase = bytes held through it + the largest snapshot of its computation
    peak = max over rollout, annotate, update (and, with a learned reward: reward_model, its training, and reward)

The worst case is predicted: every completion at the token limit, every prompt as long as the longest, a later round
(with the optimiser's state).  Nothing is loaded or run.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from algos import Algorithm, Schedule
from harness.config.rewards import RewardModelFields
from harness.config.run_config import RunConfig
from harness.models.limits import micro_batches
from harness.planner.activations import Load, Numbers, Snapshot
from harness.planner.architecture import Architecture
from harness.planner.inference import Decode, reading
from harness.planner.training_step import Pass

LIVING = ("policy", "rollout_weights", "reference", "critic", "reward_model", "optimizer", "rollouts")
PASSING = ("gradients", "kv_cache", "activations", "logits", "autocast_copies")
PARTS = (*LIVING, *PASSING)
BATCH = RewardModelFields.batch
OPTIMIZER_BYTES = {"adamw": 8.0, "adamw8bit": 2.0 + 8 / 256, "paged_adamw8bit": 2.0 + 8 / 256}  # bytes per parameter


@dataclass(frozen=True)
class Setting:
    """A run to plan: its configuration, its algorithm's needs and schedule, the device and the longest prompt."""

    config: RunConfig
    architecture: Architecture
    algo: Algorithm
    schedule: Schedule
    device: str = "cpu"
    prompt: int = 128

    @property
    def cuda(self) -> bool:
        return self.device.startswith("cuda")

    @property
    def sampled(self) -> bool:
        """Are completions sampled, not read from a dataset?"""
        return self.schedule.source != "dataset"

    @property
    def learned_reward(self) -> bool:
        """Is the reward a learned model?"""
        return self.config.reward.endswith("-model")

    @property
    def numbers(self) -> Numbers:
        dtype = self.config.dtype
        if dtype == "float64":
            return Numbers(8, 8)
        narrow = dtype == "bfloat16" or (dtype == "auto" and self.cuda)
        return Numbers(4, 2 if narrow else 4, varlen=narrow and self.cuda and self.architecture.plain)

    @property
    def readers(self) -> frozenset[str]:
        """Models that score a round after sampling; a value head on the policy's backbone does so during sampling."""
        return self.algo.needs & ({"reference"} if self.schedule.critic == "shared" else {"reference", "values"})


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


def living_parts(s: Setting) -> dict[str, float]:
    """Parts held for the whole run.  Under autocast a model without gradients has its matrices in 16 bits (and its own
    copy of a tied head): the reference; and the sampler's copy of the policy, whose other tensors are the policy's."""
    a, n = s.architecture, s.numbers
    trained = a.parameters + value_model_parameters(s)
    reference = 0.0
    if "reference" in s.algo.needs:
        wide = a.parameters - (a.narrow - (a.embedding if a.tied else 0))
        reference = float(n.master * wide + n.product * a.narrow) if n.casts else float(n.master * a.parameters)
    state = OPTIMIZER_BYTES[s.config.optimizer] * (n.master / 4 if s.config.optimizer == "adamw" else 1)
    return {
        "policy": float(n.master * a.parameters),
        "rollout_weights": float(n.product * a.narrow) if n.casts else 0.0,
        "reference": reference,
        "critic": float(n.master * value_model_parameters(s)),
        "reward_model": float(n.master * reward_model_parameters(s)),
        "optimizer": state * trained,
        "rollouts": _rollouts(s),
    }


def value_model_parameters(s: Setting) -> int:
    """A value head of H + 1, with its own backbone where the schedule's critic is separate."""
    kind = s.schedule.critic
    return 0 if kind == "none" else s.architecture.hidden + 1 + (s.architecture.backbone if kind == "separate" else 0)


def reward_model_parameters(s: Setting) -> int:
    """A backbone like the policy's and a head of H, where the reward is learned."""
    return s.architecture.backbone + s.architecture.hidden if s.learned_reward else 0


def _rollouts(s: Setting) -> float:
    """Ids and masks of whole rows (9 bytes per token), and of completions the mask, log-probabilities, the entropy, the
    algorithm's inputs and its credit."""
    columns = 3 + len(s.algo.needs & {"reference", "values"}) + (1 if "values" in s.algo.needs else 0)
    token = 9 * (s.prompt + s.config.max_new_tokens) + s.config.max_new_tokens * (1 + 4 * columns)
    return float(s.schedule.prompts * s.schedule.group_size * token)


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
            moments += reading(s.architecture, load, s.numbers, live=True)
        if "reference" in s.readers:
            moments += reading(s.architecture, load, s.numbers)
        if "values" in s.readers:
            moments += reading(s.architecture, load, s.numbers, head=False, live=True)
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
    policy = Pass(s.architecture, load, s.numbers, *options, head=True, entropy="entropy" in s.algo.needs)
    if s.schedule.critic != "separate":
        return policy.snapshots()
    value_model = Pass(s.architecture, load, s.numbers, *options, head=False)
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
