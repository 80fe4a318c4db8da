"""Predicted memory of a run, from a model's configuration and the run's own: phase by phase, part by part.

    bytes of a phase = what lives through it + the fullest moment of what it computes
    peak = max over rollout, annotate, update (and, where rewards are learned: reward_model, its training, and reward)

The case that is planned for is the worst: every completion at the token limit, every prompt as long as the longest, a
later round (the optimiser's moments are there).  Nothing is loaded and nothing is run: it is arithmetic.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from algos import Algorithm, Schedule
from harness.config.rewards import RewardModelFields
from harness.config.run_config import RunConfig
from harness.planner.activations import Load, Moment, Numbers
from harness.planner.architecture import Anatomy
from harness.planner.inference import Decode, reading
from harness.planner.training_step import Pass

LIVING = ("policy", "rollout_weights", "reference", "critic", "reward_model", "optimizer", "rollouts")
PASSING = ("gradients", "kv_cache", "activations", "logits", "autocast_copies")
PARTS = (*LIVING, *PASSING)
BATCH = RewardModelFields.batch
MOMENTS = {"adamw": 8.0, "adamw8bit": 2.0 + 8 / 256, "paged_adamw8bit": 2.0 + 8 / 256}  # bytes a parameter


@dataclass(frozen=True)
class Setting:
    """What is planned: a run's configuration, its algorithm's needs and schedule, the device and the longest prompt."""

    config: RunConfig
    anatomy: Anatomy
    algo: Algorithm
    schedule: Schedule
    device: str = "cpu"
    prompt: int = 128

    @property
    def cuda(self) -> bool:
        return self.device.startswith("cuda")

    @property
    def sampled(self) -> bool:
        """Not written beforehand."""
        return self.schedule.source != "dataset"

    @property
    def judged(self) -> bool:
        """Rewarded by a learned model."""
        return self.config.reward.endswith("-model")

    @property
    def numbers(self) -> Numbers:
        dtype = self.config.dtype
        if dtype == "float64":
            return Numbers(8, 8)
        narrow = dtype == "bfloat16" or (dtype == "auto" and self.cuda)
        return Numbers(4, 2 if narrow else 4, ragged=narrow and self.cuda and self.anatomy.plain)

    @property
    def readers(self) -> frozenset[str]:
        """What is read after the sampling: a critic on the policy's trunk has spoken along with it."""
        return self.algo.needs & ({"reference"} if self.schedule.critic == "shared" else {"reference", "values"})


@dataclass(frozen=True)
class Phase:
    """Bytes by part at the phase's fullest moment, which has a name."""

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
    """Rollout (where completions are sampled), annotate (where the algorithm reads a reference or a critic; without a
    rollout the policy reads too) and update."""
    living = living_parts(s)
    parked = {**living, "reference": 0.0} if s.config.reference_on == "cpu" and s.cuda else living
    cached = decode(s).cache if s.cuda and s.sampled else 0.0  # a static cache is kept from round to round
    phases = [_phase("rollout", {**parked, "rollouts": 0.0}, decode(s).moments(), 0.0)] if s.sampled else []
    if s.judged:
        early = {} if s.config.refresh_reward else {"optimizer": 0.0}  # the policy has taken no step yet
        phases.insert(0, _phase("reward_model", {**parked, "rollouts": 0.0, **early}, _fit(s), cached))
        read = [m for load in _loads(s, s.schedule.prompts) for m in reading(s.anatomy, load, s.numbers, False, True)]
        phases.append(_phase("reward", parked, read, cached))
    if s.readers or not s.sampled:
        phases.append(_phase("annotate", living, _annotate(s), cached))
    phases.append(_phase("update", {**parked, "rollouts": 2 * living["rollouts"]}, _update(s), cached))
    return Plan(s, tuple(phases), tuple(_notes(s)))


