"""Evaluation sets as files: what our own scorer reads is what anyone's lm-eval reads.

A folder holds two files per set, and one that all its sets share; it may be moved as a whole:

    arithmetic.jsonl     one problem per line: {"id", "prompt", "gold", "source"}; `prompt` is what the model sees
    arithmetic.yaml      the lm-eval task: decoding, metric, version, and (in `metadata.judge`) how the task is rebuilt
    task_functions.py    the functions that the YAML names: two lines that call `hooks` below
    task_source.py       a copy of the FILE.py that defines the task, where it is a user's own

    lm_eval run --model hf --model_args pretrained=CHECKPOINT --include_path FOLDER --tasks arithmetic

needs this package beside lm-eval, for the answers are judged by the task's own verifier, and no network; where it is
not installed, the folder says so in one line.  It reports `exact_match` twice, under the filters `strict`
and `lenient`, both decided by the task's own `verify`.  The prompts are rendered already: leave
`--apply_chat_template` off.

A task is rebuilt from `task.spec()`, {"class": "module:Class", "fields": {...}}: the class is imported and called
with the fields.  The module of a user's own task is a file, here `task_source.py` of the folder.  Fields and
`Problem.source` are plain JSON values (no tuples).  Whether an answer is *correct* may not depend on `ended`, which
lm-eval's own models do not report; how a missing answer is counted may.
"""

from __future__ import annotations

import importlib
import json
import re
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, cast

import yaml

from evals.tasks.base import Domain, EvalSet, Problem, Task
from evals.tasks.user_file import import_file, named_errors
from evals.verification.transcript import Transcript, Turn
from evals.verification.verifier import Verdict

Spec = dict[str, Any]  # {"class": "module:Class", "fields": {...}}
Render = Callable[[Problem], str]

HELPER = "task_functions.py"
SOURCE = "task_source.py"


@dataclass(frozen=True)
class TaskFile:
    """One set as it was read back: n problems, and `prompts[i]` as the model sees `problems[i]`."""

    name: str
    domain: Domain
    version: str
    temperature: float  # 0 is greedy
    max_new_tokens: int
    stop: tuple[str, ...]
    spec: Spec
    prompts: list[str]
    problems: list[Problem]


def build(spec: Spec) -> Task:
    """The task that a spec describes.

    build({"class": "evals.tasks.arithmetic:Arithmetic", "fields": {"numbers": [2, 3]}})
    """
    place, _, name = spec["class"].rpartition(":")
    module = import_file(Path(place)) if place.endswith(".py") else importlib.import_module(place)
    cls = getattr(module, name)
    with named_errors(cls):
        return cast(Task, cls(**spec["fields"]))


# ---------------------------------------------------------------- writing

HELPER_TEXT = '''"""What lm-eval calls for the tasks of this folder (written by evals/scoring/task_files.py)."""

try:
    from evals.scoring.task_files import hooks
except ImportError:
    raise ImportError(
        "these tasks judge answers with the verifier of the package that wrote them: beside lm-eval, install "
        "post-training-harness into this environment (pip install WHEEL, or pip install -e ITS_FOLDER)"
    ) from None

docs, strict, lenient, process_results = hooks(__file__)
'''

FUNCTIONS = """\
custom_dataset: !function task_functions.docs
process_results: !function task_functions.process_results
filter_list:
  - name: strict
    filter: [{function: custom, filter_fn: !function task_functions.strict}]
  - name: lenient
    filter: [{function: custom, filter_fn: !function task_functions.lenient}]
"""


def write(
    spec: Spec, eval_sets: Iterable[EvalSet], folder: str | Path, max_new_tokens: int, render: Render | None = None
) -> list[str]:
    """Write each set's files into `folder` (made if missing; sets that it has already stay); the names of the sets.

    `render` turns a problem into what the model sees (a chat template); by default that is its prompt.
    A set without problems is an error: it has no score.
    """
    task = build(spec)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    spec = _with_source(spec, folder)
    names = []
    for s in eval_sets:
        if not re.fullmatch(r"\w[\w.-]*", s.name):
            raise ValueError(f"a set's name is made of letters, digits, '_', '-' and '.', not {s.name!r}")
        if not s.problems:
            raise ValueError(f"the set {s.name!r} has no problems")
        lines = [json.dumps(_doc(p, render), ensure_ascii=False) + "\n" for p in s.problems]
        (folder / f"{s.name}.jsonl").write_text("".join(lines), encoding="utf-8")
        config = yaml.safe_dump(_config(spec, task, s, max_new_tokens), sort_keys=False, allow_unicode=True)
        (folder / f"{s.name}.yaml").write_text(config + FUNCTIONS, encoding="utf-8")
        names.append(s.name)
    (folder / HELPER).write_text(HELPER_TEXT, encoding="utf-8")  # last: lm-eval reloads it when it is newer
    return names


def _with_source(spec: Spec, folder: Path) -> Spec:
    """The spec, of a class in the folder's own copy of its file, so that the folder may be moved as a whole."""
    place, _, name = spec["class"].rpartition(":")
    if not place.endswith(".py"):
        return spec
    if Path(place).resolve() != (folder / SOURCE).resolve():
        shutil.copyfile(place, folder / SOURCE)
    return {**spec, "class": f"{SOURCE}:{name}"}


def _doc(problem: Problem, render: Render | None) -> dict[str, Any]:
    """One line of the JSONL.  `question` is added only where a rendering changed the prompt."""
    if json.loads(json.dumps(problem.source)) != problem.source:
        raise ValueError(f"the source of problem {problem.id} is not plain JSON (a tuple?): {problem.source!r}")
    doc = {"id": problem.id, "prompt": problem.prompt, "gold": problem.gold, "source": problem.source}
    if render is not None:
        doc |= {"prompt": render(problem), "question": problem.prompt}
    return doc


