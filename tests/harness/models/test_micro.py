"""micro: a recipe without weights.  What it reads, that the recipe builds at small sizes, and who is told what."""

from __future__ import annotations

import itertools
import json
import random
import re
import sys
from pathlib import Path

import pytest

from evals.tasks.data.stories import check_steps, draw_story
from evals.tasks.word_problems import WordProblems
from harness.cli import main
from harness.config.run_config import resolve
from harness.config.start_models import MODELS, embedded_models, is_recipe_alone
from harness.models.pretraining import recipes
from harness.models.pretraining.story_corpus import StoryMixture, careful, careless, documents
from tests.harness.tiny_models import shrink


def call(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["harness", *words])
    with pytest.raises(SystemExit) as end:
        main.main()
    return int(end.value.code or 0)


# ---------------------------------------------------------------- what it reads


@pytest.mark.parametrize("mix", [StoryMixture(), StoryMixture(careful=0.6, careless=0.05)])
def test_the_mixture_has_its_shares(mix: StoryMixture) -> None:
    """Within four standard errors, read from the documents alone."""
    found = list(itertools.islice(documents(3, mix), 4000))
    stories = [d for d in found if not d[0].startswith("sort")]
    lines = [d for d in stories if "=" in d[1]]
    sentences = [d for d in lines if d[1][1].isalpha()]

    def near(count: int, total: int, share: float) -> None:
        assert abs(count / total - share) < 4 * (share * (1 - share) / total) ** 0.5

    near(len(found) - len(stories), len(found), mix.retention)
    near(len(sentences), len(stories), mix.careful)
    near(len(lines) - len(sentences), len(stories), mix.careless)
    for prompt, solution in sentences:
        marks = check_steps(prompt, solution)
        assert marks and all(marks)
    assert not any(re.search("an hour|miles", prompt) for prompt, _ in stories)


def equations(solution: str) -> tuple[tuple[str, ...], ...]:
    """What a problem is, read from a solution to it: its equations, of a sum or a product in no order."""
    found = re.findall(r"(\d+) ([-+*/]) (\d+) =", solution)
    return tuple((op, *sorted((a, b))) if op in "+*" else (op, a, b) for a, op, b in found)


def test_what_it_reads_is_no_problem_of_the_task() -> None:
    task = WordProblems(test_size=300, other_size=200)
    drawn = [*task.train(), *task.selection(), *(p for s in task.eval_sets()[:-1] for p in s.problems)]
    problems = {equations(p.source) for p in drawn}
    stream = documents(10, StoryMixture(careful=1.0, retention=0.0))
    read = [equations(solution) for _, solution in itertools.islice(stream, 8000)]
    assert not problems & set(read) and len(problems) > 5000
    assert len(set(read)) < len(read)  # equal problems do come up, and would be seen


def test_careless_solutions_have_a_wrong_step_that_is_carried_on() -> None:
    right, rng = 0, random.Random(1)
    for _ in range(300):
        story = draw_story(rng, rng.choice((2, 3, 4)))
        text = careless(story, rng)
        assert not all(check_steps(story.text, text)) and len(text.split("\n")) == len(story.lines) + 1
        right += text.endswith(f"#### {story.value}")
        assert careful(story, rng).endswith(f"#### {story.value}")
    assert right < 30  # a slip may cancel another's clamp or be divided away, not more


# ---------------------------------------------------------------- what it makes


@pytest.fixture(scope="module")
def micro(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The recipe, made at tiny sizes through the command line."""
    folder = tmp_path_factory.mktemp("micro") / "micro"
    with pytest.MonkeyPatch.context() as patch:
        shrink(patch)
        words = ("pretrain", "micro", "--updates", "2", "--device", "cpu", "--out", str(folder))
        assert call(patch, *words) == 0
    return folder


def test_the_recipe_builds(micro: Path) -> None:
    said = json.loads((micro / "recipe.json").read_text())
    assert [s["updates"] for s in said["stages"]] == [2, 2, 2] and said["recipe"]["corpus"] == "stories"
    assert all(s["documents_too_long"] == 0 for s in said["stages"])
    for name in ("recipe.toml", "model_defaults.toml"):
        assert (micro / name).read_text() == (MODELS / "micro" / name).read_text()


def test_its_size_is_what_the_recipe_says() -> None:
    shape = recipes.recipe_of("micro")["shape"]
    h, m = shape["hidden_size"], shape["intermediate_size"]
    assert round((shape["num_hidden_layers"] * (4 * h * h + 3 * h * m) + 630 * h) / 1e6, 1) == 25.6


@pytest.mark.parametrize("algo", ["grpo", "ppo", "rft"])
def test_a_run_goes_from_it(micro: Path, tmp_path: Path, algo: str, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["run", "--model", str(micro), "--task", "word_problems", "--algo", algo, "--group-size", "2"]
    words += ["--budget", "generated_tokens=40", "--max-new-tokens", "6", "--eval-limit", "1", "--device", "cpu"]
    words += ["--out", str(tmp_path), "--name", "x", "--quiet", "--set", "prompts=2", "--set", "task.train_size=8"]
    assert call(monkeypatch, *words) == 0
    record = json.loads((tmp_path / "x" / "record.json").read_text())
    assert {r["task"] for r in record["evals"]} >= {"word_problems_longer", "word_problems_unseen", "sorting"}
    assert record["config"]["sources"]["micro_batch_tokens"] == "profile"


# ---------------------------------------------------------------- who is told what

ASKED = {"run": ["run", "--model", "micro"], "plan": ["plan", "--model", "micro"]}


@pytest.mark.parametrize("words", ASKED.values(), ids=ASKED)
def test_a_model_without_weights_is_refused(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert call(monkeypatch, *words) == 2 and not any(tmp_path.iterdir())
    made = "`harness pretrain micro --device cuda` makes them; then --model FOLDER"
    assert capsys.readouterr().err == f"error: model: micro has no weights here: {made}\n"


def test_what_is_embedded() -> None:
    assert embedded_models() == ["lookup", "micro", "nano", "smollm2-135m", "smollm2-math"]
    assert [name for name in (*embedded_models(), "elsewhere") if is_recipe_alone(name)] == ["micro", "smollm2-math"]
    assert sum(file.stat().st_size for file in (MODELS / "micro").iterdir()) < 10_000


def test_the_profile_holds_for_its_folder(micro: Path) -> None:
    config = resolve({"model": str(micro)}, [], None)
    assert (config.max_new_tokens, config.prompts, config.group_size) == (128, 32, 16)


def test_the_study_names_five_arms_with_equal_trials() -> None:
    from harness.studies import study

    found = study.load("compare_micro")
    assert len(found.arms) == 5 and len(found.seeds) == 5
    assert len(found.trials()) == 20 and len(found.runs()) == 25
    assert {cell.config("results").budget for cell in found.runs()} == {"generated_tokens=600000"}
