"""eval, show and push over a run's folder, and its model card."""

from __future__ import annotations

import base64
import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard

from harness.api.finished import files_to_push, push_run
from harness.cli.outputs.score_table import score_table
from harness.config.errors import PushFailed
from harness.records.sharing.model_card import card_text
from harness.training.evaluation import CheckpointScores
from tests.harness.cli.test_main import Call, one_line
from tests.harness.cli.test_main import call as call  # noqa: PLC0414


@pytest.fixture(scope="module")
def finished(taught: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run's folder, which nobody writes to."""
    import harness

    out = tmp_path_factory.mktemp("finished")
    settings = {"task.train_size": 16, "task.test_size": 8, "task.other_size": 2, "eval_fractions": "0,1"}
    return harness.run("grpo", model=taught, budget="completions=16", out=out, name="x", settings=settings).folder


# --- eval ----------------------------------------------------------------------------------------------------------


def row(task: str, metric: str, value: float, filter: str = "strict", **more: Any) -> dict[str, Any]:
    return {"task": task, "metric": metric, "filter": filter, "value": value, "stderr": 0.1, "n": 40,
            "scorer": "direct", **more}  # fmt: skip


SCORES = CheckpointScores(
    "m",
    "qa",
    [
        row("qa", "exact_match", 0.5),
        row("qa", "exact_match", 0.75, "lenient"),
        row("qa", "unparseable", 0.125),
        row("qa", "truncated", 0.0),
        row("qa", "verifier_error", 0.025),
        row("a_set_with_a_very_long_name_indeed", "exact_match", 1.0),
        row("qa_x4", "exact_match", 0.5, n=160),
        row("qa_x4", "pass@1", 0.5),
        row("qa_x4", "maj@1", 0.5),
        row("qa_x4", "pass@2", 0.7),
        row("hellaswag", "acc", 0.31, "none"),
        row("gsm8k", "exact_match", 0.2, "flexible-extract"),
    ],
    {"qa_x4": 4},
)


def test_a_set_is_one_line_of_at_most_80_columns() -> None:
    lines = score_table(SCORES).splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[1].split() == ["qa", "50.0", "%", "35.2-64.8", "75.0", "%", "12.5", "%", "0.0", "%", "40"]
    assert lines[2] == "  the verifier failed on 2.5 %"
    assert lines[3] == "a_set_with_a_very_long_name_indeed" and lines[4].split()[:2] == ["100.0", "%"]
    assert lines[5].split()[:4] == ["qa_x4", "50.0", "%", "30.4-69.6"]  # over problems: 0.5 +- 1.96 x 0.1
    assert lines[6:8] == ["  pass@1 50.0 %  pass@2 70.0 %", "  maj@1 50.0 %"]
    assert lines[8] == "hellaswag" and lines[9].split() == ["acc", "0.310", "+-", "0.100", "n", "40"]
    assert lines[11].split()[:3] == ["exact_match,", "flexible-extract", "0.200"]


def test_a_runs_model_is_scored_on_its_own_task(call: Call, finished: Path, tmp_path: Path) -> None:
    """As its record has it: the same prompts, sets and model give the same numbers."""
    code, said, error = call("eval", str(finished), "--out", str(tmp_path / "scores.json"))
    assert (code, error) == (0, "") and max(map(len, said.splitlines())) <= max(80, len(str(finished)) + 70)
    assert len(said.splitlines()) == 1 + 6 + 2  # a head, six sets, what was scored
    scored = {(r["task"], r["metric"], r["filter"]): r["value"]
              for r in json.loads((tmp_path / "scores.json").read_text())["rows"]}  # fmt: skip
    record = json.loads((finished / "record.json").read_text())
    recorded = {(r["task"], r["metric"], r["filter"]): r["value"] for r in record["evals"] if r["fraction"] == 1}
    assert scored == recorded
    code, said, error = call("eval", str(finished), "--task", "arithmetic", "--eval-limit", "3", "--json")
    assert code == 0 and {r["n"] for r in json.loads(said)["rows"]} == {3}  # without the run's own test_size


def test_a_run_without_a_final_model_says_so(call: Call, finished: Path, tmp_path: Path) -> None:
    record = json.loads((finished / "record.json").read_text())
    (tmp_path / "record.json").write_text(json.dumps({**record, "status": "interrupted"}))
    for command in (["eval", str(tmp_path)], ["push", str(tmp_path), "me/x"]):
        code, _, said = call(*command)
        assert code == 2 and "final" in one_line(said) and "interrupted" in said


def test_a_place_that_cannot_be_written_is_found_before_anything_is_scored(call: Call, finished: Path) -> None:
    for place in ("/nowhere/at/all.json", str(finished)):
        code, _, said = call("eval", str(finished), "--out", place)
        assert code == 2 and "out: " in one_line(said)


# --- show, version, help -------------------------------------------------------------------------------------------


def test_show_prints_the_tables_that_a_run_ended_with(
    call: Call, finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    code, said, error = call("show", str(finished))
    assert (code, error) == (0, "") and "grpo, arithmetic" in said and "finished" in said and "sorting" in said
    assert f"model: {finished}/checkpoints/final" in said and "notice: " in said
    plain = [
        line for line in said.splitlines() if not line.startswith(("notice", "model", "rounds", "samples", "record"))
    ]
    assert max(len(line) for line in plain if "/" not in line) <= 80
    code, said, _ = call("show", str(finished), "--json")
    assert code == 0 and json.loads(said)["status"] == "finished"
    code, _, said = call("show", str(finished.parent))
    assert code == 2 and "no such record" in one_line(said)


def test_the_version_and_the_short_help(call: Call) -> None:
    code, said, error = call("--version")
    assert (code, error) == (0, "") and said.startswith("post-training-harness ") and "torch" in said
    for words in (["-h"], ["run", "-h"], ["bench", "-h"]):
        code, said, _ = call(*words)
        assert code == 0 and "Usage: " in said
    code, said, _ = call("--help")
    assert "--show-completion" in said


# --- the card ------------------------------------------------------------------------------------------------------


def test_the_card_holds_the_records_numbers(finished: Path) -> None:
    file = finished / "checkpoints" / "final" / "README.md"
    record = json.loads((finished / "record.json").read_text())
    card = ModelCard.load(file)
    end = {r["task"]: r for r in record["evals"]
           if r["fraction"] == 1 and (r["metric"], r["filter"]) == ("exact_match", "strict")}  # fmt: skip
    told = {r.dataset_type: r.metric_value for r in card.data.eval_results}
    assert told == {name: round(r["value"], 4) for name, r in end.items()} and len(told) == 6
    for name, r in end.items():
        assert f"| {name} |" in card.text and f"| {100 * r['value']:.1f} % |" in card.text
    assert record["config_sha256"][:16] in card.text and "algo.kl_coef" in card.text
    assert card.data.library_name == "transformers" and "grpo" in card.data.tags


@pytest.mark.parametrize(
    ("model", "base"), [("Qwen/Qwen2.5-0.5B", "Qwen/Qwen2.5-0.5B"), ("./folder", None), ("nano", None)]
)
def test_the_base_model_is_named_where_the_hub_has_it(model: str, base: str | None, finished: Path) -> None:
    record = json.loads((finished / "record.json").read_text())
    record["config"]["model"] = model
    record["config"]["system_prompt"] = "Think {{ first }}."  # a template's braces are text
    card = ModelCard(card_text(record))
    assert card.data.base_model == base and "Think {{ first }}." in card.text
    ModelCard(card_text({**record, "evals": []}))


# --- push: a hub of our own ---------------------------------------------------------------------------------------


class Hub(http.server.BaseHTTPRequestHandler):
    """As much of the hub's interface as a push needs; it keeps what it was sent."""

    asked: list[tuple[str, str, bytes]] = []
    refuse = 0

    def log_message(self, *words: object) -> None: ...

    def _reply(self, body: Any, status: int = 200) -> None:
        text = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def do_POST(self) -> None:  # noqa: N802
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        Hub.asked.append((self.command, self.path, body))
        base = f"http://{self.headers['Host']}"
        if Hub.refuse:
            self._reply({"error": "You have no right to do that"}, Hub.refuse)
        elif self.path.endswith("/repos/create"):
            name = f"{json.loads(body).get('organization')}/{json.loads(body)['name']}"
            self._reply({"url": f"{base}/{name}", "name": name, "id": name})
        elif "/preupload/" in self.path:
            files = json.loads(body)["files"]
            self._reply({"files": [{"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in files]})
        elif "/commit/" in self.path:
            self._reply({"commitUrl": f"{base}/me/x/commit/{'0' * 40}", "commitOid": "0" * 40, "success": True})
        else:
            self._reply({})

    def do_GET(self) -> None:  # noqa: N802
        Hub.asked.append((self.command, self.path, b""))
        self._reply({"id": "me/x", "sha": "0" * 40, "siblings": [], "xetEnabled": False})


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    Hub.asked, Hub.refuse = [], 0
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    address = f"http://127.0.0.1:{server.server_address[1]}"
    import huggingface_hub.constants
    import huggingface_hub.hf_api as hf_api

    for module in (huggingface_hub.constants, hf_api):
        monkeypatch.setattr(module, "ENDPOINT", address, raising=False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(hf_api.HfApi.__init__, "__defaults__", (address, *hf_api.HfApi.__init__.__defaults__[1:]))
    for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_TOKEN", "hf_none")
    yield address
    server.shutdown()
    server.server_close()


def test_a_push_sends_model_card_and_record(hub: str, finished: Path, call: Call) -> None:
    code, said, error = call("push", str(finished), "me/x", "--private")
    assert (code, error) == (0, ""), error
    assert said.strip() == f"pushed to {hub}/me/x"
    created = next(json.loads(body) for _, path, body in Hub.asked if path.endswith("/repos/create"))
    assert created["name"] == "x"
    (commit,) = (body for _, path, body in Hub.asked if "/commit/" in path)
    sent = {json.loads(line)["value"].get("path") for line in commit.decode().splitlines()}
    assert {"README.md", "config.json", "model.safetensors", "tokenizer.json", "run/record.json"} <= sent
    values = [json.loads(line)["value"] for line in commit.decode().splitlines()]
    (card,) = [value for value in values if value.get("path") == "README.md"]
    assert b'from_pretrained("me/x")' in base64.b64decode(card["content"])


def test_what_would_be_pushed(call: Call, finished: Path) -> None:
    code, said, _ = call("push", str(finished), "me/x", "--dry-run")
    assert code == 0 and "README.md" in said and "run/record.json" in said
    (finished / "checkpoints" / "final" / "link").symlink_to("/etc/hostname")
    try:
        assert "link" not in dict(files_to_push(finished, "me/x"))
    finally:
        (finished / "checkpoints" / "final" / "link").unlink()


@pytest.mark.parametrize("repo", ["x", "me/x/y", "me/..", "me/a b"])
def test_a_name_that_is_no_repositorys(repo: str, call: Call, finished: Path) -> None:
    code, _, said = call("push", str(finished), repo)
    assert code == 2 and "repo: " in one_line(said)


def test_a_hub_that_refuses_is_one_line(hub: str, finished: Path, call: Call) -> None:
    Hub.refuse = 403
    code, _, said = call("push", str(finished), "me/x")
    assert code == 1 and one_line(said).startswith("error: push to me/x: ")
    with pytest.raises(PushFailed, match="push to me/x: "):
        push_run(finished, "me/x")
