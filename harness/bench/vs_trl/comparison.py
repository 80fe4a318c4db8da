"""Our GRPO against TRL's: the same weights, prompts, reward, loss and optimiser, timed in alternating pairs.

    equal     first, both compute the same loss and gradient from the same completions, or nothing is timed
    modes     the peer runs in each of its modes; what we are compared with is its fastest
    pairs     ours, peer, ours, peer, ...: each side a process of its own, that sleeps while the other works
    ratio     the peer's seconds / ours, the median over the pairs: above 1 we are faster
    memory    ours / the peer's peak: below 1 we need less

This process times nothing and imports no torch once the model's folder is written.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from harness.bench import model_shapes, random_reward, results
from harness.bench.vs_trl.job import Job, Mode
from harness.bench.vs_trl.process import Side, SideFailed
from harness.bench.vs_trl.ratios import compared, fastest, memory_ratio, rows_of, shown
from harness.config.errors import RunFailed

CASES = {"natural": False, "forced": True}  # does every completion have exactly max_new_tokens tokens?
ENGINES = ("generate", "static", "continuous")
WARMUP = 2  # steps of each side before the first pair
LIMITS = {"float64": 1e-5, "float32": 1e-4}  # of the relative difference of any parameter's gradient
LARGEST = 10**8  # parameters: larger models are compared for equality in the shape `tiny`

Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Options:
    """What is compared.  Checked when made: ValueError, one line, on anything unusable."""

    model: str = "nano"
    cases: tuple[str, ...] = ()  # default: both, for random weights forced
    betas: tuple[float, ...] = (0.0, 0.04)
    engines: tuple[str, ...] = ENGINES
    checkpointing: bool = True  # is the peer tried with gradient checkpointing too?
    parts: tuple[int, ...] = (4, 16)  # micro-batches of its fastest mode; of each, where none has room for a whole step
    prompts: int = 32
    group_size: int = 16
    max_new_tokens: int = 56
    repeats: int = 5
    device: str = "auto"
    dtype: str = "auto"
    settings: tuple[str, ...] = ()
    out: Path = Path("results/bench")

    def __post_init__(self) -> None:
        model_shapes.check(self.model)
        for flag, given, valid in (("cases", self.cases, tuple(CASES)), ("engines", self.engines, ENGINES)):
            if wrong := [x for x in given if x not in valid]:
                raise ValueError(f"{flag}: unknown {', '.join(wrong)}; valid: {', '.join(valid)}")
        for flag in ("prompts", "max_new_tokens", "repeats"):
            if getattr(self, flag) < 1:
                raise ValueError(f"{flag}: must be at least 1, not {getattr(self, flag)}")
        if self.group_size < 2:
            raise ValueError(f"group_size: a group needs at least 2 completions, not {self.group_size}")
        if any(beta < 0 for beta in self.betas) or not self.betas:
            raise ValueError("betas: one or more numbers that are not negative")
        if not self.engines:
            raise ValueError(f"engines: at least one of {', '.join(ENGINES)}")
        if any(n < 2 for n in self.parts):
            raise ValueError("parts: numbers of 2 and more")
        if self.device not in ("auto", "cpu", "cuda"):
            raise ValueError(f"device: '{self.device}' is not one of auto, cpu, cuda")
        if find_spec("trl") is None:
            raise ValueError('TRL is not installed here: pip install -e ".[peers]"')

    @property
    def random(self) -> bool:
        return bool(model_shapes.SHAPES[self.model])

    @property
    def parts_of_a_step(self) -> list[int]:
        """Those of `parts` that cut a step's completions into equal ones."""
        return [n for n in self.parts if self.prompts * self.group_size % n == 0]

    def job(self, folder: Path, side: str, beta: float, forced: bool) -> Job:
        return Job(
            side=side,
            folder=str(folder),
            beta=beta,
            forced=forced,
            prompts=self.prompts,
            group_size=self.group_size,
            max_new_tokens=self.max_new_tokens,
            reward=random_reward.NAME if self.random else "rule",
            device=self.device,
            dtype=self.dtype,
            cycle=self.repeats,
            settings=self.settings,
        )


def bench(options: Options, say: Say) -> Path:
    """Runs everything, writes OUT/peers.json after each mode, says the table last.  Returns the file."""
    whole: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = model_shapes.folder(options.model, Path(scratch) / "model")
        equal = checked(options, folder, Path(scratch), say)
        for case in options.cases or (("forced",) if options.random else tuple(CASES)):
            for beta in options.betas:
                for found in measured(options, folder, case, beta, say):
                    written(options, equal, [*whole, found], partial=True)
                whole.append(found)
    file = written(options, equal, whole, partial=False)
    say("\n" + shown(whole))
    say(str(file))
    return file


def written(options: Options, equal: dict[str, Any], cases: list[dict[str, Any]], partial: bool) -> Path:
    """The record of the modes so far."""
    ours = cases[0]["ready"]
    record = {
        **results.surroundings(ours["device"], ours["threads"], packages=("trl",)),
        "model": options.model,
        "partial": partial,
        "options": {k: str(v) if isinstance(v, Path) else v for k, v in vars(options).items()},
        "meaning": {
            "ratio": "peer seconds / our seconds, median over the pairs; spread: least and most",
            "update": "all of a step that is neither rollout nor reward",
            "memory_ratio": "our peak / the peer's; CPU: growth of the resident set after the imports; CUDA: allocated",
            "peer_mode": "the peer's fastest: the least median ratio end to end",
            "partial": "modes are missing: it is not at its end, or was stopped",
        },
        "equal": equal,
        "cases": cases,
        "rows": [row for case in cases for row in rows_of(case)],
    }
    return results.write(options.out, "peers", record)


