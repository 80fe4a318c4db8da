from __future__ import annotations

import logging
import random
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evals.scoring import task_files
from evals.scoring.scorer import Completion, Decoding, EvalRow, cut, score_direct
from evals.tasks import EvalSet, Problem, Task
from evals.verification.verifier import VERSION, Outcome, Verdict

pytest.importorskip("lm_eval")
import torch  # noqa: E402

from evals.scoring import lm_eval_bridge as bridge  # noqa: E402
from tests.helpers import close


class Words(Task):
    """Strictly the completion's first word is the gold one, leniently any is; 'boom' breaks the verifier."""

    name = "words"

    def __init__(self, stop: list[str] | None = None) -> None:
        self.stop = tuple(stop or ())

    def spec(self) -> task_files.Spec:
        return {"class": f"{__name__}:Words", "fields": {"stop": list(self.stop)}}

    def train(self, seed: int) -> Sequence[Problem]:
        return []

    def eval_sets(self, limit: int | None = None) -> list[EvalSet]:
        return []

    def verify(self, problem: Problem, completion: str, ended: bool) -> Verdict:
        words = completion.split()
        if "boom" in words:
            return Verdict("verifier_error", "verifier_error", None)
        if problem.gold not in words:
            lost: Outcome = "wrong" if len(words) > 1 else "unparseable" if ended else "truncated"
            return Verdict(lost, lost, None)
        return Verdict("correct" if words[0] == problem.gold else "wrong", "correct", words[0])


COMPLETIONS = [("yes", True), ("so yes", True), ("no no", True), ("", True), ("", False), ("boom", True)]


def scripted(prompts: list[str], decoding: Decoding) -> list[Completion]:
    """Consumes every random state, and prints nothing."""
    random.random(), np.random.rand(), torch.rand(1)
    start = len(decoding.stream)
    return [Completion(*COMPLETIONS[(start + i) % len(COMPLETIONS)]) for i in range(len(prompts))]


def write(folder: Path, n: int = 20) -> list[str]:
    problems = [Problem(f"id{i}", f"ask {i}", "yes") for i in range(n)]
    sets = [EvalSet("b_words", "in", problems), EvalSet("a_words_t1", "out", problems[:7], temperature=0.7)]
    return task_files.write(Words().spec(), sets, folder, max_new_tokens=5)


def same(ours: list[EvalRow], theirs: list[EvalRow]) -> None:
    assert [r["scorer"] for r in ours + theirs] == ["direct"] * len(ours) + ["lm_eval"] * len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        numbers = ("value", "stderr")
        assert {k: v for k, v in a.items() if k not in (*numbers, "scorer")} == {
            k: v for k, v in b.items() if k not in (*numbers, "scorer")
        }
        close([a["value"], a["stderr"]], [b["value"], b["stderr"]])


def test_both_scorers_agree(tmp_path: Path) -> None:
    names = write(tmp_path)
    ours = score_direct(tmp_path, names, scripted)
    theirs = bridge.score_lm_eval(tmp_path, names, scripted)
    same(ours.rows, theirs.rows)
    assert ours.outcomes == theirs.outcomes
    rates = {(r["filter"], r["metric"]): r["value"] for r in theirs.rows[:5]}
    assert rates["strict", "exact_match"] < rates["lenient", "exact_match"]
    assert min(rates["strict", m] for m in ("unparseable", "truncated", "verifier_error")) > 0
    one = bridge.score_lm_eval(tmp_path, names[:1], lambda p, d: scripted(p, d)[: len(p)])
    assert one.rows == theirs.rows[:5], "a set's rows do not depend on the others"


def test_one_problem_has_no_standard_error(tmp_path: Path) -> None:
    names = write(tmp_path, n=1)
    same(score_direct(tmp_path, names, scripted).rows, bridge.score_lm_eval(tmp_path, names, scripted).rows)


def test_the_run_is_not_disturbed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    names = write(tmp_path)
    logger = logging.getLogger("lm_eval")
    logger.setLevel(logging.INFO)
    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()  # type: ignore[index]
    bridge.score_lm_eval(tmp_path, names, scripted)
    assert random.getstate() == before[0]
    assert np.random.get_state()[1].tolist() == before[1]  # type: ignore[index]
    assert torch.equal(torch.get_rng_state(), before[2])
    assert logger.level == logging.INFO
    assert capfd.readouterr() == ("", "")


