from __future__ import annotations

import io
import math
import re
import subprocess
import sys
from typing import Any

import pytest
from rich.console import Console

from harness.accounting.format import count, flops, percent, point, size
from harness.cli.console.summary import Tables, heading, rows

NAMES = ("arithmetic", "arithmetic_t1", "arithmetic_longer", "arithmetic_larger", "arithmetic_worded", "sorting")


def evaluation(task: str, fraction: float, strict: float, n: int = 500, **fields: Any) -> list[dict[str, Any]]:
    """The record's rows of one set at one fraction: lenient is 2 points better, 4 % unparseable, 1 % truncated."""
    domain = {"arithmetic": "in", "arithmetic_t1": "in", "sorting": "retention"}.get(task, "out")
    sampled = task.endswith("_t1")
    base = {
        "fraction": fraction, "spend": {}, "task": task, "version": "1", "domain": domain,
        "decoding": "sampled" if sampled else "greedy", "temperature": 1.0 if sampled else 0.0,
        "stderr": None, "n": n, "scorer": "direct", "outcomes": "",
    }  # fmt: skip
    measures = {
        ("strict", "exact_match"): strict,
        ("lenient", "exact_match"): strict + 0.02,
        ("strict", "unparseable"): 0.04,
        ("strict", "truncated"): 0.01,
        ("strict", "verifier_error"): 0.0,
    }
    return [{**base, "filter": f, "metric": m, "value": x, **fields} for (f, m), x in measures.items()]


def a_record(fractions: tuple[float, ...] = (0.0, 0.5, 1.0), **fields: Any) -> dict[str, Any]:
    """A finished run on the CPU; the sets come in an order that is not the table's."""
    at = {0.0: 0.3, 0.5: 0.4, 1.0: 0.512}
    return {
        "schema": 1, "status": "finished", "reason": None, "algo": "grpo", "seed": 3,
        "config": {"task_name": "arithmetic", "model": "nano", "dtype": "auto"},
        "budget": {"unit": "generated_tokens", "limit": 200000.0},
        "spend": {
            "prompts": 3125, "completions": 12345, "generated_tokens": 199872, "trained_tokens": 1234567,
            "updates": 98, "flops": 3.4e12, "device_seconds": 40.25, "verifier_calls": 12345,
        },
        "phases": {
            "rollout": {"seconds": 16.0, "tokens": 199872, "peak_bytes": 812 * 2**20},
            "update": {"seconds": 20.0, "tokens": 199872, "peak_bytes": 2**31},
            "eval": {"seconds": 4.0, "tokens": 0, "peak_bytes": 2**20},
            "checkpoint": {"seconds": 0.0, "tokens": 0, "peak_bytes": 0},
        },
        "memory": {
            "peak_bytes": 2**31,
            "parts": {
                "activations": {"bytes": 300 * 2**20, "how": "computed"},
                "policy": {"bytes": 3 * 2**20, "how": "measured"},
            },
        },
        "checks": {"first_update_max_abs_logratio": 3.1e-7},
        "evals": [e for f in fractions for name in reversed(NAMES) for e in evaluation(name, f, at[f])],
        "environment": {"device": "cpu"},
        **fields,
    }  # fmt: skip


def printed(record: dict[str, Any], width: int = 100) -> str:
    out = io.StringIO()
    Console(file=out, width=width).print(Tables(record))
    return out.getvalue()


def by_hand(hits: int, n: int) -> str:
    """Wilson's interval as the roots of n (p - x)^2 = z^2 x (1 - x), in percent."""
    z, p = 1.959963984540054, hits / n
    a, b, c = n + z * z, -(2 * n * p + z * z), n * p * p
    root = math.sqrt(b * b - 4 * a * c)
    return f"{100 * (-b - root) / (2 * a):.1f}-{100 * (-b + root) / (2 * a):.1f}"


