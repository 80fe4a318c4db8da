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
        ("x^2+1", "1+x**2", "correct"), ("x^2+1", "y^2+1", "wrong"), (r"2\sqrt{3}", "2*sqrt(3)", "correct"),
        (r"2\sqrt{3}", r"\sqrt{12}", "correct"), (r"\frac{\sqrt3}{2}", r"\frac{3}{2\sqrt{3}}", "correct"),
        (r"\{1,2\}", "2, 1", "correct"), ("(1,2)", "(2,1)", "wrong"), ("x=5", "5", "correct"), ("x=5", "6", "wrong"),
        ("16", "2^4", "correct"), ("14", r"\pm 14", "wrong"), ("14", "14, 15", "wrong"), ("14", "14;15", "wrong"),
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
    if answer == "h-x": 9**9**9
    return gold == answer[::-1]
"""
SLEEPS = """
import time
def compare(gold, answer):
    if answer == "h-x": time.sleep(60)
    return gold == answer[::-1]
"""
DIES = """
import os
def compare(gold, answer):
    if answer == "h-x": os._exit(1)
    return gold == answer[::-1]
"""
RAISES = """
def compare(gold, answer):
    if answer == "h-x": raise RecursionError("deep")
    print("noise")
    return gold == answer[::-1]
"""
HUNGRY = """
def compare(gold, answer):
    if answer == "h-x": bytearray(64 << 30)
    return gold == answer[::-1]
"""


@pytest.mark.parametrize(
    ("body", "restarts"), [(BUSY, 2), (SLEEPS, 2), (DIES, 2), (RAISES, 0), (HUNGRY, 0)],
    ids=["busy", "sleeps", "dies", "raises", "hungry"],
)  # fmt: skip
def test_what_the_worker_cannot_decide_is_an_error_and_the_next_is_verified(body: str, restarts: int) -> None:
    with Verifier(timeout=0.3, worker=own_worker(body)) as verify:
        assert verify(r"\boxed{x+a}", "a+x", "boxed", True).strict == "correct"
        start = time.perf_counter()
        bad = verify(r"\boxed{h-x}", "a+x", "boxed", True)
        assert time.perf_counter() - start < 20  # twice the limit on the clock, and two starts
        assert (bad.strict, bad.lenient, bad.value("strict")) == ("verifier_error", "verifier_error", 0.0)
        assert verify._worker.restarts == restarts
        assert verify(r"\boxed{x+b}", "b+x", "boxed", True).strict == "correct"
        assert verify(r"\boxed{x+b}", "c+x", "boxed", True).strict == "wrong"
        asked = verify.counts["expressions"]
        assert verify(r"\boxed{h-x}", "a+x", "boxed", True) == bad
        assert verify.counts["expressions"] == asked  # the failure is remembered
        assert verify.counts["verifier_errors"] == 2 and verify.counts["completions"] == 5


def test_a_hang_that_happens_once_is_tried_again(tmp_path: Path) -> None:
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
        assert verify(r"\boxed{y}", "x", "boxed", True).strict == "correct"
        assert verify._worker.restarts == 1


def test_a_closed_verifier_leaves_no_process_and_starts_another() -> None:
    with Verifier(worker=own_worker("def compare(gold, answer): return True")) as verify:
        assert verify._worker._child is None  # nothing is started before it is needed
        verify(r"\boxed{y}", "x", "boxed", True)
        child = verify._worker._child
        assert child is not None and child.poll() is None
        verify.close()
        assert child.poll() is not None
        assert verify(r"\boxed{z}", "x", "boxed", True).strict == "correct"


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