def test_a_moved_folder_and_bare_strings(tmp_path: Path) -> None:
    """The folder is self-contained, and a model that knows nothing of ours gets the same accuracies."""
    from lm_eval import evaluator
    from lm_eval.api.model import LM
    from lm_eval.tasks import TaskManager

    class Bare(LM):
        def generate_until(self, requests: list[Any], disable_tqdm: bool = False) -> list[str]:
            assert requests[0].args == ("ask 0", {**requests[0].args[1], "until": [], "max_gen_toks": 5})
            return [c.text for c in scripted([r.args[0] for r in requests], Decoding(0, 5, (), "eval/b_words"))]

        def loglikelihood(self, requests: list[Any]) -> Any: ...
        def loglikelihood_rolling(self, requests: list[Any]) -> Any: ...

    write(tmp_path / "old")
    direct = score_direct(tmp_path / "old", ["b_words"], scripted)
    ours, first = direct.rows, direct.outcomes["b_words"][0]
    shutil.move(tmp_path / "old", tmp_path / "new")
    tasks = TaskManager(include_path=str(tmp_path / "new"), include_defaults=False).load(["b_words"])
    result = evaluator.evaluate(Bare(), tasks, log_samples=True)
    found = result["results"]["b_words"]
    for row in ours[:2]:
        close(found[f"exact_match,{row['filter']}"], row["value"])
        close(found[f"exact_match_stderr,{row['filter']}"], row["stderr"])
    assert result["versions"] == {"b_words": VERSION}
    sample = result["samples"]["b_words"][0]
    assert (sample["filter"], sample["filtered_resps"]) == ("strict", [first["strict"]])
    assert sample["doc"] == {"set": "b_words", "row": 0, "id": "id0", "prompt": "ask 0", "gold": "yes"}
    same(ours, bridge.score_lm_eval(tmp_path / "new", ["b_words"], scripted).rows)


def test_a_disagreement_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = write(tmp_path)
    rows_of = bridge.rows_of
    monkeypatch.setattr(bridge, "rows_of", lambda *a: [{**r, "value": r["value"] + 0.01} for r in rows_of(*a)])
    with pytest.raises(RuntimeError, match="differs from that of its verdicts"):
        bridge.score_lm_eval(tmp_path, names, scripted)


# ---------------------------------------------------------------- lm-eval's stock tasks, played by two of ours

STOCK = """\
task: {task}
custom_dataset: !function data.load
test_split: test
doc_to_text: "Q: {{{{q}}}}"
doc_to_target: a
metadata: {{version: 3.0}}
"""
NUMBERS = """\
generation_kwargs: {until: ["Q:"], do_sample: false}
metric_list: [{metric: exact_match, aggregation: mean, higher_is_better: true}]
filter_list:
  - {name: first-number, filter: [{function: regex, regex_pattern: "([0-9]+)"}, {function: take_first}]}
"""
CHOICE = 'output_type: multiple_choice\ndoc_to_choice: ["0", "1", "2", "3"]\n'
DATA = """\
from datasets import Dataset
def load(**_):
    return {"test": Dataset.from_list([{"q": str(i), "a": str(i)} for i in range(4)])}
"""


@pytest.fixture
def stock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "stock"
    folder.mkdir()
    (folder / "numbers.yaml").write_text(STOCK.format(task="numbers") + NUMBERS)
    (folder / "choice.yaml").write_text(STOCK.format(task="choice") + CHOICE)
    (folder / "data.py").write_text(DATA)
    manager = bridge.TaskManager(include_path=str(folder), include_defaults=False)
    monkeypatch.setattr(bridge, "_stock_manager", lambda *where: manager)


@pytest.mark.usefixtures("stock")
def test_stock_tasks_run_as_they_are(tmp_path: Path) -> None:
    names = write(tmp_path / "ours")

    def generate(prompts: list[str], decoding: Decoding) -> list[Completion]:
        if decoding.stream != "eval/numbers":
            return scripted(prompts, decoding)
        assert decoding == Decoding(0.0, 256, ("Q:",), "eval/numbers") and prompts[1] == "Q: 1"
        return [Completion(text, True) for text in ("it is 0 Q: 7", "1", "5", "Q: 3")]

    found = bridge.score_lm_eval(tmp_path / "ours", ["numbers", *names], generate)
    assert list(found.outcomes) == names
    (row,) = [r for r in found.rows if r["task"] == "numbers"]
    close(row.pop("stderr"), (0.25 / 3) ** 0.5)  # type: ignore[misc]
    assert row == {
        "task": "numbers",
        "version": "3.0",
        "domain": "out",
        "decoding": "greedy",
        "temperature": 0.0,
        "filter": "first-number",
        "metric": "exact_match",
        "value": 0.5,
        "n": 4,
        "scorer": "lm_eval",
        "outcomes": "",
    }