def _phase(name: str, living: dict[str, float], moments: Iterable[Moment], cached: float) -> Phase:
    """The living parts beside the fullest of the moments."""
    fullest = max(moments, key=lambda moment: moment.bytes)
    parts = {part: living.get(part, 0.0) for part in PARTS}
    parts["gradients"], parts["activations"] = fullest.gradients, fullest.activations
    parts["logits"], parts["autocast_copies"] = fullest.logits, fullest.casts
    parts["optimizer"] += fullest.optimizer
    parts["kv_cache"] = fullest.kv_cache + (cached if name != "rollout" else 0.0)
    return Phase(name, fullest.name, parts)


def living_parts(s: Setting) -> dict[str, float]:
    """What lives for the whole run.  Under autocast a model that is only read has its matrices in 16 bits (a tied head
    its own): the reference; and the sampler's copy of the policy, whose other tensors are the policy's."""
    a, n = s.anatomy, s.numbers
    trained = a.parameters + critic_parameters(s)
    reference = 0.0
    if "reference" in s.algo.needs:
        wide = a.parameters - (a.narrow - (a.embedding if a.tied else 0))
        reference = float(n.master * wide + n.product * a.narrow) if n.casts else float(n.master * a.parameters)
    state = MOMENTS[s.config.optimizer] * (n.master / 4 if s.config.optimizer == "adamw" else 1)
    return {
        "policy": float(n.master * a.parameters),
        "rollout_weights": float(n.product * a.narrow) if n.casts else 0.0,
        "reference": reference,
        "critic": float(n.master * critic_parameters(s)),
        "reward_model": float(n.master * reward_parameters(s)),
        "optimizer": state * trained,
        "rollouts": _rollouts(s),
    }


def critic_parameters(s: Setting) -> int:
    """A value head of H + 1, on a trunk of its own where the schedule says separate."""
    kind = s.schedule.critic
    return 0 if kind == "none" else s.anatomy.hidden + 1 + (s.anatomy.trunk if kind == "separate" else 0)


def reward_parameters(s: Setting) -> int:
    """A trunk as the policy's and a head of H, where rewards are learned."""
    return s.anatomy.trunk + s.anatomy.hidden if s.judged else 0


def _rollouts(s: Setting) -> float:
    """Ids and masks of whole rows (9 bytes a token), and of completions the mask, log-probabilities, the entropy, what
    the algorithm reads and the credit that it gives."""
    columns = 3 + len(s.algo.needs & {"reference", "values"}) + (1 if "values" in s.algo.needs else 0)
    token = 9 * (s.prompt + s.config.max_new_tokens) + s.config.max_new_tokens * (1 + 4 * columns)
    return float(s.schedule.prompts * s.schedule.group_size * token)


