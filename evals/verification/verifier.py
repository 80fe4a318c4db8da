r"""Text -> Verdict: what a completion's final answer is, and whether it is right.  Reward and evaluation share it.

**Which text counts.**  What follows the reasoning (`<think>...</think>`, see `extraction.REASONING`), up to a tag that
is left open; its last 20,000 characters.

**Which answers.**  *Strict* reads the task's own format alone, and all that is marked there must be right: two
different final answers are no answer, the same one twice is one; several boxes may be the items of one list.
*Lenient* reads the last answer marked in the task's format, else in any format, else the last number of the text; of a
marked answer with words, the first number.  So `#### 14 apples` is wrong strictly and correct leniently.  What is
correct strictly is correct leniently.

**Which are equal**, in this order (`answers/`):

| the pair                                                       | is                                             |
|----------------------------------------------------------------|------------------------------------------------|
| the same text, ignoring spaces outside numbers                 | equal                                          |
| two plain numbers (`$1,000`, `-3/4`, `1 1/2`, `18.0`, `5%`)    | compared exactly: 1/3 is not 0.333; 50% is 50  |
| a calculation, where a number has to be worked out             | different: 48/2 is not yet 24                  |
| lists, points, intervals, matrices, ratios, equations, words   | compared part by part                          |
| a value with a unit                                            | different where the gold has another unit      |
| expressions                                                    | exact where rational, else to 90 digits        |
| what these cannot read (sums, integrals)                       | as math-verify says, in a worker (`worker.py`) |

**Worked out.**  Where the gold answer is a number, a calculation (`48/2`, `9*2`) is wrong in the formats `hash` and
`answer_is`, which ask for a number, and right in `boxed`, which asks for an expression; `worked_out` says otherwise.

No verdict depends on time.  A verifier_error is a pair that only the worker could decide and that it did not: there is
none, or it died twice.
"""

from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, Self

from evals.verification.answers.compare import finished, magnitude, same
from evals.verification.answers.notation import (
    LONGEST,
    canonical,
    clean,
    number,
    plain_words,
    prose,
    words,
)
from evals.verification.answers.scanner import Unsupported
from evals.verification.answers.units import quantity
from evals.verification.boxes import box_names, in_parts, one_list
from evals.verification.extraction import (
    READERS,
    Format,
    Marks,
    final_part,
    leaves_reasoning_open,
    marked,
    numbers,
)
from evals.verification.worker import Worker, WorkerError

__all__ = ["VERSION", "Filter", "Format", "Outcome", "Verdict", "Verifier", "concludes", "parse_gold", "verify"]

Outcome = Literal["correct", "wrong", "unparseable", "truncated", "verifier_error"]
Filter = Literal["strict", "lenient"]

VERSION = "2"  # raised where a verdict may change: it is the version of every task that is verified here
SHORT = 12  # characters of a number that is compared at once
CACHE = 65_536  # decisions that are kept; the oldest are dropped first
_DENIED = re.compile(r"(?i)\b(?:not|never|isn't|(?:more|less|fewer|greater) than|at (?:least|most))\s*\$?$")


@dataclass(frozen=True)
class Verdict:
    """The outcome of verifying one completion.

    >>> Verdict(strict="wrong", lenient="correct", answer="14 apples").value("lenient")
    1.0
    """

    strict: Outcome  # the final answer in the task's format, and exactly one of it
    lenient: Outcome  # any of the marked formats, else the last number in the text
    answer: str | None  # of the strict reading, normalised; None where there is none, or different ones

    def value(self, filter: Filter) -> float:
        """1.0 if correct, else 0.0.  Rows with verifier_error are 0.0 too: a reward leaves them
        out of its means, an evaluation counts every problem.

        >>> Verdict(strict="wrong", lenient="correct", answer="14 apples").value("strict")
        0.0
        """
        return float({"strict": self.strict, "lenient": self.lenient}[filter] == "correct")


