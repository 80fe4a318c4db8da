"""The embedded model, what it was made from, and that GRPO teaches it."""

from __future__ import annotations

import hashlib
import itertools
import json
import random
import re
import struct
from pathlib import Path

import pytest

from evals.tasks.arithmetic import Arithmetic
from evals.tasks.data.arithmetic_chains import (
    ENDTHINK,
    LIMIT,
    MARK,
    THINK,
    Chain,
    careful,
    check_steps,
    derive,
    draw_chain,
    key_of,
    problems,
)
from harness.config.run_config import resolve
from harness.config.start_models import MODELS
from harness.models.pretraining.arithmetic_corpus import Mixture, careless, documents
from tests.helpers import close

NANO = MODELS / "nano"
WEIGHTS = NANO / "model.safetensors"
shipped = pytest.mark.skipif(not WEIGHTS.exists(), reason="nano's weights are not there yet")


# ---------------------------------------------------------------- what is shipped


def shapes() -> dict[str, list[int]]:
    """From the header of the file: its length in 8 bytes, then JSON."""
    data = WEIGHTS.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    return {name: entry["shape"] for name, entry in header.items() if name != "__metadata__"}


@shipped
def test_size() -> None:
    count = 0
    for shape in shapes().values():
        entries = 1
        for n in shape:
            entries *= n
        count += entries
    assert 100_000 < count <= 1_000_000
    assert WEIGHTS.stat().st_size <= 4 * 1024 * 1024
    assert sum(file.stat().st_size for file in NANO.iterdir()) <= 4 * 1024 * 1024


@shipped
def test_the_recipe_is_that_of_these_weights() -> None:
    recipe = json.loads((NANO / "recipe.json").read_text())
    assert recipe["weights_sha256"] == hashlib.sha256(WEIGHTS.read_bytes()).hexdigest()
    assert recipe["seconds"] > 0 and recipe["environment"]["packages"]["torch"]
    import tomllib

    assert recipe["recipe"] == tomllib.loads((NANO / "recipe.toml").read_text())


@shipped
def test_it_loads_with_a_tokenizer_that_reads_anything() -> None:
    from harness.models.loading import load_model

    model, tokenizer, identity = load_model("nano")
    assert identity == {"name": "nano", "sha256": hashlib.sha256(WEIGHTS.read_bytes()).hexdigest()}
    assert model.generation_config.eos_token_id == tokenizer.eos_token_id != tokenizer.pad_token_id
    for text in ("12-(5-3)+4=", "What is 3 plus 4?", "<think>5-3=2</think>#### 2", "Zürich \N{SNOWMAN}\n\t x"):
        assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    digits = [len(tokenizer(str(n))["input_ids"]) for n in (7, 42)]
    assert digits == [1, 2]


# ---------------------------------------------------------------- splits


def signed(text: str) -> tuple[int, ...]:
    """The signed numbers of a prompt with its brackets opened, sorted: read here, by hand."""
    text = text.replace(" plus ", "+").replace(" minus ", "-").removeprefix("What is ").strip("=?")
    found, sign, stack = [], 1, [1]
    for word in re.findall(r"\d+|[-+()]", text):
        if word in "+-":
            sign = 1 if word == "+" else -1
        elif word == "(":
            stack.append(stack[-1] * sign)
            sign = 1
        elif word == ")":
            stack.pop()
        else:
            found.append(stack[-1] * sign * int(word))
            sign = 1
    return tuple(sorted(found))


def canonical(prompt: str) -> tuple[object, ...]:
    if prompt.startswith("sort "):
        return ("sort", *sorted(map(int, re.findall(r"\d+", prompt))))
    return signed(prompt)


def test_the_reading_of_prompts() -> None:
    assert signed("12-(5-3)+4=") == (-5, 3, 4, 12)
    assert signed("What is 12 minus (5 plus 3) plus 4?") == (-5, -3, 4, 12)
    assert canonical("sort 7 3 12:") == ("sort", 3, 7, 12)


