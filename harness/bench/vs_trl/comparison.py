"""Our GRPO against TRL's: the same weights, prompts, reward, loss and optimiser, timed in alternating pairs.

    equal     first, a check that both compute the same loss and gradient from the same completions
    modes     the peer runs in each of its modes; the result is the comparison with its fastest
    pairs     ours, peer, ours, peer, ...: each side in its own process, idle while the other works
    ratio     the peer's seconds / ours, the median over the pairs: above 1 ours is faster
    memory    our peak / the peer's: below 1 ours is smaller

This process does no timing itself.
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
from harness.bench.vs_trl.ratios import compare_pairs, fastest, memory_ratio, render, rows_of
from harness.config.errors import RunFailed

CASES = {"natural": False, "forced": True}  # does every completion have exactly max_new_tokens tokens?
ENGINES = ("generate", "static", "continuous")
WARMUP = 2  # steps of each side before the first pair
LIMITS = {"float64": 1e-5, "float32": 1e-4}  # of the relative difference of any parameter's gradient
LARGEST = 10**8  # parameters: for larger models the check is made with the shape `tiny`

Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Options:
    """The options of the comparison.  Raises ValueError, one line, on invalid values."""

    model: str = "nano"
    cases: tuple[str, ...] = ()  # default: both, for random weights forced
    betas: tuple[float, ...] = (0.0, 0.04)
    engines: tuple[str, ...] = ENGINES
    checkpointing: bool = True  # also try the peer with gradient checkpointing
    parts: tuple[int, ...] = (
        4,
        16,
    )  # micro-batches of its fastest mode; of every mode, where a whole step fits in none
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
        """Those of `parts` that divide a step's completions evenly."""
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
    """Run everything, write OUT/peers.json after each mode, print the table, and return the file."""
    cases: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = model_shapes.folder(options.model, Path(scratch) / "model")
        equal = check_equal(options, folder, Path(scratch), say)
        for case in options.cases or (("forced",) if options.random else tuple(CASES)):
            for beta in options.betas:
                for entry in measured(options, folder, case, beta, say):
                    write(options, equal, [*cases, entry], partial=True)
                cases.append(entry)
    file = write(options, equal, cases, partial=False)
    say("\n" + render(cases))
    say(str(file))
    return file


def write(options: Options, equal: dict[str, Any], cases: list[dict[str, Any]], partial: bool) -> Path:
    """Write the record of the modes so far."""
    ours = cases[0]["ready"]
    record = {
        **results.surroundings(ours["device"], ours["threads"], packages=("trl",)),
        "model": options.model,
        "partial": partial,
        "options": {k: str(v) if isinstance(v, Path) else v for k, v in vars(options).items()},
        "meaning": {
            "ratio": "peer seconds / our seconds, median over the pairs; spread: least and most",
            "update": "everything in a step except rollout and reward",
            "memory_ratio": "our peak / the peer's; CPU: growth of the resident set after the imports; CUDA: allocated",
            "peer_mode": "the peer's fastest: the least median ratio end to end",
            "partial": "modes are missing: the suite is still running, or was stopped",
        },
        "equal": equal,
        "cases": cases,
        "rows": [row for case in cases for row in rows_of(case)],
    }
    return results.write(options.out, "peers", record)