def parse_gold(text: str) -> str:
    r"""The gold answer in normal form.  What follows the last `####`, or is in the last box, where there is one.

    ValueError where it cannot be one: empty, too long, unbalanced, prose.  A word must be given as LaTeX text, except
    yes, no, true and false.

    >>> parse_gold("9 * 2 = 18 dollars #### 1,018"), parse_gold("$x^2+1$"), parse_gold("no")
    ('1018', 'x^2+1', '\\text{no}')
    """
    marks = marked(text, "hash") or marked(text, "boxed")
    raw = marks[-1][1].strip() if marks else text.strip()
    if len(marks) > 1 and marks == marked(text, "boxed") and one_list(text, marks):  # \boxed{1} and \boxed{-2}
        raw = ", ".join(answer for _, answer in marks)
    shown = repr(raw if len(raw) <= 60 else raw[:57] + "...")
    gold = canonical(raw, keep_unit=True)
    if not gold:
        raise ValueError("the gold answer is empty")
    if len(gold) > LONGEST:
        raise ValueError(f"the gold answer {shown} is longer than {LONGEST} characters")
    if gold.count("{") != gold.count("}"):
        raise ValueError(f"the gold answer {shown} has unbalanced braces")
    bare = re.sub(r"(?<![A-Za-z])(?:and|or)(?![A-Za-z])", " ", quantity(gold).body)
    if prose(bare, 3) or not re.search(r"[^\W_]", gold):
        raise ValueError(f"the gold answer {shown} is no number and no mathematical expression (a word: \\text{{...}})")
    return gold


def concludes(completion: str, format: Format) -> bool:
    r"""Does it mark one final answer, and end with it?  Only signs may follow: `$`, a closing brace, a full stop.

    All that is marked must be one answer, as in the strict reading; a `<think>` that is left open marks nothing.

    >>> [concludes(x, "hash") for x in ("1+2=3\n#### 3", "#### 3\nOr so.", "#### 3\n#### 4", "<think>#### 3", "3")]
    [True, False, False, False, False]
    >>> concludes(r"so $\boxed{3}$.", "boxed"), concludes("The answer is 3. Bye!", "answer_is")
    (True, False)
    """
    text = final_part(completion)
    marks = marked(text, format)
    if leaves_reasoning_open(completion) or len({canonical(answer) for _, answer in marks}) != 1:
        return False
    start, answer = marks[-1]
    return re.search(r"[^\W_]", text[start + len(answer) :]) is None


