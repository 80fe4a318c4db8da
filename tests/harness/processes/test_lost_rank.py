"""A rank that dies ends the run for all, soon, with a word about which and when; and what was done is kept."""

from __future__ import annotations

import json
import signal
import threading
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from harness.processes import watch
from harness.processes.watch import RankLost, Watch
from tests.harness.processes.launching import (
    JOB,
    TINY,
    accelerate,
    apart,
    launched,
    metrics_of,
    record_of,
    written,
)
from tests.harness.processes.test_equality import job


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "where", "count"), [("SIGKILL", "rollout", 16), ("SIGKILL", "update", 6), ("SIGSTOP", "update", 6)]
)
def test_a_rank_that_dies(number: str, where: str, count: int, taught: Path, tmp_path: Path) -> None:
    """Killed, it breaks its connections; stopped, it gives no sign of life and breaks nothing."""
    settings = {**TINY, "algo": "grpo", "lr": 1e-4, "dtype": "float64"}
    whole, cut = (job(name, taught, tmp_path, settings) for name in ("whole", "cut"))
    done = launched(accelerate(2, JOB, written(tmp_path, [cut])), FAULT=f"1 {number} {where} {count}")
    assert done.returncode != 0
    record = record_of(tmp_path / "cut")
    ended = datetime.fromisoformat(record["ended"]).timestamp()
    assert ended - float((tmp_path / "jobs.fault").read_text()) < 60
    assert record["status"] == "failed"
    assert "rank 1 (" in record["reason"] and f"was lost during {where}" in record["reason"]
    assert "error: the run failed: rank 1 (" in done.stderr
    rounds = len(metrics_of(tmp_path / "cut"))
    assert 0 < rounds < 10
    # not the last checkpoint of every fourth round: the round under way had moved nothing
    assert [p.name for p in (tmp_path / "cut" / "checkpoints").iterdir()] == [f"round-{rounds:05d}"]
    again = launched(accelerate(2, JOB, written(tmp_path, [{**cut, "resume": True}, whole])))
    assert again.returncode == 0, again.stderr
    assert metrics_of(tmp_path / "cut") == metrics_of(tmp_path / "whole")
    assert apart(tmp_path / "whole", tmp_path / "cut") == 0


# ---------------------------------------------------------------- signs of life, without processes


class Store:
    """What of torch's store a watch uses."""

    def __init__(self) -> None:
        self.values: dict[str, bytes] = {}
        self.gone = False

    def set(self, key: str, value: str) -> None:
        if self.gone:
            raise RuntimeError("connection reset")
        self.values[key] = value.encode()

    def multi_get(self, keys: list[str]) -> list[bytes]:
        if self.gone:
            raise RuntimeError("connection reset")
        return [self.values[key] for key in keys]

    def sign(self, rank: int, beat: int, phase: str, end: str | None = None) -> None:
        self.set(f"life/{rank}", json.dumps([f"host{rank}", beat, phase, end]))


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Store:
    """Of two ranks; the other one is in its rollout.  Seconds are short."""
    for name, seconds in (("BEAT", 0.02), ("LOOK", 0.1), ("SILENCE", 0.4)):
        monkeypatch.setattr(watch, name, seconds)
    kept = Store()
    kept.sign(1, 1, "rollout")
    return kept


def watching(store: Any) -> Watch:
    mine = Watch(store, 0, 2)
    mine.sign()
    mine.start()
    return mine


def wait(seconds: float) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        time.sleep(0.005)


def test_silence_ends_the_run(store: Store) -> None:
    mine = watching(store)
    with pytest.raises(RankLost, match=r"^rank 1 \(host1\) was lost during rollout: it gives no sign of life$"):
        wait(5)
    mine.close()


def test_a_rank_that_says_why_it_ends(store: Store) -> None:
    mine = watching(store)
    store.sign(1, 2, "reward", "RewardError: it is not a number")
    with pytest.raises(RankLost, match=r"^rank 1 \(host1\) ended during reward: RewardError: it is not a number$"):
        wait(5)
    mine.close()


def test_the_first_word_is_handed_on(store: Store) -> None:
    """Rank 1 ends because of rank 2: that is the reason, not rank 1."""
    mine = watching(store)
    store.sign(1, 2, "update", "rank 2 (host2) was lost during update: it gives no sign of life")
    with pytest.raises(RankLost, match=r"^rank 2 \(host2\) was lost during update"):
        wait(5)
    mine.close()


def test_where_the_store_is_gone_rank_0_is(store: Store) -> None:
    store.sign(0, 1, "update")
    mine = Watch(store, 1, 2)
    mine.sign()
    mine.start()
    wait(0.1)
    store.gone = True
    with pytest.raises(RankLost, match=r"^rank 0 \(host0\) was lost during update$"):
        wait(5)
    mine.close()


def test_signs_keep_a_run_alive(store: Store) -> None:
    """A rank at work for longer than the silence that would end it."""
    mine, stop = watching(store), threading.Event()

    def live() -> None:
        beat = 1
        while not stop.wait(0.05):
            beat += 1
            store.sign(1, beat, "rollout")

    thread = threading.Thread(target=live)
    thread.start()
    wait(1.0)
    assert mine.find() == ""
    stop.set()
    thread.join()
    mine.close()
    assert signal.getsignal(signal.SIGUSR1) == signal.SIG_DFL


def test_a_rank_that_has_come_to_its_end_is_not_missed(store: Store) -> None:
    mine = watching(store)
    store.sign(1, 2, "the end", "")
    wait(0.8)
    mine.close()
