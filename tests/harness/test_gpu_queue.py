"""The list of waiting measurements: it can be read, and each of its rows runs, at tiny shapes, on the CPU."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace

import pytest

from harness.records import runs
from harness.studies import launcher
from scripts import gpu_queue
from scripts.gpu_queue import Row
from tests.harness.tiny_models import shrink
from tests.helpers import ROOT

LIST = gpu_queue.rows((ROOT / gpu_queue.LIST).read_text())
TINY = {
    "bench": {
        "--model": "tiny", "--prompts": "2", "--group-size": "2", "--prompt-tokens": "0", "--max-new-tokens": "4",
        "--rounds": "1", "--repeats": "1", "--device": "cpu", "--most": "40",
    },
    "run": {"--group-size": "2", "--device": "cpu"},
    "pretrain": {"--device": "cpu"},
    "ablate": {"--workers": "1"},
    "compare": {"--device": "cpu", "--workers": "1", "--seeds": "1", "--budget": "completions=8"},
}  # fmt: skip
TINY_JUDGE = {f"reward_model.{name}": f"reward_model.{name}=2" for name in ("prompts", "samples", "continuations")}
SMALL = ["--set", "prompts=2", "--set", "eval_fractions=1", "--eval-limit", "2", "--max-new-tokens", "6"]


TINY_CELL = ("prompts=2", "group_size=2", "max_new_tokens=6", "eval_limit=1", "task.train_size=8", "task.test_size=4")


class Here:
    """A pool of no threads: what is submitted is done at once."""

    def __init__(self, workers: int) -> None:
        assert workers == 1

    def __enter__(self) -> Here:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def submit(self, does: Callable[..., object], *given: object) -> Future[object]:
        done: Future[object] = Future()
        done.set_result(does(*given))
        return done


def ended(monkeypatch: pytest.MonkeyPatch, words: list[str]) -> subprocess.CompletedProcess[str]:
    """`harness WORDS` in this process."""
    from harness.cli import main

    monkeypatch.setattr(sys, "argv", ["harness", *words])
    with pytest.raises(SystemExit) as end:
        main.main()
    return subprocess.CompletedProcess(words, int(end.value.code or 0), stderr="")


def words_of(row: Row) -> list[str]:
    """What follows `harness` in the row's last command; before it stands no more than variables that it sets."""
    words = shlex.split(row.command.rpartition("&&")[2])
    at = words.index("python3")
    assert all(re.fullmatch("[A-Z_]+=.+", word) for word in words[:at]), "no variable of the command's"
    assert words[at + 1] == "-m" and words[at + 2] in ("harness.cli", "pytest")
    return words[at + 3 :]


def tiny(row: Row, out: Path) -> list[str]:
    """The row's own command, its sizes replaced and its arms but one left out."""
    found = words_of(row)
    suite, flags = found[0], {**TINY[found[0]], "--out": str(out)}
    for flag, value in flags.items():
        if flag in found:
            found[found.index(flag) + 1] = value
    if "--arms" in found:
        found[found.index("--arms") + 1] = found[found.index("--arms") + 1].split(",")[0]
    elif found[:2] == ["bench", "algos"]:
        found += ["--arms", "grpo"]
    if suite == "run":
        found = [w.replace(",base=nf4", "") for w in found]  # CUDA's alone
        found = [w if not w.startswith("flops=") else "flops=1e8" for w in found]
        found = [w if not w.startswith("completions=") else "completions=20" for w in found]
        found = [TINY_JUDGE.get(w.partition("=")[0], w) for w in found]
        found += SMALL if "--budget" in found else [*SMALL, "--budget", "completions=8"]
    return found


def kind(row: Row) -> str:
    words = words_of(row)
    return " ".join(words[:2]) if words[0] == "bench" else words[0]


def test_every_row_says_what_it_shows_and_fits_its_time() -> None:
    assert len(LIST) >= 5 and len({row.command for row in LIST}) == len(LIST)
    assert all(1 <= row.minutes * 60 <= gpu_queue.LONGEST and "; " in row.shows for row in LIST)
    assert all("--out results/gpu/raw" in row.command or "pytest" in row.command for row in LIST)
    assert not any(";" in row.command for row in LIST), "a step that fails would be passed over"