def checked(options: Options, folder: Path, scratch: Path, say: Say) -> dict[str, Any]:
    """Both sides' loss and gradient from the same completions; RunFailed where they differ."""
    name = options.model
    if options.random and model_shapes.parameters(name) > LARGEST:
        name, folder = "tiny", model_shapes.folder("tiny", scratch / "tiny")
    job = replace(options.job(folder, "equal", beta=0.04, forced=False), prompts=4, group_size=4, cycle=1)
    job = replace(job, max_new_tokens=16, reward=random_reward.NAME)
    rows: list[dict[str, Any]] = []
    for dtype, device in (("float64", "cpu"), ("float32", options.device)):
        try:
            with Side(replace(job, dtype=dtype, device=device)) as side:
                rows += side.answer()["rows"]
        except SideFailed as error:
            raise RunFailed(f"the comparison of losses failed: {error}") from error
    for row in rows:
        limit = LIMITS[row["dtype"]]
        apart = [row["loss_difference"], row["gradient_difference"]]
        if not (all(x <= limit for x in apart) and row["prompt_ids_equal"]):  # a NaN is no equality either
            where = f"beta {row['beta']}, {row['dtype']}, {row['worst_parameter']}"
            raise RunFailed(f"the sides differ by {apart[0]:.2g} and {apart[1]:.2g} ({where}): nothing is timed")
    worst = {d: max(r["gradient_difference"] for r in rows if r["dtype"] == d) for d in LIMITS}
    say(f"same loss, same gradient ({name}): within {worst['float64']:.1e} in fp64, {worst['float32']:.1e} in fp32")
    return {"model": name, "limits": LIMITS, "rows": rows}


def modes(engines: Sequence[str], checkpointing: bool = True) -> list[Mode]:
    """Each way to generate, without gradient checkpointing and with it."""
    return [Mode(engine=e, checkpointing=on) for on in ((False, True) if checkpointing else (False,)) for e in engines]


def measured(options: Options, folder: Path, case: str, beta: float, say: Say) -> Iterator[dict[str, Any]]:
    """One case, after each mode that was tried: every mode of the peer against one of our processes, then the fastest
    in smaller parts; each of them, where none has room for the step as a whole."""
    found: list[dict[str, Any]] = []

    def so_far() -> dict[str, Any]:
        best = fastest(found)
        head = {"case": case, "beta": beta, "ready": ready, "warmup_seconds": [w["end_to_end"] for w in warmup]}
        return {**head, "peer_mode": best and best["mode"], "modes": [*found]}

    with Side(options.job(folder, "ours", beta, CASES[case])) as ours:
        try:
            ready = ours.answer()
            warmup = [ours.step() for _ in range(WARMUP)]
            work = options.job(folder, "theirs", beta, CASES[case])
            tried = modes(options.engines, options.checkpointing)
            for mode in tried:
                found.append(against(ours, replace(work, mode=mode), options.repeats, say, f"{case}, beta {beta:g}"))
                yield so_far()
            best = fastest(found)
            cut = tried if best is None else [Mode(**best["settings"])]
            for mode in (replace(mode, parts=parts) for parts in options.parts_of_a_step for mode in cut):
                found.append(against(ours, replace(work, mode=mode), options.repeats, say, f"{case}, beta {beta:g}"))
                yield so_far()
        except SideFailed as error:  # a peer's failure is caught where it is met: this is ours
            raise RunFailed(f"our side failed: {error}") from error


def against(ours: Side, job: Job, repeats: int, say: Say, label: str) -> dict[str, Any]:
    """One mode of the peer in alternation with ours; where it fails, the reason."""
    assert job.mode is not None
    entry: dict[str, Any] = {"mode": job.mode.name, "settings": vars(job.mode), "reason": None, "pairs": []}
    try:
        with Side(job) as peer:
            peer.answer()
            entry["warmup_seconds"] = [peer.step()["end_to_end"] for _ in range(WARMUP)]
            for _ in range(repeats):
                entry["pairs"].append({"ours": _ours(ours), "peer": peer.step()})
    except SideFailed as error:
        say(f"{label}  {job.mode.name}: {error}")
        return {**entry, "reason": str(error)}
    entry["phases"], entry["memory_ratio"] = compared(entry["pairs"]), memory_ratio(entry["pairs"])
    whole = entry["phases"]["end_to_end"]
    say(f"{label}  {job.mode.name}: {whole['ours']:.2f} s against {whole['peer']:.2f} s, {whole['ratio']:.2f} times")
    return entry


def _ours(side: Side) -> dict[str, Any]:
    """A step of ours.  Its failure ends the suite: it is no mode of the peer's."""
    try:
        return side.step()
    except SideFailed as error:
        raise RunFailed(f"our side failed: {error}") from error
