"""One run, and its record."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from harness.api.flags import Settings, as_settings, given
from harness.config.errors import CannotResume, RunFailed
from harness.processes.group import current
from harness.processes.launch import joined
from harness.processes.watch import RankLost

if TYPE_CHECKING:
    import pandas as pd

    from harness.records.schema import EvaluationRow, Record
    from harness.training.setup import PreparedRun
    from harness.training.sitting.listener import RunListener


@dataclass(frozen=True)
class RunResult:
    """A run that has come to its end."""

    folder: Path
    record: Record = field(repr=False)

    @property
    def evals(self) -> pd.DataFrame:
        """A row per number of the learning curve: the columns of `StudyResult.curves` after `seed`."""
        from harness.api.frames import curve_rows, frame

        return frame(curve_rows(self.record))

    @property
    def metrics(self) -> pd.DataFrame:
        """A row per round, as in metrics.jsonl; docs/budgets.md lists what the columns are."""
        from harness.api.frames import metrics_of

        return metrics_of(self.folder)


class Silence:
    """A listener that tells nobody."""

    def start(self, title_lines: Sequence[str]) -> None: ...
    def phase(self, text: str) -> None: ...
    def round(self, metrics: dict[str, float], warnings: Sequence[str]) -> None: ...
    def evaluation(self, fraction: float, rows: Sequence[EvaluationRow]) -> None: ...
    def message(self, text: str) -> None: ...
    def resumed(self, rounds: int, warnings: Mapping[int, Sequence[str]]) -> None: ...


def run(
    algo: str | Path = "grpo",
    *,
    task: str | Path | None = None,
    model: str | Path | None = None,
    group_size: int | None = None,
    reward: str | None = None,
    budget: str | None = None,
    seed: int | None = None,
    temperature: float | None = None,
    max_new_tokens: int | None = None,
    device: str | None = None,
    dtype: str | None = None,
    name: str | None = None,
    out: str | Path | None = None,
    config: str | Path | None = None,
    settings: Settings | None = None,
    resume: bool = False,
    listener: RunListener | None = None,
) -> RunResult:
    """Train one algorithm under one budget and write its record: `harness run`, with the same words and defaults.

        >>> import harness
        >>> result = harness.run("grpo", group_size=16, settings={"algo.kl_coef": 0})      # doctest: +SKIP
        >>> result.evals.query("filter == 'strict'").groupby("task").value.last()          # doctest: +SKIP

    `settings` are fields by dotted name (docs/configuration.md), `config` a TOML file of them.  `listener` hears of
    every round (by default nobody does, and nothing is printed).  With `resume` a finished run is returned as it is.

    Raises ValueError, one line, before anything is written where the input is wrong; RunFailed where the run began and
    did not end well (its record says why); KeyboardInterrupt after a round that was finished and kept.
    """
    from harness.config.run_config import resolve
    from harness.training.setup import prepare

    flags = given(
        algo_name=algo,
        task_name=task,
        model=model,
        group_size=group_size,
        reward=reward,
        budget=budget,
        seed=seed,
        temperature=temperature,
        max_new_tokens=max_new_tokens,
        device=device,
        dtype=dtype,
        name=name,
        out=out,
        resume=resume or None,
    )
    with joined():
        prepared = prepare(resolve(flags, as_settings(settings), str(config) if config else None))
        with owned(prepared) as finished:
            if not finished:
                execute_guarded(prepared, listener or Silence())
        return RunResult(prepared.folder, current().on_first(lambda: load_record(prepared.folder)))


def load_record(folder: str | Path) -> Record:
    """The record in a run's folder, with today's names of fields.

        >>> harness.load_record("results/readme/grpo-arithmetic-s0")["spend"]["updates"]      # doctest: +SKIP
        20

    Raises ValueError naming the file where there is none, or it is not the record of a run.
    """
    from harness.records.runs import read_record

    record = read_record(Path(folder))
    if record is None:
        raise ValueError(f"{Path(folder) / 'record.json'}: no such record")
    return record


# ---------------------------------------------------------------- what the command goes through too


@contextmanager
def owned(run: PreparedRun) -> Iterator[bool]:
    """The run's folder under its lock, which rank 0 holds for all; is the run finished already, with nothing to do?

    Raises ValueError where another process writes there, or the folder is another run's.
    """
    from harness.records.lock import held
    from harness.training.resume.folder import check_free
    from harness.training.resume.same import finished

    with ExitStack() as stack:

        def take() -> bool:
            stack.enter_context(held(run.folder))
            if not run.config.resume:
                check_free(run.folder)  # again, under the lock: another process may have been faster
            return run.config.resume and finished(run.folder)

        yield current().on_first(take)


def execute_guarded(run: PreparedRun, listener: RunListener) -> Record:
    """Execute it.  Any exception becomes RunFailed, one line, with the traceback in the run's folder."""
    from harness.training.run import execute

    try:
        return execute(run, listener)
    except RankLost as error:
        raise RunFailed(f"{error}; --resume goes on from the last checkpoint") from error
    except KeyboardInterrupt:
        if run.record["status"] == "failed":  # not the user's: a launcher has ended this rank for another
            raise RunFailed(str(run.record["reason"])) from None
        raise
    except CannotResume:
        raise
    except Exception as error:
        import traceback

        message = f"{type(error).__name__}: {error}"
        if not current().first:
            raise RunFailed(message) from error
        try:
            (run.folder / "traceback.txt").write_text(traceback.format_exc())
        except OSError:  # e.g. a full disk: the reason is in the record and in the message
            raise RunFailed(message) from error
        raise RunFailed(f"{message} (see {run.folder / 'traceback.txt'})") from error
