"""Answers that need the worker: what math-verify says, and what becomes of a worker that hangs or dies."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from evals.verification.verifier import Outcome, Verifier, parse_gold

ROOT = Path(__file__).parents[3]


def own_worker(body: str) -> list[str]:
    """The real worker's loop around a comparison of the test's own: `def compare(gold, answer)`."""
    start = f"import sys; sys.path.insert(0, {str(ROOT)!r})\nfrom evals.verification.worker import serve\n"
    return [sys.executable, "-c", start + textwrap.dedent(body) + "\nserve(lambda: compare)"]


@pytest.fixture(scope="module")
def full() -> Iterator[Verifier]:
    pytest.importorskip("math_verify")
    with Verifier() as verify:
        yield verify


@pytest.mark.parametrize(
    ("gold", "answer", "outcome"),
    [
        ("x^2+1", "1+x**2", "correct"), (r"\sum_{k=1}^{3} k", "6", "correct"),
        (r"\sum_{k=1}^{3} k", "7", "wrong"), (r"\sum_k 2^k", "9**9**9", "wrong"),
        (r"\mathbb{R} \setminus \{2\}", r"\mathbb{R} \setminus \{3\}", "wrong"), ("x^2+1", "y^2+1", "wrong"),
        (r"2\sqrt{3}", "2*sqrt(3)", "correct"),
        (r"2\sqrt{3}", r"\sqrt{12}", "correct"), (r"\frac{\sqrt3}{2}", r"\frac{3}{2\sqrt{3}}", "correct"),
        (r"\{1,2\}", "2, 1", "correct"), ("(1,2)", "(2,1)", "wrong"), ("x=5", "5", "correct"), ("x=5", "6", "wrong"),
        ("14", r"\pm 14", "wrong"), ("14", "14, 15", "wrong"), ("14", "14;15", "wrong"),
        ("14", r"14 \text{ or } 15", "wrong"), ("15", r"14 \text{ or } 15", "wrong"), ("14", "14x", "wrong"),
        ("14", r"\frac{", "wrong"), ("14", "((((", "wrong"), ("14", r"\{14, 15\}", "wrong"),
        ("14", "14" + " " * 5_000 + "15", "wrong"),
        ("14", r"14\text{ million}", "wrong"), ("14", r"14\text{ or more}", "wrong"), ("14", "14\x00", "wrong"),
        ("7", "3+4=7", "correct"), ("8", "3+4=8", "wrong"), ("4", r"x = \sqrt{16} = 4", "correct"),
        ("14", "14!", "wrong"), (r"\pi", "3.14", "wrong"), (r"\frac12\pi", r"\pi/2", "correct"),
        (r"x \cdot 2^{2024}", r"2^{2024} x", "correct"), ("3", "3/0", "wrong"),
    ],
)  # fmt: skip
def test_expressions(full: Verifier, gold: str, answer: str, outcome: Outcome) -> None:
    verdict = full(f"#### {answer}", parse_gold(gold), "hash", True)
    assert (verdict.strict, verdict.lenient) == (outcome, outcome)


def test_no_way_to_join_two_guesses_is_right_for_either(full: Verifier) -> None:
    text = r"_ ? | & / \ldots_ \to_ \neq_ \sim_ \equiv_ ≈ ~ \\ : ` % = \lor_ \cup_ \pm_ \in_ < => == := _or_ _and_ "
    text += r" , ; \text{_or_} $_$ 、 \qquad_ \text{maybe_} ' ! é \, ####_"
    joints = [joint.replace("_", " ") for joint in text.split()] + ["\n#### ", "\t"]
    for joint in joints:
        for start in ("", "x=", "x=1, "):
            for gold in ("14", "15"):
                assert full(f"#### {start}14{joint}15", gold, "hash", True).strict == "wrong", (start, joint)


# ---------------------------------------------------------------- the worker


BUSY = """
def compare(gold, answer):
    if answer[-1] == "z": 9**9**9
    return gold[-1] == answer[-1]
"""
SLEEPS = """
import time
def compare(gold, answer):
    if answer[-1] == "z": time.sleep(60)
    return gold[-1] == answer[-1]
"""
DIES = """
import os
def compare(gold, answer):
    if answer[-1] == "z": os._exit(1)
    return gold[-1] == answer[-1]
