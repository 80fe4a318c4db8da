"""`harness rescore`: old texts, judged anew; nothing is written."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from pathlib import Path

import pytest

from harness.config.run_config import RunConfig
from harness.reports.rescore import rescore, table
from tests.harness.record_factory import a_record, write
from tests.helpers import ROOT

TEXTS = [  # text, gold, the strict and lenient verdicts of an older judge
    ("#### 14", "14", "correct", "correct"),
    ("#### 28/2", "14", "correct", "correct"),  # now wrong, in both readings
    (r"#### \text{\$}14", "14", "wrong", "correct"),  # now correct
    ("12+2", "14", "truncated", "truncated"),
    ("hm", "14", "unparseable", "unparseable"),
]


def run_folder(folder: Path, task: str = "qa") -> Path:
    """A run on `task` with TEXTS in one set of outcomes and in its samples."""
    record = a_record("arm", 0, [0.4], [1.0])
    config = RunConfig(task_name=task, task={"test_file": "unread"} if task == "qa" else {}, eval_tasks=("stock",))
    write(folder, {**record, "evals": [], "config": {**record["config"], **config.as_dict()}})
    rows = [
        {"id": str(i), "prompt": "?", "gold": gold, "text": text, "strict": strict, "lenient": lenient, "answer": None,
         "ended": strict != "truncated"}
        for i, (text, gold, strict, lenient) in enumerate(TEXTS)
    ]  # fmt: skip
    rows.append({"id": "9", "strict": "correct", "lenient": "correct", "ended": True})  # its text was not kept
    for name in ("qa-0.5", "stock-1"):
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"outcomes/{name}.jsonl.gz").write_bytes(gzip.compress(lines.encode(), mtime=0))
    samples = [
        {"round": 1, "prompt": "?", "completion": text, "gold": gold, "reward": 0.0, "verdict": strict}
        for text, gold, strict, _ in TEXTS
    ]
    (folder / "samples.jsonl").write_text("".join(json.dumps(sample) + "\n" for sample in samples))
    return folder


def snapshot(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_verdicts_that_moved_are_counted_by_set_and_direction(tmp_path: Path) -> None:
    run_folder(tmp_path / "study/arm/seed0")
    before = snapshot(tmp_path)
    result = rescore([tmp_path])
    assert result.runs == 1 and result.verdicts == {"qa": 10, "training": 5}  # lm-eval's own set is left alone
    assert result.moves == {
        ("qa", "strict", "correct", "wrong"): 1,
        ("qa", "lenient", "correct", "wrong"): 1,
        ("qa", "strict", "wrong", "correct"): 1,
        ("training", "strict", "correct", "wrong"): 1,
        ("training", "strict", "wrong", "correct"): 1,
    }
    text = table(result, show=2)
    assert text.startswith("1 runs, 15 verdicts judged anew, 5 moved") and "28/2" in text
    assert snapshot(tmp_path) == before


def test_a_task_that_is_not_there_is_named_and_left_out(tmp_path: Path) -> None:
    run_folder(tmp_path / "a")
    folder = run_folder(tmp_path / "b")
    record = json.loads((folder / "record.json").read_text())
    record["config"]["task_name"] = "gone"
    (folder / "record.json").write_text(json.dumps(record))
    result = rescore([tmp_path])
    assert result.runs == 1 and len(result.left_out) == 1 and "gone" in table(result, 0)


@pytest.mark.parametrize(
    ("file", "content"),
    [("outcomes/qa-0.5.jsonl.gz", b"no gzip"), ("samples.jsonl", b"{"), ("samples.jsonl", b'{"prompt": "?"}'),
     ("record.json", b"{}")],
)  # fmt: skip
def test_a_broken_file_is_one_line_that_names_it(tmp_path: Path, file: str, content: bytes) -> None:
    (run_folder(tmp_path / "run") / file).write_bytes(content)
    with pytest.raises(ValueError, match=file.split("/")[-1]) as error:
        rescore([tmp_path])
    assert "\n" not in str(error.value)


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none"):
        with pytest.raises(ValueError, match="no run in it"):
            rescore([path])


def test_the_command_needs_no_torch(tmp_path: Path) -> None:
    run_folder(tmp_path / "run")
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from harness.cli.main import app\n"
        f"app(['rescore', {str(tmp_path)!r}, '--show', '1'], standalone_mode=False)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0 and "15 verdicts judged anew, 5 moved" in done.stdout, done.stderr