class Verifier:
    r"""Decides whether completions are right.  It starts one worker process at most, when an answer needs it.

    `timeout`: seconds of processor time for one answer in the worker (for all limits: `worker.py`).
    `worker`: the command line of another worker, for tests.
    `counts`: "completions", "verifier_errors" (of them), "expressions" (sent to the worker), "cached".
    Threads may share a verifier.  `close`, or leaving `with`, ends the worker.

    >>> with Verifier() as verify:
    ...     verify("12+2=14\n#### 14.0", "14", "hash", ended=True)
    Verdict(strict='correct', lenient='correct', answer='14')
    """

    def __init__(self, timeout: float = 2.0, worker: Sequence[str] | None = None) -> None:
        self.counts: Counter[str] = Counter()
        self._worker = Worker(timeout, worker)
        self._cache: dict[tuple[str, str], Outcome] = {}
        self._lock = threading.Lock()

    def __call__(
        self, completion: str, gold: str, format: Format, ended: bool, worked_out: bool | None = None
    ) -> Verdict:
        r"""The verdict on one completion.  `gold` as parse_gold gives it; `ended` is False where it was cut.

        A completion that was cut is truncated where it marks no answer, and verified as it stands otherwise.  With
        `worked_out` a number has to be one: an answer that leaves something to calculate is wrong, for the question
        itself would be right.  None: in all formats but `boxed`.
        An unknown format raises ValueError; whatever else fails is a verifier_error.

        >>> Verifier()(r"so \boxed{14} or \boxed{15}", "15", "boxed", ended=False)
        Verdict(strict='wrong', lenient='correct', answer=None)
        """
        if format not in READERS:
            raise ValueError(f"format must be one of {', '.join(READERS)}, not {format!r}")
        worked_out = format != "boxed" if worked_out is None else worked_out
        try:
            gold, text = canonical(gold, True), final_part(completion)
            if not gold:
                raise ValueError("the gold answer is empty")
            strict, answer = self._strict(text, gold, format, ended, worked_out)
            lenient = strict if strict == "correct" else self._lenient(text, gold, format, ended, worked_out)
            verdict = Verdict(strict, lenient, answer)
        except Exception:  # noqa: BLE001  the one place that catches everything: a bad item must not end a run
            verdict = Verdict("verifier_error", "verifier_error", None)
        with self._lock:
            self.counts["completions"] += 1
            self.counts["verifier_errors"] += "verifier_error" in (verdict.strict, verdict.lenient)
        return verdict

    def close(self) -> None:
        """Ends the worker.  The verifier stays usable: it starts another when it needs one.

        >>> verify = Verifier(); verify.close(); verify.close()
        """
        with self._lock:
            self._worker.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _strict(
        self, text: str, gold: str, format: Format, ended: bool, worked_out: bool
    ) -> tuple[Outcome, str | None]:
        normal = plain_words if gold[0] == "\\" and words(gold) else canonical
        marks = marked(text, format)
        if not marks:
            return "unparseable" if ended else "truncated", None
        if len(marks) == 1:
            answer = marks[0][1]
            return self._equal(gold, clean(answer), worked_out), normal(answer)
        distinct = {normal(answer): clean(answer) for _, answer in marks}  # in order
        answers, raw = list(distinct), list(distinct.values())
        outcome = _all(self._equal(gold, answer, worked_out) for answer in raw)
        if outcome == "wrong" and len(answers) > 1:
            outcome = self._boxes(text, marks, raw, gold, worked_out)
        return outcome, answers[-1] if len(answers) == 1 or outcome == "correct" else None

    def _boxes(self, text: str, marks: Marks, raw: list[str], gold: str, worked_out: bool) -> Outcome:
        """Several boxes as one list."""
        listed = ", ".join(raw)
        if in_parts(text, marks):
            return self._equal(f"({gold})", f"({listed})", worked_out) if len(raw) == len(marks) else "wrong"
        if (names := box_names(text, marks)) is not None:
            listed = ", ".join(f"{name} = {clean(answer)}" for name, (_, answer) in zip(names, marks, strict=True))
        return self._equal(gold, listed, worked_out) if names or one_list(text, marks) else "wrong"

    def _lenient(self, text: str, gold: str, format: Format, ended: bool, worked_out: bool) -> Outcome:
        others = sorted(mark for name in READERS if name != format for mark in marked(text, name))
        marks = marked(text, format) or others
        if marks:
            answer = clean(marks[-1][1])
            outcome = self._equal(gold, answer, worked_out)
            first = numbers(answer)
            if outcome == "wrong" and number(gold) is not None and prose(answer, 2) and first:
                before, _, after = answer.partition(first[0])
                if _DENIED.search(before) is None:  # `not 14`, `14 thousand`
                    return self._equal(gold, clean(magnitude(first[0], after)))
            return outcome
        if not ended:
            return "truncated"
        unmarked = numbers(text)
        return self._equal(gold, clean(unmarked[-1])) if unmarked else "unparseable"

    def _equal(self, gold: str, answer: str, worked_out: bool = False) -> Outcome:
        """The decision on one answer, in plain notation.  The same pair always has the same one."""
        value, claimed = number(gold), number(answer)
        if (
            value is not None
            and claimed is not None
            and len(answer) <= SHORT
            and gold[-1].isdigit()
            and gold[0] != "\\"
        ):
            left = worked_out and value.denominator == 1 and ("/" in answer or "frac" in answer)
            return "correct" if value == claimed and not left else "wrong"
        if not answer or len(answer) > LONGEST:
            return "wrong"
        if worked_out and not finished(gold, answer):
            return "wrong"
        key = gold, answer
        with self._lock:
            if (outcome := self._cache.get(key)) is not None:
                self.counts["cached"] += 1
                return outcome
        try:
            outcome = "correct" if same(gold, answer) else "wrong"
        except Unsupported:
            outcome = self._ask(gold, answer)
        with self._lock:
            if len(self._cache) >= CACHE:
                del self._cache[next(iter(self._cache))]
            self._cache[key] = outcome
        return outcome

    def _ask(self, gold: str, answer: str) -> Outcome:
        """The worker's decision."""
        with self._lock:
            self.counts["expressions"] += 1
            try:
                return "correct" if self._worker.equal(gold, answer) else "wrong"
            except WorkerError:
                return "verifier_error"


def _all(outcomes: Iterable[Outcome]) -> Outcome:
    """Wrong where one is, else undecided where one is, else correct."""
    seen = set()
    for outcome in outcomes:
        if outcome == "wrong":
            return "wrong"
        seen.add(outcome)
    return "verifier_error" if "verifier_error" in seen else "correct"


verify = Verifier()  # the process's own, for all tasks: one worker and one cache
