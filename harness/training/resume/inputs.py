"""What a run is given, hashed: the same names in a configuration may come to hold something else.

A record keeps the hashes under `environment.inputs`; a run is resumed only where they hold.
"""

from __future__ import annotations

import ast
import hashlib
import json
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType

from evals.tasks import EvalSet, Problem
from harness.config.experiment import Experiment
from harness.config.lora import base_of, is_adapter
from harness.models.files import packaged
from harness.records.checksums import file_sha256
from harness.records.io import sha256

OURS = ("algos", "evals", "harness")  # the record's commit and versions say what these are
# Of a model's folder, what decides on its numbers and its tokens beside the weights.
MODEL_FILES = (
    "config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
    "added_tokens.json", "tokenizer.model", "vocab.json", "merges.txt", "chat_template.jinja", "chat_template.json",
)  # fmt: skip


def hash_inputs(
    experiment: Experiment, problems: Sequence[Problem], eval_sets: Iterable[EvalSet], prompts: dict[str, str]
) -> dict[str, str]:
    """What -> sha256.  `prompts` are those of the token ids that the model reads, by set (`read_prompts`)."""
    config, inputs = experiment.config, {"training problems": problems_sha256(problems)}
    inputs |= {f"evaluation set {s.name}": problems_sha256(s.problems) for s in eval_sets}
    inputs |= {f"prompts of {name}, as the model reads them": digest for name, digest in prompts.items()}
    if config.data:
        inputs["data"] = file_sha256(Path(config.data))
    if (reward := config.reward.rpartition(":")[0]).endswith(".py") and (rows := rows_sha256(problems, Path(reward))):
        inputs["columns of the training problems"] = rows
    own = {"algorithm": config.algo_name, "task": config.task_name, "reward": config.reward.rpartition(":")[0]}
    own |= {f"algo.{field}": file for field, file in own_files(vars(experiment.algo)).items()}
    inputs |= {f"{what} {file}": source_sha256(Path(file)) for what, file in own.items() if file.endswith(".py")}
    named = experiment.reward_model.name if experiment.reward_model else None
    base = base_of(config.model) if is_adapter(config.model) else config.model
    folders = {"model": packaged.folder_of(base), f"reward model {named}": Path(named or "-")}
    for what, folder in folders.items():
        if folder is not None and folder.is_dir():  # what comes from the hub has a revision
            inputs[f"configuration and tokenizer of the {what}"] = files_sha256(folder)
    return inputs


def problems_sha256(problems: Sequence[Problem]) -> str:
    """Of ids, prompts, golds and sources (which hold written solutions), in their order."""
    digest = hashlib.sha256()
    for p in problems:
        digest.update(json.dumps([p.id, p.prompt, p.gold, p.source], sort_keys=True, default=repr).encode() + b"\n")
    return digest.hexdigest()


def rows_sha256(problems: Sequence[Problem], reward: Path) -> str:
    """Of the columns of their data rows that a user's reward may read, in their order; "" where it reads none.

    It may read all where its file has the word `row` or takes `**columns`, else those that it names.
    """
    source = reward.read_text(encoding="utf-8")
    every = re.search(r"\brow\b|\*\*", source) is not None
    columns = {name for p in problems for name in p.row}
    read = {name for name in columns if every or re.search(rf"\b{re.escape(str(name))}\b", source)}
    digest = hashlib.sha256()
    for p in problems:
        row = {name: value for name, value in p.row.items() if name in read}
        digest.update(json.dumps(row, sort_keys=True, default=_no_address).encode() + b"\n")
    return digest.hexdigest() if read else ""


def _no_address(value: object) -> str:
    """An object's text, without where it lay in memory."""
    return re.sub(r" at 0x[0-9a-fA-F]+", "", repr(value))


def files_sha256(folder: Path) -> str:
    """Of those MODEL_FILES that a folder has."""
    digests = {name: sha256((folder / name).read_bytes()) for name in MODEL_FILES if (folder / name).is_file()}
    return sha256(json.dumps(digests, sort_keys=True).encode())


def own_files(fields: Mapping[str, object]) -> dict[str, str]:
    """The fields whose value is FILE.py:member, and the file."""
    texts = {name: value for name, value in fields.items() if isinstance(value, str) and ".py:" in value}
    return {name: text.rpartition(":")[0] for name, text in texts.items()}


def source_sha256(file: Path) -> str:
    """Of a user's own FILE.py and of the modules beside it, or below, that it imports."""
    seen: dict[Path, str] = {}
    _add_source(file.resolve(), file.resolve().parent, seen)
    named = {str(path.relative_to(file.resolve().parent)): digest for path, digest in seen.items()}
    return sha256(json.dumps(named, sort_keys=True).encode())


def _add_source(file: Path, root: Path, seen: dict[Path, str]) -> None:
    source = file.read_bytes()
    seen[file] = sha256(source)
    for module in _imported(source):
        other = Path(getattr(module, "__file__", None) or "").resolve()
        if other.suffix == ".py" and other.is_relative_to(root) and other not in seen:
            _add_source(other, root, seen)


def _imported(source: bytes) -> Iterator[ModuleType]:
    """The modules that are loaded under the names that a source imports, wherever in it."""
    for node in ast.walk(ast.parse(source)):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        for name in names:
            top = name.partition(".")[0]
            if top not in OURS and top not in sys.stdlib_module_names and name in sys.modules:
                yield sys.modules[name]