def check_equal(options: Options, folder: Path, scratch: Path, say: Say) -> dict[str, Any]:
    """Compare both sides' loss and gradient from the same completions; RunFailed where they differ."""
    name = options.model
    if options.random and model_shapes.parameters(name) > LARGEST:
        name, folder = "tiny", model_shapes.folder("tiny", scratch / "tiny")
    job = replace(options.job(folder, "equal", beta=0.04, forced=False), prompts=4, group_size=4, cycle=1)
    job = replace(job, max_new_tokens=16, reward=random_reward.NAME)
    rows: list[dict[str, Any]] = []
    for dtype, device in (("float64", "cpu"), ("float32", options.device)):
        try:
            with Side(replace(job, dtype=dtype, device=device)) as side:
                rows += side.reply()["rows"]
        except SideFailed as error:
            raise RunFailed(f"the comparison of losses failed: {error}") from error
    for row in rows:
        limit = LIMITS[row["dtype"]]
        differences = [row["loss_difference"], row["gradient_difference"]]
        if not (all(x <= limit for x in differences) and row["prompt_ids_equal"]):  # also fails on NaN
            where = f"beta {row['beta']}, {row['dtype']}, {row['worst_parameter']}"
            raise RunFailed(
                f"the sides differ by {differences[0]:.2g} and {differences[1]:.2g} ({where}): nothing is timed"
            )
    worst = {d: max(r["gradient_difference"] for r in rows if r["dtype"] == d) for d in LIMITS}
    say(f"same loss, same gradient ({name}): within {worst['float64']:.1e} in fp64, {worst['float32']:.1e} in fp32")
    return {"model": name, "limits": LIMITS, "rows": rows}


def modes(engines: Sequence[str], checkpointing: bool = True) -> list[Mode]:
    """Each engine, without and with gradient checkpointing."""
    return [Mode(engine=e, checkpointing=on) for on in ((False, True) if checkpointing else (False,)) for e in engines]


def measured(options: Options, folder: Path, case: str, beta: float, say: Say) -> Iterator[dict[str, Any]]:
    """One case, yielded after each mode: every mode of the peer against one process of ours, then the fastest with more
    micro-batches (every mode, where a whole step fits in none)."""
    entries: list[dict[str, Any]] = []

    def so_far() -> dict[str, Any]:
        best = fastest(entries)
        head = {"case": case, "beta": beta, "ready": ready, "warmup_seconds": [w["end_to_end"] for w in warmup]}
        return {**head, "peer_mode": best and best["mode"], "modes": [*entries]}

    with Side(options.job(folder, "ours", beta, CASES[case])) as ours:
        try:
            ready = ours.reply()
            warmup = [ours.step() for _ in range(WARMUP)]
            work = options.job(folder, "theirs", beta, CASES[case])
            first_modes = modes(options.engines, options.checkpointing)
            for mode in first_modes:
                entries.append(against(ours, replace(work, mode=mode), options.repeats, say, f"{case}, beta {beta:g}"))
                yield so_far()
            best = fastest(entries)
            chosen = first_modes if best is None else [Mode(**best["settings"])]
            for mode in (replace(mode, parts=parts) for parts in options.parts_of_a_step for mode in chosen):
                entries.append(against(ours, replace(work, mode=mode), options.repeats, say, f"{case}, beta {beta:g}"))
                yield so_far()
        except SideFailed as error:  # a failure of the peer is caught in `against`: this one is ours
            raise RunFailed(f"our side failed: {error}") from error


def against(ours: Side, job: Job, repeats: int, say: Say, label: str) -> dict[str, Any]:
    """One mode of the peer in alternation with ours, or the reason of its failure."""
    assert job.mode is not None
    entry: dict[str, Any] = {"mode": job.mode.name, "settings": vars(job.mode), "reason": None, "pairs": []}
    try:
        with Side(job) as peer:
            peer.reply()
            entry["warmup_seconds"] = [peer.step()["end_to_end"] for _ in range(WARMUP)]
            for _ in range(repeats):
                entry["pairs"].append({"ours": _ours(ours), "peer": peer.step()})
    except SideFailed as error:
        say(f"{label}  {job.mode.name}: {error}")
        return {**entry, "reason": str(error)}
    entry["phases"], entry["memory_ratio"] = compare_pairs(entry["pairs"]), memory_ratio(entry["pairs"])
    whole = entry["phases"]["end_to_end"]
    say(f"{label}  {job.mode.name}: {whole['ours']:.2f} s against {whole['peer']:.2f} s, {whole['ratio']:.2f} times")
    return entry


def _ours(side: Side) -> dict[str, Any]:
    """A step of ours.  Its failure ends the suite."""
    try:
        return side.step()
    except SideFailed as error:
        raise RunFailed(f"our side failed: {error}") from error