def test_numbers_as_people_read_them() -> None:
    assert [count(x) for x in (0, 12345, 999_999, 999_999.9, 1.2e6, 3.4e9, None, math.nan)] == [
        "0", "12,345", "999,999", "1.0 M", "1.2 M", "3.4 B", "-", "-",
    ]  # fmt: skip
    assert [flops(x) for x in (0.0, 3.4e12, 9.999e14, 1e15, None)] == [
        "0 FLOP", "3.4 TFLOP", "1.0 PFLOP", "1.0 PFLOP", "-",
    ]  # fmt: skip
    assert [size(x) for x in (512, 1536, 812 * 2**20, 2**31, None)] == ["512 B", "1.5 KiB", "812 MiB", "2.0 GiB", "-"]
    assert [percent(x) for x in (0.2341, 1.0, None, math.nan)] == ["23.4 %", "100.0 %", "-", "-"]
    assert [point(x) for x in (0.0, 0.25, 1.0)] == ["start", "25 %", "end"]


def test_a_task_from_start_to_end() -> None:
    row = rows(a_record())["evals"][0]
    assert (row["strict_first"], row["strict_last"], row["change"]) == ("30.0 %", "51.2 %", "+21.2")
    assert row["interval_first"] == by_hand(150, 500) == "26.1-34.2"
    assert row["interval_last"] == by_hand(256, 500)
    assert (row["lenient_first"], row["lenient_last"]) == ("32.0 %", "53.2 %")
    assert (row["at_first"], row["at_last"], row["n"], row["scorer"]) == ("start", "end", "500", "direct")


def test_tasks_stand_in_the_order_of_their_domains() -> None:
    found = rows(a_record())["evals"]
    assert [r["domain"] for r in found] == ["in domain"] * 2 + ["out of domain"] * 3 + ["retention"]
    assert {r["task"]: r["decoding"] for r in found}["arithmetic_t1"] == "sampled T=1"


def test_spend_marks_the_budget() -> None:
    spend = {r["unit"]: r for r in rows(a_record())["spend"]}
    assert spend["generated tokens"] == {
        "unit": "generated tokens", "spent": "199,872", "budget": "200,000", "used": "99.9 %",
    }  # fmt: skip
    assert [r["unit"] for r in spend.values() if r["budget"]] == ["generated tokens"]
    assert (spend["FLOPs"]["spent"], spend["trained tokens"]["spent"]) == ("3.4 TFLOP", "1.2 M")
    assert spend["device time"]["spent"] == "40.2 s" and "verifier calls" in spend


def test_phases_share_the_time() -> None:
    phases = {r["phase"]: r for r in rows(a_record())["phases"]}
    assert list(phases) == ["rollout", "update", "evaluation", "total"]  # the checkpoint was never entered
    assert (phases["update"]["share"], phases["rollout"]["tokens/s"]) == ("50.0 %", "12,492")
    assert (phases["rollout"]["peak memory"], phases["total"]["peak memory"]) == ("812 MiB", "2.0 GiB")
    assert (phases["rollout"]["charged"], phases["evaluation"]["charged"]) == ("yes", "no")


def test_memory_by_part() -> None:
    parts = rows(a_record())["memory"]
    assert [(r["part"], r["size"], r["how"]) for r in parts] == [
        ("policy", "3.0 MiB", "measured"),
        ("activations", "300 MiB", "computed"),
        ("peak", "2.0 GiB", "measured, whole process"),
    ]


@pytest.mark.parametrize(
    ("device", "dtype", "value", "says"),
    [
        ("cpu", "auto", 3.1e-7, "agree, log-probabilities within 3.1e-07 (0.001 allowed)"),
        ("cpu", "auto", 0.02, "DISAGREE, log-probabilities apart by 0.02 (0.001 allowed)"),
        ("cuda", "auto", 0.02, "agree, log-probabilities within 0.02 (0.5 allowed)"),
        ("cpu", "bfloat16", math.nan, "DISAGREE, log-probabilities apart by nan (0.5 allowed)"),
    ],
)
def test_checks_in_plain_words(device: str, dtype: str, value: float, says: str) -> None:
    record = a_record(environment={"device": device}, config={"dtype": dtype})
    record["checks"] = {"first_update_max_abs_logratio": value}
    assert rows(record)["checks"] == [{"check": "first update", "result": f"sampler and trainer {says}"}]