def test_splits_never_meet() -> None:
    """Pretraining, training, selection and every evaluation set, by problems read from their prompts."""
    task = Arithmetic()
    train = {canonical(p.prompt) for p in task.train(0)}
    selection = {canonical(p.prompt) for p in task.selection()}
    tests = {canonical(p.prompt) for s in task.eval_sets() for p in s.problems}
    stream = documents(seed=10, mix=Mixture())
    pretraining = {canonical(prompt) for prompt, _ in itertools.islice(stream, 20_000)}
    assert len(train) == len(task.train(0)) == 4096
    assert len(selection) == 500 and len(tests) > 1000 and len(pretraining) > 10_000
    for one, two in itertools.combinations((train, selection, tests, pretraining), 2):
        assert not one & two
    assert any(key[0] == "sort" for key in tests) and any(key[0] == "sort" for key in pretraining)


def test_a_problem_in_another_dress_stays_in_its_split() -> None:
    """Order, brackets and wording change neither the name nor the split; another number changes the name."""
    rng = random.Random(0)
    for _ in range(300):
        chain = draw_chain(rng, rng.choice((3, 4, 5)), 30)
        numbers = list(chain.flat)
        while rng.shuffle(numbers) or numbers[0] < 0:  # a chain does not begin with a minus
            pass
        other = Chain(tuple(1 if n > 0 else -1 for n in numbers), tuple(abs(n) for n in numbers))
        assert other.canonical == chain.canonical and other.split == chain.split
        assert signed(chain.text) == signed(other.text) == tuple(sorted(chain.flat))
        assert signed(f"What is {chain.words}?") == signed(chain.text)
        numbers[0] += 1 if numbers[0] > 0 else -1
        changed = Chain(tuple(1 if n > 0 else -1 for n in numbers), tuple(abs(n) for n in numbers))
        assert changed.canonical != chain.canonical


def test_training_problems_are_the_same_for_every_seed_and_ids_tell_them_apart() -> None:
    task = Arithmetic(train_size=300, test_size=50, other_size=20)
    assert task.train(0) == task.train(1)
    assert len({p.id for p in task.train(0)}) == 300
    assert {p.id for p in task.train(0)}.isdisjoint(p.id for s in task.eval_sets() for p in s.problems)
    for p in task.train(0):
        assert eval(p.prompt.strip("=")) == int(p.gold)  # noqa: S307  made of digits, signs and brackets


# ---------------------------------------------------------------- solutions


def chains(count: int, seed: int = 0) -> list[Chain]:
    rng = random.Random(seed)
    return [draw_chain(rng, rng.choice((2, 3, 4, 5, 6)), rng.choice((30, 60))) for _ in range(count)]


def test_every_derivation_is_right_by_itself_and_for_the_checker() -> None:
    """Each equation is true and uses up what is on the table: the sum of what is left stays the value."""
    for seed, chain in enumerate(chains(600)):
        rng = random.Random(seed)
        steps = derive(chain, rng)
        assert len(steps) == len(chain.flat) - 1 and steps[-1][3] == chain.value
        for a, op, b, c in steps:
            assert c == (a + b if op == "+" else a - b) and all(0 <= x <= LIMIT for x in (a, b, c))
        text = careful(chain, rng)
        assert check_steps(chain, text) == [True] * (len(chain.flat) - 1)
        assert text.startswith(THINK) and text.endswith(f"{ENDTHINK}{MARK}{chain.value}")


def test_careful_solutions_are_correct_for_the_judge() -> None:
    task = Arithmetic(train_size=100)
    for seed, p in enumerate(task.train(0)):
        rng = random.Random(seed)
        text = careful(Chain.parse(p.source), rng)
        verdict = task.verify(p, text, True)
        assert verdict.strict == verdict.lenient == "correct"
        steps = task.steps(p, text)
        assert steps and all(step.right for step in steps)
        assert all(text[step.end - 1].isdigit() and not text[step.end : step.end + 1].isdigit() for step in steps)


def test_careless_solutions_have_a_wrong_step() -> None:
    right = 0
    for seed, chain in enumerate(chains(600, seed=1)):
        text = careless(chain, random.Random(seed))
        marks = check_steps(chain, text)
        false = [m for m in re.finditer(r"(\d+)([+-])(\d+)=(\d+)", text) if eval(m[1] + m[2] + m[3]) != int(m[4])]  # noqa: S307
        assert len(marks) == len(chain.flat) - 1 and not all(marks)
        assert false, f"no false equation in {text!r} for {chain.text}"
        right += text.endswith(f"{MARK}{chain.value}")
    assert right < 60  # a slip may cancel another's clamp, not more