@pytest.mark.results
@pytest.mark.parametrize(
    "row", [pytest.param(r, id=str(i)) for i, r in enumerate(LIST) if kind(r) in ("run", "bench algos", "bench limit")]
)
def test_a_row_runs_at_tiny_shapes(row: Row, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In this process, and through the very functions of the command line."""
    import json

    from harness.bench import workload
    from harness.cli import main

    monkeypatch.setattr(workload, "run", lambda one: json.loads(json.dumps(workload.measure(one))))
    monkeypatch.setattr(sys, "argv", ["harness", *tiny(row, tmp_path)])
    with pytest.raises(SystemExit) as end:
        main.main()
    assert end.value.code == 0
    written = list(tmp_path.rglob("*.json"))
    assert written, "no record was written"


@pytest.mark.results
@pytest.mark.parametrize("sittings", [1, pytest.param(3, marks=pytest.mark.slow)])
def test_the_rows_of_micro_run_in_their_order(sittings: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The recipe is made at tiny sizes, then the study goes on from sitting to sitting, its cells in this process."""
    import dataclasses

    from harness.studies import study

    def small(name: str) -> study.Study:
        """With one short trial an arm and tuning seed."""
        found = whole(name)
        assert found.tune is not None
        base = {**found.tune.base, "budget": "generated_tokens=24"}
        return dataclasses.replace(found, tune=dataclasses.replace(found.tune, base=base, grid={"lr": [1e-4]}))

    whole = study.load
    monkeypatch.setattr(study, "load", small)
    monkeypatch.setattr(launcher, "ThreadPoolExecutor", Here)  # a command line wants the main thread, for its signals
    here = SimpleNamespace(PIPE=None, run=lambda words, **_: ended(monkeypatch, words[3:]))
    monkeypatch.setattr(launcher, "subprocess", here)
    shrink(monkeypatch)
    micro = [r for r in LIST if "micro" in words_of(r)[1]]
    (making,), rows = ([r for r in micro if kind(r) == what] for what in ("pretrain", "ablate"))
    assert [re.findall("--seeds [0-9]", r.command) for r in rows] == [["--seeds 1"], ["--seeds 3"], []]
    made = tmp_path / "micro"
    assert ended(monkeypatch, [*tiny(making, made), "--updates", "1"]).returncode == 0
    instead = {"model=results/gpu/raw/micro": f"model={made}", "device=cuda": "device=cpu"}
    cells = []
    for row in rows[:sittings]:
        words = [instead.get(word, word) for word in tiny(row, tmp_path)]
        words += ["--budget", "generated_tokens=24", *(word for s in TINY_CELL for word in ("--set", s))]
        assert ended(monkeypatch, words).returncode == 0
        cells.append(len(runs.run_folders(tmp_path / "compare_micro")))  # some are folded
    assert cells == [10 + 5, 10 + 15, 10 + 25][:sittings] and (tmp_path / "compare_micro" / "report.html").is_file()


@pytest.mark.slow
@pytest.mark.parametrize(
    "row", [pytest.param(r, id=str(i)) for i, r in enumerate(LIST) if kind(r) in ("bench scale", "compare")]
)
def test_a_long_row_runs_at_tiny_shapes(row: Row, tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-m", "harness.cli", *tiny(row, tmp_path)], cwd=ROOT)
    assert done.returncode == 0 and any(tmp_path.rglob("*.json"))


@pytest.mark.peers
@pytest.mark.parametrize("row", [pytest.param(r, id=str(i)) for i, r in enumerate(LIST) if kind(r) == "bench peers"])
def test_a_row_against_the_peer(row: Row, tmp_path: Path) -> None:
    pytest.importorskip("trl")
    done = subprocess.run([sys.executable, "-m", "harness.cli", *tiny(row, tmp_path)], cwd=ROOT)
    assert done.returncode == 0 and any(tmp_path.rglob("peers.json"))


def test_a_row_that_cannot_be_read_is_named() -> None:
    with pytest.raises(ValueError, match=r"PENDING.md:2: a row is: - \[ \] `command`"):
        gpu_queue.rows("# rows\n- [ ] harness run, some day")


def test_rows_run_in_order_while_the_time_suffices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "results").mkdir()
    python = "python3 -c"
    waiting = [
        Row(f"{python} \"open('results/a.json', 'w').write('1')\"", "a (about 1 minute; a file)", 1),
        Row("python3 -m harness.nothing_of_that_name", "b", 1),
        Row(f'{python} "print(2)"', "too long for what is left", 9),
        Row(
            "cd results && mkdir checkpoints tensorboard tasks && touch checkpoints/w tensorboard/e tasks/t c.json",
            "a shell's line",
            1,
        ),
    ]
    said: list[str] = []
    ended = gpu_queue.run(waiting, 5.0, tmp_path / "out" / "all.tar.gz", said.append)
    hows = [re.sub(r" \(.*", "", how) for _, how in ended]
    assert hows[0] == hows[3] == "done" and hows[1].startswith("failed with") and hows[2].startswith("skipped: ")
    with tarfile.open(tmp_path / "out" / "all.tar.gz") as packed:
        assert sorted(packed.getnames()) == ["results/a.json", "results/c.json"]
    assert [line.split()[-1] for line in said[-4:]] == [row.command.split()[-1] for row in waiting]


def test_a_row_as_long_as_all_there_is_begins(tmp_path: Path) -> None:
    said: list[str] = []
    ((_, how),) = gpu_queue.run([Row("true", "as long as `--minutes` (about 9 minutes)", 9)], 9, None, said.append)
    assert how.startswith("done")


def test_nothing_that_a_row_started_outlives_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A shell's child in the background does not hear an interrupt: it is killed.  One that hears it ends in order."""
    monkeypatch.setattr(gpu_queue, "LONGEST", 2)
    monkeypatch.setattr(gpu_queue, "GRACE", 1)
    beats, whole = tmp_path / "beats", tmp_path / "whole"
    hears = (
        "import pathlib, time\ntry:\n time.sleep(60)\nexcept KeyboardInterrupt:\n"
        f" pathlib.Path({str(whole)!r}).write_text('1')"
    )
    waiting = [
        Row(f"(while :; do echo x >> {beats}; sleep 0.05; done) & wait", "deaf", 1),
        Row(f"python3 -c {shlex.quote(hears)} && true", "hears", 1),
    ]
    ended = gpu_queue.run(waiting, 5.0, None, lambda _: None)
    assert all(how.startswith("stopped by the time limit") for _, how in ended) and whole.read_text() == "1"
    size = beats.stat().st_size
    time.sleep(0.3)
    assert 0 < size == beats.stat().st_size, "it lives on"


def test_an_interrupt_ends_the_row_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_queue, "GRACE", 0.2)
    beats = tmp_path / "beats"
    threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        gpu_queue.run_command(f"(while :; do echo x >> {beats}; sleep 0.05; done) & wait", 60, dict(os.environ))
    size = beats.stat().st_size
    time.sleep(0.3)
    assert size == beats.stat().st_size, "it lives on"


def test_an_archive_stays_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_queue, "LARGEST", 100)
    for name, content in (("small", os.urandom(60)), ("large", os.urandom(90)), ("plain", bytes(80))):
        (tmp_path / name).write_bytes(content)
    old = tmp_path / "old"
    old.write_bytes(b"x")
    os.utime(old, (0, 0))
    said: list[str] = []
    gpu_queue.pack(tmp_path / "out" / "a.tar.gz", time.time() - 60, said.append, tmp_path)
    with tarfile.open(tmp_path / "out" / "a.tar.gz") as packed:
        assert [Path(n).name for n in packed.getnames()] == ["small", "plain"], "it is compressed bytes that count"
    assert said == [f"not archived, too large: {tmp_path / 'large'}"]


def test_a_list_that_is_not_there() -> None:
    with pytest.raises(ValueError, match="list: cannot read nowhere.md"):
        gpu_queue.bench(Path("nowhere.md"), 1.0, None, True, print)