@pytest.mark.usefixtures("stock")
def test_likelihoods_only_where_given(tmp_path: Path) -> None:
    write(tmp_path / "ours")
    with pytest.raises(NotImplementedError, match="'choice' compares likelihoods"):
        bridge.score_lm_eval(tmp_path / "ours", ["choice"], scripted)

    def prefers_two(pairs: list[tuple[str, str]]) -> list[tuple[float, bool]]:
        return [(-float(c != " 2"), False) for _, c in pairs]

    rows = bridge.score_lm_eval(tmp_path / "ours", ["choice"], scripted, loglikelihood=prefers_two).rows
    assert [(r["metric"], r["filter"], r["value"]) for r in rows][0] == ("acc", "none", 0.25)
    with pytest.raises(ValueError, match="no task nope: neither one of a_words_t1, b_words, a benchmark"):
        bridge.score_lm_eval(tmp_path / "ours", ["nope"], scripted)


# ---------------------------------------------------------------- lm-eval's own hf model

VOCAB = ["<pad>", "<s>", "</s>", "<unk>", *(f"w{i}" for i in range(40))]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Llama with 44 words, whose tokenizer puts <s> before a text, and which likes to end."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("model")
    raw = Tokenizer(models.WordLevel({w: i for i, w in enumerate(VOCAB)}, unk_token="<unk>"))
    raw.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    raw.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    special = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    PreTrainedTokenizerFast(tokenizer_object=raw, **special).save_pretrained(folder)
    sizes: dict[str, Any] = {"vocab_size": len(VOCAB), "hidden_size": 16, "intermediate_size": 32}
    depth: dict[str, Any] = {"num_hidden_layers": 2, "num_attention_heads": 2, "max_position_embeddings": 24}
    ids: dict[str, Any] = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = LlamaForCausalLM(LlamaConfig(initializer_range=0.6, **sizes, **depth, **ids))
        model.lm_head.weight.data[2] *= 1.3
    model.save_pretrained(folder)
    return folder


def engine(folder: Path) -> Callable[[list[str], Decoding], list[Completion]]:
    """What ours must do: tokenizer(text), greedy, decode the completion's tokens alone, cut at the stops."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    model: Any = AutoModelForCausalLM.from_pretrained(folder)

    def one(prompt: str, decoding: Decoding) -> Completion:
        ids = tokenizer(prompt, return_tensors="pt").input_ids
        ones, limit = torch.ones_like(ids), decoding.max_new_tokens
        new = model.generate(ids, attention_mask=ones, do_sample=False, max_new_tokens=limit)[0, ids.shape[1] :]
        text = tokenizer.decode(new, skip_special_tokens=True)
        return Completion(cut(text, decoding.stop), bool((new == tokenizer.eos_token_id).any()))

    return lambda prompts, decoding: [one(p, decoding) for p in prompts]


def test_hf_gives_the_same_score(tmp_path: Path, checkpoint: Path, capfd: pytest.CaptureFixture[str]) -> None:
    generate = engine(checkpoint)
    prompts = [" ".join(f"w{(7 * i + j * j) % 40}" for j in range(1 + i % 5)) for i in range(24)]
    plain = generate(prompts, Decoding(0.0, 12, (), ""))
    assert len({c.text for c in plain}) > 12 and {c.ended for c in plain} == {True, False}
    stop = max(plain, key=lambda c: len(c.text)).text.split()[5]
    golds = [[*c.text.split(), "none", "none"][i % 2] for i, c in enumerate(plain)]  # the first word, or the second
    problems = [Problem(str(i), p, g) for i, (p, g) in enumerate(zip(prompts, golds, strict=True))]
    spec = Words([stop]).spec()
    task_files.write(spec, [EvalSet("words", "in", problems)], tmp_path, max_new_tokens=12)
    task_files.write(spec, [EvalSet("long", "in", problems)], tmp_path, max_new_tokens=22)

    capfd.readouterr()
    state = torch.get_rng_state()
    theirs = bridge.score_hf(checkpoint, tmp_path, ["words"], batch_size=5)
    assert capfd.readouterr().out == "" and torch.equal(torch.get_rng_state(), state)
    ours = score_direct(tmp_path, ["words"], generate)
    kept = [r for r in ours.rows if r["metric"] not in ("unparseable", "truncated")]
    same(kept, theirs.rows)
    assert 0 < ours.rows[0]["value"] < ours.rows[1]["value"] < 1
    pairs = zip(ours.outcomes["words"], theirs.outcomes["words"], strict=True)
    assert all(a["answer"] == b["answer"] for a, b in pairs)
    with pytest.raises(ValueError, match="'long' needs 6 tokens of prompt and 22 of completion"):
        bridge.score_hf(checkpoint, tmp_path, ["long"])