@pytest.mark.parametrize(("numbers", "least"), [((3, 4), 0.5), ((4,), 0.9)])
def test_most_problems_have_several_derivations(numbers: tuple[int, ...], least: float) -> None:
    sample = list(itertools.islice(problems("train", 0, numbers, 30), 300))
    several = 0
    for chain in sample:
        rng = random.Random(chain.text)
        found = {key_of(careful(chain, rng)) for _ in range(30)}
        several += len(found) > 1
    assert several / len(sample) > least


@pytest.mark.parametrize("mix", [Mixture(), Mixture(careful=0.6, careless=0.05)])
def test_the_mixture_has_its_shares(mix: Mixture) -> None:
    """Within four standard errors, read from the documents alone."""
    found = list(itertools.islice(documents(3, mix), 6000))
    sorting = [d for d in found if d[0].startswith("sort")]
    rest = [d for d in found if not d[0].startswith("sort")]
    worded = [d for d in rest if d[0].startswith("What")]
    styles = {
        "careful": [d for d in rest if THINK in d[1]],
        "careless": [d for d in rest if THINK not in d[1] and "=" in d[1]],
    }

    def near(count: int, total: int, share: float) -> None:
        assert abs(count / total - share) < 4 * (share * (1 - share) / total) ** 0.5

    near(len(sorting), len(found), mix.retention)
    near(len(worded), len(rest), mix.worded)
    near(len(styles["careful"]), len(rest), mix.careful)
    near(len(styles["careless"]), len(rest), mix.careless)
    for prompt, solution in styles["careful"]:
        assert solution.endswith(f"{MARK}{sum(signed(prompt))}")
    for prompt, solution in sorting:
        numbers = sorted(map(int, re.findall(r"\d+", prompt)))
        assert solution == f"{' '.join(map(str, numbers))}\n{MARK}{numbers[-1]}"


# ---------------------------------------------------------------- GRPO teaches it


def train(tmp_path: Path, budget: str, *settings: str) -> tuple[list[dict[str, float]], dict[str, object]]:
    from harness.cli.console.progress import Progress
    from harness.training.run import execute
    from harness.training.setup import prepare

    flags = {"model": "nano", "out": str(tmp_path), "name": "x", "budget": budget, "device": "cpu"}
    run = prepare(resolve(flags, list(settings), None))
    with Progress(quiet=True) as display:
        record = execute(run, display)
    lines = (tmp_path / "x" / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines], record


@shipped
def test_a_short_run_raises_accuracy(tmp_path: Path) -> None:
    """Six rounds at a high rate: from a third right to a half, with longer completions."""
    settings = ("prompts=16", "lr=5e-4", "eval_fractions=1", "eval_limit=1", "keep_checkpoints=0")
    lines, record = train(tmp_path, "completions=1536", *settings)
    accuracy, length = ([line[name] for line in lines] for name in ("accuracy/strict", "completions/mean_length"))
    assert 0.2 < sum(accuracy[:2]) / 2 < 0.45
    assert sum(accuracy[-2:]) / 2 > sum(accuracy[:2]) / 2 + 0.12, accuracy
    assert length[-1] > length[0] + 3, length
    assert record["checks"]["first_update_max_abs_logratio"] < 1e-4  # type: ignore[index]
    close(lines[-1]["budget/fraction"], 1.0)


@shipped
@pytest.mark.slow
def test_a_run_lifts_scores_and_completions_grow(tmp_path: Path) -> None:
    lines, record = train(tmp_path, "completions=4096", "eval_limit=200", "eval_fractions=0,1")
    scores = {
        (r["task"], r["fraction"]): r["value"]
        for r in record["evals"]  # type: ignore[attr-defined]
        if r["metric"] == "exact_match" and r["filter"] == "strict"
    }
    for name in ("arithmetic", "arithmetic_t1"):
        assert 0.2 <= scores[name, 0.0] <= 0.45
        assert scores[name, 1.0] > scores[name, 0.0] + 0.08, scores
    assert lines[-1]["completions/mean_length"] > lines[0]["completions/mean_length"] + 1