def _config(spec: Spec, task: Task, s: EvalSet, max_new_tokens: int) -> dict[str, Any]:
    """The YAML without its functions.

    Everything that would change the distribution is switched off explicitly, since a checkpoint's
    `generation_config.json` may switch it on (Qwen2.5-Instruct: repetition_penalty, top_k, top_p).
    """
    decoding: dict[str, Any] = {"until": list(task.stop), "max_gen_toks": max_new_tokens}
    if s.temperature > 0:
        decoding |= {"do_sample": True, "temperature": float(s.temperature), "top_k": 0, "top_p": 1.0}
    else:
        decoding |= {"do_sample": False}
    return {
        "task": s.name,
        "output_type": "generate_until",
        "test_split": "test",
        "doc_to_text": "prompt",
        "doc_to_target": "gold",
        "num_fewshot": 0,
        "generation_kwargs": decoding | {"repetition_penalty": 1.0},
        "metric_list": [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}],
        "dataset_kwargs": {"eval_set": s.name},
        "metadata": {"version": s.version, "domain": s.domain, "judge": spec},
    }


# ---------------------------------------------------------------- reading


class _Loader(yaml.SafeLoader):
    """YAML in which a !function is its name."""


_Loader.add_constructor("!function", lambda loader, node: loader.construct_scalar(cast(yaml.ScalarNode, node)))


def names(folder: str | Path) -> list[str]:
    """The sets of a folder, sorted."""
    return sorted(p.stem for p in Path(folder).glob("*.yaml") if p.with_suffix(".jsonl").exists())


def read(folder: str | Path, name: str) -> TaskFile:
    """One set of a folder.  An unknown name is an error that lists the known ones."""
    if name not in (known := names(folder)):
        raise ValueError(f"no task {name!r} in {folder}; it has {', '.join(known) or 'none'}")
    config = yaml.load((Path(folder) / f"{name}.yaml").read_text(encoding="utf-8"), _Loader)  # noqa: S506
    # split at newlines alone: a prompt may hold U+2028 and the like, which splitlines takes for line ends
    lines = (Path(folder) / f"{name}.jsonl").read_text(encoding="utf-8").split("\n")
    docs = [json.loads(line) for line in lines if line]
    decoding, about = config["generation_kwargs"], config["metadata"]
    spec = about["judge"]
    if spec["class"].startswith(f"{SOURCE}:"):
        spec = {**spec, "class": f"{Path(folder) / spec['class']}"}
    return TaskFile(
        name=config["task"],
        domain=about["domain"],
        version=about["version"],
        temperature=decoding.get("temperature", 0.0),
        max_new_tokens=decoding["max_gen_toks"],
        stop=tuple(decoding["until"]),
        spec=spec,
        prompts=[d["prompt"] for d in docs],
        problems=[Problem(d["id"], d.get("question", d["prompt"]), d["gold"], d["source"]) for d in docs],
    )


# ---------------------------------------------------------------- the functions that the YAML names


class Text(str):
    """A completion on its way through lm-eval, which passes on the strings that it receives.

    Our models return it instead of a bare string: it carries `ended` to the verifier and the verdict back to the
    bridge.  For a bare string of another model `ended` is not known (None) and taken as true: that changes no
    accuracy, but a completion that was cut off counts as unparseable.
    """

    ended: bool | None
    verdict: Verdict | None
    turns: tuple[Turn, ...]  # what was asked of tools

    def __new__(cls, text: str, ended: bool | None, turns: tuple[Turn, ...] = ()) -> Text:
        self = super().__new__(cls, text)
        self.ended, self.verdict, self.turns = ended, None, turns
        return self

    @property
    def transcript(self) -> str:
        """The text as tasks read it."""
        return Transcript(str(self), self.turns) if self.turns else str(self)


def hooks(helper: str) -> tuple[Callable[..., Any], ...]:
    """(docs, strict, lenient, process_results) for the sets in the folder of the helper file.

    Helper files of earlier versions import this function from `evals.taskfiles`.

    The filters `strict` and `lenient` turn a completion into its outcome ("correct", "wrong", ...), which
    process_results turns into a number.
    """

    @cache
    def loaded(name: str) -> tuple[TaskFile, Task]:
        file = read(Path(helper).parent, name)
        return file, build(file.spec)

    def docs(eval_set: str, **_: Any) -> dict[str, Any]:
        from datasets import Dataset  # in memory: nothing is cached on disk

        file, _task = loaded(eval_set)
        return {
            "test": Dataset.from_list(
                [
                    {"set": eval_set, "row": i, "id": problem.id, "prompt": prompt, "gold": problem.gold}
                    for i, (problem, prompt) in enumerate(zip(file.problems, file.prompts, strict=True))
                ]
            )
        }

    def verdict(doc: dict[str, Any], text: str) -> Verdict:
        file, task = loaded(doc["set"])
        ours = text if isinstance(text, Text) else Text(text, None)
        if ours.verdict is None:
            ours.verdict = task.verify(file.problems[doc["row"]], str(ours), ours.ended is not False)
        return ours.verdict

    def strict(resps: list[list[str]], docs: list[dict[str, Any]]) -> list[str]:
        return [verdict(doc, texts[0]).strict for texts, doc in zip(resps, docs, strict=True)]

    def lenient(resps: list[list[str]], docs: list[dict[str, Any]]) -> list[str]:
        return [verdict(doc, texts[0]).lenient for texts, doc in zip(resps, docs, strict=True)]

    def process_results(doc: dict[str, Any], results: list[str]) -> dict[str, float]:
        return {"exact_match": float(results[0] == "correct")}

    return docs, strict, lenient, process_results