"""
RAISES = """
def compare(gold, answer):
    if answer[-1] == "z": raise RecursionError("deep")
    print("noise")
    return gold[-1] == answer[-1]
"""
HUNGRY = """
def compare(gold, answer):
    if answer[-1] == "z": bytearray(64 << 30)
    return gold[-1] == answer[-1]
"""


def integral(answer: str) -> str:
    """A completion that only the worker can decide on."""
    return rf"\boxed{{\int_1 {answer}}}"


GOLD = r"\int_0 a"


@pytest.mark.parametrize(
    ("body", "outcome", "restarts"),
    [(BUSY, "wrong", 1), (SLEEPS, "verifier_error", 2), (DIES, "verifier_error", 2), (RAISES, "wrong", 0),
     (HUNGRY, "wrong", 0)],
    ids=["busy", "sleeps", "dies", "raises", "hungry"],
)  # fmt: skip
def test_an_answer_beyond_the_budget_is_wrong_a_dead_worker_an_error(
    body: str, outcome: Outcome, restarts: int
) -> None:
    """And the next answer is verified."""
    with Verifier(timeout=0.3, worker=own_worker(body)) as verify:
        verify._worker.stuck = 0.5
        assert verify(integral("a"), GOLD, "boxed", True).strict == "correct"
        start = time.perf_counter()
        bad = verify(integral("z"), GOLD, "boxed", True)
        assert time.perf_counter() - start < 20  # two starts
        assert (bad.strict, bad.lenient, bad.value("strict")) == (outcome, outcome, 0.0)
        assert verify._worker.restarts == restarts
        assert verify._worker.undecided == (outcome == "wrong")
        assert verify(integral("a +  a"), GOLD, "boxed", True).strict == "correct"
        assert verify(integral("b"), GOLD, "boxed", True).strict == "wrong"
        asked = verify.counts["expressions"]
        assert verify(integral("z"), GOLD, "boxed", True) == bad
        assert verify.counts["expressions"] == asked  # the decision is remembered
        assert verify.counts["verifier_errors"] == 2 * (outcome == "verifier_error")
        assert verify.counts["completions"] == 5


SLOW = """
import time
def compare(gold, answer):
    end = time.process_time() + 0.3
    while time.process_time() < end: time.sleep(0.1); sum(range(1_000_000))
    return gold[-1] == answer[-1]
"""


def test_a_child_that_computes_slowly_is_waited_for() -> None:
    """As on a loaded machine: much time on the clock, little of the processor's."""
    with Verifier(timeout=5.0, worker=own_worker(SLOW)) as verify:
        verify._worker.stuck = 0.5
        start = time.perf_counter()
        assert verify(integral("a"), GOLD, "boxed", True).strict == "correct"
        assert time.perf_counter() - start > 1.0
        assert verify._worker.restarts == 0


def test_a_death_that_happens_once_is_tried_again(tmp_path: Path) -> None:
    flag = str(tmp_path / "been here")
    body = f"""
    import os
    def compare(gold, answer):
        if not os.path.exists({flag!r}):
            open({flag!r}, "w").close()
            os._exit(1)
        return True
    """
    with Verifier(worker=own_worker(body)) as verify:
        assert verify(integral("y"), GOLD, "boxed", True).strict == "correct"
        assert verify._worker.restarts == 1


def test_a_closed_verifier_leaves_no_process_and_starts_another() -> None:
    with Verifier(worker=own_worker("def compare(gold, answer): return True")) as verify:
        assert verify._worker._child is None  # nothing is started before it is needed
        verify(integral("y"), GOLD, "boxed", True)
        child = verify._worker._child
        assert child is not None and child.poll() is None
        verify.close()
        assert child.poll() is not None
        assert verify(integral("z"), GOLD, "boxed", True).strict == "correct"


def test_numbers_load_no_heavy_module() -> None:
    script = """
    import sys
    from evals.verification.verifier import verify
    assert verify("#### 14", "14", "hash", True).strict == "correct"
    assert verify("#### 15 or so", "14", "hash", True).strict == "wrong"
    heavy = {"torch", "transformers", "sympy", "math_verify", "numpy", "multiprocessing"} & set(sys.modules)
    assert not heavy, heavy
    assert verify._worker._child is None
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(script)], cwd=ROOT, check=True, timeout=60)
