"""A run goes on only with what it began with: what stands behind the names of its configuration is compared too."""

from __future__ import annotations

import dataclasses
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from evals.tasks import Problem
from harness.config.run_config import RunConfig, resolve
from harness.models.loading import load_model, save_model
from harness.records.io import write_json
from harness.rewards.reward_model import from_policy
from harness.training.resume.inputs import problems_sha256
from harness.training.setup import prepare

REWARD = "from marks import mark\n\ndef share(problem, completion, verdict):\n    return mark(completion)\n"
ALGORITHM = '''from dataclasses import dataclass
from algos.grpo import GRPO

@dataclass(frozen=True, kw_only=True)
class Mine(GRPO):
    """As it ships."""
'''


class Given:
    """A run's inputs, in files of the user's own."""

    def __init__(self, folder: Path, taught: Path, judge: Path) -> None:
        self.folder, self.model, self.judge = folder, folder / "model", folder / "judge"
        shutil.copytree(taught, self.model)
        shutil.copytree(judge, self.judge)
        rows = [{"question": f"Tom has {n} and {n}?", "answer": f"{n}+{n}={2 * n} #### {2 * n}"} for n in range(20)]
        for name, part in {"train": rows[:12], "test": rows[12:16], "other": rows[16:]}.items():
            self.write(name, part)
        (folder / "share.py").write_text(REWARD)
        (folder / "marks.py").write_text("def mark(text):\n    return len(text)\n")
        (folder / "mine.py").write_text(ALGORITHM)

    def write(self, name: str, rows: list[dict[str, str]]) -> None:
        (self.folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    def rows(self, name: str) -> list[dict[str, str]]:
        return [json.loads(line) for line in (self.folder / f"{name}.jsonl").read_text().splitlines()]

    def edit(self, name: str, old: str, new: str) -> None:
        text = (self.folder / name).read_text()
        assert old in text
        (self.folder / name).write_text(text.replace(old, new))

    def config(self, reward: str, resume: bool = False) -> RunConfig:
        files = {"train_file": "train.jsonl", "test_file": "test.jsonl"}
        task = {name: str(self.folder / file) for name, file in files.items()}
        task |= {"eval_files": {"other": str(self.folder / "other.jsonl")}, "selection_percent": 0}
        fields = {
            "model": str(self.model),
            "task_name": "qa",
            "task": task,
            "out": str(self.folder / "out"),
            "name": "x",
        }
        fields |= {"algo_name": str(self.folder / "mine.py"), "device": "cpu", "max_new_tokens": 8}
        rewards = {"file": f"{self.folder / 'share.py'}:share", "model": "outcome-model"}
        settings = [f"reward_model.name={self.judge}"] if reward == "model" else []
        return resolve({**fields, "reward": rewards[reward], "resume": resume or None}, settings, None)


@pytest.fixture(scope="module")
def judge(taught: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A reward model on the policy's own backbone."""
    model, tokenizer, _ = load_model(str(taught))
    folder = tmp_path_factory.mktemp("judge") / "judge"
    save_model(from_policy(model), tokenizer, folder)
    return folder


@pytest.fixture
def given(tmp_path: Path, taught: Path, judge: Path, monkeypatch: pytest.MonkeyPatch) -> Given:
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "marks", raising=False)
    return Given(tmp_path, taught, judge)


def begin(given: Given, reward: str) -> None:
    """The record of a run that was interrupted, as its folder holds it."""
    run = prepare(given.config(reward))
    run.folder.mkdir(parents=True)
    write_json(run.folder / "record.json", {**run.record, "status": "interrupted"})


def resume(given: Given, reward: str) -> None:
    sys.modules.pop("marks", None)
    prepare(given.config(reward, resume=True))


def reordered(name: str) -> Callable[[Given], None]:
    return lambda g: g.write(name, g.rows(name)[::-1])


def reworded(name: str, column: str, old: str, new: str) -> Callable[[Given], None]:
    return lambda g: g.write(name, [{**row, column: row[column].replace(old, new)} for row in g.rows(name)])


def shorter(name: str) -> Callable[[Given], None]:
    return lambda g: g.write(name, g.rows(name)[1:])


def nudge(folder: str) -> Callable[[Given], None]:
    def change(given: Given) -> None:
        file = given.folder / folder / "model.safetensors"
        tensors = load_file(file)
        name = next(iter(tensors))
        save_file({**tensors, name: tensors[name] + 1e-3}, file, {"format": "pt"})

    return change


def setting(file: str, **fields: Any) -> Callable[[Given], None]:
    return lambda g: (g.folder / file).write_text(json.dumps({**json.loads((g.folder / file).read_text()), **fields}))


# name: (the reward of the run, what is done to its inputs, what the message names)
CHANGED: dict[str, tuple[str, Callable[[Given], None], str]] = {
    "training problems in another order": ("file", reordered("train"), "training problems"),
    "a training problem less": ("file", shorter("train"), "training problems"),
    "another gold": ("file", reworded("train", "answer", "#### 8", "#### 9"), "training problems"),
    "another question": ("file", reworded("train", "question", "Tom", "Ann"), "training problems"),
    "another written solution": ("file", reworded("train", "answer", "4+4=8", "8=4+4"), "training problems"),
    "another test file": ("file", lambda g: g.write("test", g.rows("other")), "evaluation set qa"),
    "test problems in another order": ("file", reordered("test"), "evaluation set qa"),
    "another gold in the test file": ("file", reworded("test", "answer", "#### 26", "#### 27"), "evaluation set qa"),
    "a further test problem less": ("file", shorter("other"), "evaluation set other"),
    "a reward with another sign": ("file", lambda g: g.edit("share.py", "return ", "return -"), "reward "),
    "a module that the reward imports": ("file", lambda g: g.edit("marks.py", "return ", "return -"), "reward "),
    "another algorithm": ("file", lambda g: g.edit("mine.py", "As it", "Not as it"), "algorithm "),
    "the model's weights": ("file", nudge("model"), "model: "),
    "the model's configuration": ("file", setting("model/config.json", rms_norm_eps=1e-3), "configuration and"),
    "the model's end tokens": ("file", setting("model/generation_config.json", eos_token_id=[5]), "configuration and"),
    "a chat template": (
        "file",
        setting("model/tokenizer_config.json", chat_template="Q: {{ messages[0]['content'] }}"),
        "prompts of the training problems",
    ),
    "the reward model's weights": ("model", nudge("judge"), "reward_model: "),
    "the reward model's configuration": ("model", setting("judge/config.json", rms_norm_eps=1e-3), "the reward model"),
}
UNCHANGED: dict[str, Callable[[Given], None]] = {
    "nothing": lambda g: None,
    "the same file written again": lambda g: g.write("train", g.rows("train")),
    "a column that is not read": lambda g: g.write("train", [{**row, "note": "x"} for row in g.rows("train")]),
    "a note in the model's folder": lambda g: (g.model / "README.md").write_text("mine\n") and None,
    "another file beside the reward": lambda g: (g.folder / "unused.py").write_text("x = 1\n") and None,
}


@pytest.mark.parametrize("name", CHANGED)
def test_what_has_changed_since_a_run_began_is_named_and_refused(given: Given, name: str) -> None:
    reward, change, part = CHANGED[name]
    begin(given, reward)
    before = (given.folder / "out/x/record.json").read_bytes()
    change(given)
    with pytest.raises(ValueError, match=f"^resume: {given.folder / 'out/x'} was begun with (an)?other ") as caught:
        resume(given, reward)
    assert part in str(caught.value) and "\n" not in str(caught.value)
    assert (given.folder / "out/x/record.json").read_bytes() == before


@pytest.mark.parametrize("name", UNCHANGED)
def test_what_changes_no_number_is_no_reason_to_refuse(given: Given, name: str) -> None:
    begin(given, "file")
    UNCHANGED[name](given)
    resume(given, "file")


def test_a_chat_template_is_named_as_what_changed(given: Given) -> None:
    begin(given, "file")
    CHANGED["a chat template"][1](given)
    with pytest.raises(ValueError, match="prompts of the training problems, as the model reads them") as caught:
        resume(given, "file")
    assert "evaluation set" not in str(caught.value)


def test_what_an_old_record_does_not_hold_is_not_compared(given: Given) -> None:
    """Records of before this table have hashes of their evaluation sets alone; older ones have none."""
    begin(given, "file")
    file = given.folder / "out/x/record.json"
    record = json.loads(file.read_text())
    del record["environment"]["inputs"]
    write_json(file, record)
    reordered("train")(given)
    resume(given, "file")
    reordered("test")(given)
    with pytest.raises(ValueError, match="ids and golds of qa, ids and golds of qa_t1|ids and golds of qa; "):
        resume(given, "file")
    del record["environment"]["data"], record["environment"]["prompt_sha256"]
    write_json(file, record)
    resume(given, "file")


def test_written_solutions_are_hashed_as_they_are_trained_on(given: Given) -> None:
    """One problem may differ in its solution alone."""
    problem = Problem("1", "2+2=", "4", {"answer": "2+2=4 #### 4"})
    others = [dataclasses.replace(problem, **{name: "5"}) for name in ("id", "prompt", "gold", "source")]
    assert len({problems_sha256([p]) for p in [problem, *others]}) == 5
    assert problems_sha256([problem, others[0]]) != problems_sha256([others[0], problem])