def decode(s: Setting) -> Decode:
    """The largest number of rows that are decoded at once: whole groups, `rollout_rows` at most, or one group."""
    group = s.schedule.group_size
    prompts = min(s.schedule.prompts, max(1, s.config.rollout_rows // group))
    own = s.config.max_new_tokens
    return Decode(s.anatomy, s.numbers, prompts, group, s.prompt, own, s.cuda)


def shares(groups: int, size: int, prompt: int, own: int, limit: int) -> list[tuple[int, int]]:
    """(prompts, completions) of each micro-batch, as harness/batch.py cuts rows that are all alike.

    >>> shares(groups=2, size=3, prompt=10, own=21, limit=60)
    [(1, 2), (2, 2), (1, 2)]
    """
    found: list[list[int]] = []
    tokens, last = 0, -1
    for row in range(groups * size):
        group = row // size
        cost = own - 1 + (prompt if group != last else 0)
        if found and tokens + cost <= limit:
            found[-1][0] += group != last
            found[-1][1] += 1
            tokens += cost
        else:
            found.append([1, 1])
            tokens = prompt + own - 1
        last = group
    return [(prompts, rows) for prompts, rows in found]


def _loads(s: Setting, groups: int) -> list[Load]:
    """The micro-batches, longest first, each kind once."""
    own = s.config.max_new_tokens
    cut = shares(groups, s.schedule.group_size, s.prompt, own, s.config.micro_tokens)
    return [Load(prompts, rows, s.prompt, own) for prompts, rows in dict.fromkeys(cut[::-1])]


def _annotate(s: Setting) -> list[Moment]:
    """What was not sampled is read by the policy; the reference reads the round; then a critic with its own trunk."""
    found = []
    for load in _loads(s, s.schedule.prompts):
        if not s.sampled:
            found += reading(s.anatomy, load, s.numbers, live=True)
        if "reference" in s.readers:
            found += reading(s.anatomy, load, s.numbers)
        if "values" in s.readers:
            found += reading(s.anatomy, load, s.numbers, head=False, live=True)
    return found


def _update(s: Setting) -> list[Moment]:
    """The micro-batches of an update, the first one and the later ones, and the optimiser's step."""
    groups = -(-s.schedule.prompts // s.schedule.minibatches)
    loads = _loads(s, groups)
    several = len(shares(groups, s.schedule.group_size, s.prompt, s.config.max_new_tokens, s.config.micro_tokens)) > 1
    found = [_step(s)]
    for place, load in enumerate(loads):
        for accumulated in {False, several} if place == 0 else {True}:
            found += _round_trip(s, load, accumulated)
    return found


def _round_trip(s: Setting, load: Load, accumulated: bool) -> list[Moment]:
    """Forward and backward of one micro-batch.  A critic of its own reads, and goes back, before the policy does."""
    levers = (s.config.gradient_checkpointing, accumulated)
    policy = Pass(s.anatomy, load, s.numbers, *levers, head=True, entropy="entropy" in s.algo.needs)
    if s.schedule.critic != "separate":
        return policy.moments()
    critic = Pass(s.anatomy, load, s.numbers, *levers, head=False)
    beside_critic = Moment("", gradients=policy.gradients if accumulated else 0.0)
    beside_policy = Moment("", gradients=critic.gradients)
    return [
        *(m.over(beside_critic) for m in critic.moments()),
        *(m.over(beside_policy) for m in policy.moments()),
    ]


def _fit(s: Setting) -> list[Moment]:
    """A reward model's training: its own moments, and rows that share no prompt, for they are shuffled."""
    n, own, batch = s.numbers, s.config.max_new_tokens, int(s.config.reward_model.get("batch", BATCH))
    moments = Moment("", optimizer=8.0 * n.master / 4 * reward_parameters(s))
    cut = shares(batch, 1, s.prompt, own, s.config.micro_tokens)
    loads = [Load(prompts, rows, s.prompt, own) for prompts, rows in dict.fromkeys(cut[::-1])]
    passes = [Pass(s.anatomy, load, n, False, len(cut) > 1, head=False) for load in loads]
    step = Moment("step", gradients=float(n.master * reward_parameters(s)), optimizer=float(n.master * _scratch(s)))
    return [m.over(moments) for m in (*(m for each in passes for m in each.moments()), step)]


def _step(s: Setting) -> Moment:
    """All gradients; torch's AdamW on the CPU makes two numbers of the master's size for each of the parameter at hand
    (a root and a quotient), and the quotient of the parameter before it is still there: three matrices of the MLP, or
    the embedding's two and, where a critic's follows the policy's head, three."""
    a, n = s.anatomy, s.numbers
    gradients = float(n.master * (a.parameters + critic_parameters(s)))
    scratch = 0
    if s.config.optimizer == "adamw":
        scratch = _scratch(s, 3 if s.schedule.critic == "separate" and not a.tied else 2)
    return Moment("step", gradients=gradients, optimizer=float(n.master * scratch))


def _scratch(s: Setting, embeddings: int = 2) -> int:
    """Numbers that torch's AdamW makes on the CPU while it steps; on CUDA it is one kernel."""
    a = s.anatomy
    return 0 if s.cuda else max(embeddings * a.embedding, (3 if a.family.gated else 2) * a.hidden * a.inner)


def _notes(s: Setting) -> list[str]:
    found = []
    if not s.anatomy.known:
        found.append(
            f"'{s.anatomy.model_type}' is not an architecture that the plan knows: parameters and activations are "
            "those of a Llama of these sizes, a rough guide"
        )
    if s.judged:
        found.append("the reward model is planned as one made here; what its training spends comes off the budget")
    if s.cuda:
        found.append(
            "bytes of tensors: CUDA's context, kernels' workspaces, captured graphs and fragmentation come on top"
        )
    return found
