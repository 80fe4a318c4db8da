"""What a record looks like: the types that code reads it by, which are also what a file is checked against."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal, NotRequired

from typing_extensions import TypedDict  # pydantic reads this one, and not that of typing before Python 3.12

SCHEMA = 2
Unit = Literal["prompts", "completions", "generated_tokens", "trained_tokens", "updates", "flops", "device_seconds"]


class BudgetTable(TypedDict):
    unit: str
    limit: float


class EvaluationRow(TypedDict):
    """One number: a metric of a task under a filter, at a fraction of the budget."""

    fraction: float
    spend: dict[str, float]  # in every unit
    task: str
    version: Any
    domain: str
    decoding: str
    temperature: float
    filter: str
    metric: str
    value: float
    stderr: NotRequired[float | None]
    n: int
    scorer: NotRequired[str]
    outcomes: str  # the file with one line per problem; "" where none is kept


class MemoryPart(TypedDict):
    bytes: float
    how: NotRequired[str]  # measured or computed


class MemoryTable(TypedDict, total=False):
    peak_bytes: float
    reserved_bytes: float
    parts: dict[str, MemoryPart]


class DataSet(TypedDict):
    name: str
    sha256: str


class EnvironmentTable(TypedDict):
    """Versions, machine, commit and data."""

    python: str | None
    packages: dict[str, str]
    device: str | None
    threads: int | None
    cpu: NotRequired[str]
    processes: NotRequired[dict[str, Any]]  # of a run of several: how many, by what, each one's device and threads
    variables: NotRequired[dict[str, str]]  # of the process's environment: harness/records/variables.py
    commit: str | None
    dirty: bool | None
    model: dict[str, Any]
    reward_model: NotRequired[dict[str, Any]]
    data: list[DataSet]
    prompt_sha256: NotRequired[str]
    inputs: NotRequired[dict[str, str]]  # what the run was given -> its sha256: harness/training/resume/inputs.py


class Sitting(TypedDict):
    """From where a run is started, or goes on with another number of threads, to where that ends."""

    started: str  # UTC
    ended: str | None  # None while it goes on, and for ever where the process was killed
    first_round: int  # that it made, or would have made
    rounds: int  # that it made; some may have been made again by the next, from the last checkpoint
    device: str
    threads: int
    machine: str  # the same word for the same machine: a hash of its name
    end: str | None  # why it ended: finished, interrupted by ..., failed: ..., fewer threads: ...


class Record(TypedDict):
    """record.json."""

    schema: int
    status: str  # running, finished, interrupted, failed
    reason: NotRequired[str | None]
    started: NotRequired[str]  # UTC; of a run that was resumed, when it first began
    ended: NotRequired[str]
    algo: str
    seed: int
    config: dict[str, Any]  # every field of the run's configuration: RunConfig's, and those of what it names
    config_sha256: NotRequired[str]
    budget: BudgetTable
    spend: dict[str, float]  # in every unit
    phases: dict[str, dict[str, float]]  # seconds, tokens, bytes
    memory: MemoryTable
    checks: NotRequired[dict[str, Any]]
    evals: list[EvaluationRow]
    split: NotRequired[dict[str, Any]]  # of a run that samples first and trains after
    reward_model: NotRequired[list[dict[str, Any]]]  # its trainings
    notices: NotRequired[list[str]]
    sittings: NotRequired[list[Sitting]]  # in their order
    environment: EnvironmentTable
    imported: NotRequired[dict[str, Any]]  # of a run of another trainer: from where, and what its user said of it


# --- what of a record is checked --------------------------------------------------------------------------------


class _Spend(TypedDict):
    """Every unit is there; null where it was not counted, which only an imported run may have (consistency.py)."""

    prompts: float | None
    completions: float | None
    generated_tokens: float | None
    trained_tokens: float | None
    updates: float | None
    flops: float | None
    device_seconds: float | None


class _Budget(TypedDict):
    unit: Unit
    limit: float


class _Phase(TypedDict):
    seconds: float


class _EvaluationRow(EvaluationRow):
    spend: _Spend  # type: ignore[misc]


class _Schedule(TypedDict):
    group_size: NotRequired[int]


class _Config(TypedDict):
    """Of the configuration, what every report reads."""

    model: str
    budget: str
    group_size: int | None
    sources: dict[str, Any]
    algo: dict[str, Any]
    task: dict[str, Any]
    schedule: NotRequired[_Schedule]


class _Packages(TypedDict):
    torch: str | None


class _Environment(EnvironmentTable):
    packages: _Packages  # type: ignore[misc]


class _Begun(TypedDict):
    """Of a run that has begun: what resuming it reads."""

    status: str
    config: _BegunConfig
    environment: _BegunEnvironment


class _BegunConfig(TypedDict):
    algo: NotRequired[dict[str, Any]]
    schedule: NotRequired[dict[str, Any]]


class _BegunEnvironment(TypedDict):
    model: dict[str, Any]


class _Reported(TypedDict):
    """Of any run: what a report reads."""

    status: str
    algo: str
    seed: int
    config: _Config
    budget: _Budget
    spend: _Spend
    evals: list[_EvaluationRow]
    reward_model: NotRequired[list[dict[str, Any]]]
    environment: _Environment


class _Quality(TypedDict):
    n: int
    base_rate: float
    accuracy: float
    auc: float | None
    calibration_error: float


class _Training(TypedDict):
    """Of a reward model, where it was not skipped."""

    fraction: float
    held_out: dict[str, _Quality]
    spend: dict[str, float]


class _FullMemory(TypedDict):
    peak_bytes: float | None
    parts: dict[str, MemoryPart]


class _Finished(_Reported):
    """And of one that has finished."""

    memory: _FullMemory
    phases: dict[str, _Phase]


class _CostModel(TypedDict):
    model: str


class _Cost(TypedDict):
    """What an estimate of time reads."""

    config: _CostModel
    algo: str
    spend: dict[str, float]
    phases: dict[str, _Phase]


_SHAPES: Mapping[str, Any] = {
    "begun": _Begun, "reported": _Reported, "finished": _Finished, "cost": _Cost, "training": _Training,
}  # fmt: skip
Shape = Literal["begun", "reported", "finished", "cost", "training"]
_KINDS = {
    "string_type": "must be text", "int_type": "must be a whole number", "int_from_float": "must be a whole number",
    "float_type": "must be a number", "dict_type": "must be a table", "list_type": "must be a list",
    "bool_type": "must be true or false", "string": "must be text",
}  # fmt: skip


@cache
def _adapter(shape: str) -> Any:
    from pydantic import ConfigDict, TypeAdapter, with_config

    return TypeAdapter(with_config(ConfigDict(strict=True))(_SHAPES[shape]))


def check_shape(value: Any, shape: Shape) -> None:
    """Raises ValueError, naming the first field that is missing or of the wrong kind.

    >>> check_shape({"status": "running", "config": {}, "environment": {"model": 3}}, "begun")
    Traceback (most recent call last):
    ValueError: environment.model: must be a table, not 3
    """
    from pydantic import ValidationError

    try:
        _adapter(shape).validate_python(value)
    except ValidationError as error:
        raise ValueError(_one_line(error.errors(include_url=False)[0])) from None


def _one_line(error: Any) -> str:
    """Field and fault: "evals.2.value: must be a number, not None"."""
    place = ".".join(str(part) for part in error["loc"])
    if error["type"] == "missing":
        return f"{place}: missing"
    if error["type"] == "literal_error":
        valid = error["ctx"]["expected"].replace(" or ", ", ").replace("'", "")
        fault = f"must be one of {valid}, not {_cut(error['input'])}"
    else:
        fault = f"{_KINDS.get(error['type'], error['msg'])}, not {_cut(error['input'])}"
    return f"{place}: {fault}" if place else fault


def check_record(record: Mapping[str, Any], file: Path) -> None:
    """Raises ValueError naming the file, where the record is of another schema or lacks what a report reads."""
    if record.get("schema") != SCHEMA:
        raise ValueError(f"{file}: schema {record.get('schema')}; this version reads 1 to {SCHEMA}")
    try:
        check_shape(record, "finished" if record["status"] == "finished" else "reported")
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error


def _cut(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:40]}..."