def test_what_was_not_checked_is_not_called_agreement() -> None:
    """A first update in which every group has one reward reads nothing again."""
    record = a_record()
    record["checks"] = {"self_check_sampler": 2e-6}
    first, own = rows(record)["checks"]
    assert "nothing was checked" in first["result"] and "agree" not in first["result"]
    assert own == {
        "check": "self-check",
        "result": "the sampler's log-probabilities within 2e-06 of the model's own, each row alone",
    }


def test_only_the_start() -> None:
    record = a_record((0.0,), status="interrupted", reason="interrupted by the user")
    assert all((r["at_last"], r["change"], r["strict_last"]) == ("", "-", "-") for r in rows(record)["evals"])
    text = printed(record)
    assert "end" not in re.findall(r"\w+", text) and "26.1-34.2" in text
    assert heading(record) == "grpo, arithmetic, nano, seed 3: interrupted by the user"


def test_a_set_that_is_missing_at_the_end() -> None:
    record = a_record((0.0, 0.5))
    record["evals"] += evaluation("new", 0.0, 0.5)
    row = next(r for r in rows(record)["evals"] if r["task"] == "new")
    assert (row["at_last"], row["strict_last"], row["change"]) == ("50 %", "-", "-")


@pytest.mark.parametrize("width", [80, 100])
@pytest.mark.parametrize(
    "record",
    [
        {},
        a_record(evals=[], phases={}, memory={}, checks={}, spend={}),
        a_record(phases={"rollout": {"seconds": 0.0, "tokens": 7, "peak_bytes": 0}}),
        a_record(status="failed", reason="ValueError: [red]a | b\nc", evals=[]),
        a_record(evals=evaluation("arithmetic", 1.0, 0.0, n=0)),
    ],
)
def test_partial_records(record: dict[str, Any], width: int) -> None:
    assert all(len(line) <= width for line in printed(record, width).splitlines())
    assert not re.search(r"\bnan\b", printed(record, width))


def test_a_failure_is_told_as_it_is() -> None:
    record = a_record(status="failed", reason="ValueError: [red]a | b\nc", evals=[])
    assert "seed 3: failed: ValueError: [red]a | b c" in printed(record)
    assert "No evaluation was made." in printed(record)


def test_stock_tasks_have_a_row_for_each_metric_and_filter() -> None:
    stock = evaluation("gsm8k", 0.0, 0.0, n=10)[0]
    found = rows(
        a_record(
            evals=[
                {**stock, "filter": "strict-match", "value": 0.3, "scorer": "lm_eval"},
                {**stock, "filter": "none", "metric": "perplexity", "value": 23.4, "scorer": "lm_eval"},
            ]
        )
    )["evals"]
    assert [r["decoding"] for r in found] == ["exact_match strict-match", "perplexity"]
    assert [r["strict_first"] for r in found] == ["30.0 %", "23.4"]
    assert [r["interval_first"] for r in found] == [by_hand(3, 10), "-"]


def test_verifier_errors_are_told() -> None:
    record = a_record()
    for e in record["evals"]:
        if e["metric"] == "verifier_error" and e["task"] == "sorting":
            e["value"] = 0.1
    assert "The verifier failed in sorting, greedy: 10.0 % (start), 10.0 % (end)." in printed(record)


@pytest.mark.parametrize("width", [80, 100])
def test_the_usual_names_fit(width: int) -> None:
    text = printed(a_record(), width)
    assert all(len(line) <= width for line in text.splitlines())
    assert "…" not in text and all(name in text for name in NAMES)


def test_every_cell_is_printed() -> None:
    record = a_record()
    text = printed(record)
    for name, found in rows(record).items():
        for row in found:
            for key, cell in row.items():
                if cell and not (name == "evals" and key.startswith(("verifier_error", "at_"))):
                    assert cell in text, (name, key, cell)


def test_no_model_stack_is_imported() -> None:
    code = (
        "import sys, harness.cli.console.summary, harness.cli.console.progress; "
        "print({'torch', 'transformers', 'lm_eval'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
