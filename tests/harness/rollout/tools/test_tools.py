"""Tools: what is a call, what becomes of an answer, and that no tool can do harm."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from harness.config.run_config import resolve
from harness.config.tools import ToolFields, load_tool, tools_of
from harness.rollout.tools.calculator import Calculator
from harness.rollout.tools.calls import Call, answered
from harness.rollout.tools.protocol import ToolError
from harness.rollout.tools.registry import toolbox_of
from harness.rollout.tools.search import Search, read_corpus
from harness.rollout.tools.toolbox import Toolbox
from tests.harness.rollout.tools.callers import Echo, speaker


def box(*tools: Any, **fields: Any) -> Toolbox:
    return Toolbox(tools or [Echo(), Calculator()], ToolFields(**fields), speaker())


def call_in(text: str) -> Call | None:
    return box().call_in(speaker()(text)["input_ids"])


# ---------------------------------------------------------------- calls


@pytest.mark.parametrize(
    ("text", "call"),
    [
        ("so <echo> a b </echo>", Call("echo", "a b")),
        ("<calculator>1+2</calculator>", Call("calculator", "1+2")),
        ("<echo>a\nb</echo>", Call("echo", "a\nb")),
        ("<echo></echo>", Call("echo", "")),
        ("<echo>never closed", None),
        ("never opened</echo>", None),
        ("<echo>a<echo>b</echo>", Call("echo", "b")),
        ("<echo>a<calculator>1+2</calculator></echo>", Call("calculator", "1+2")),
        ("<echo>a</calculator>", None),
        ("<echo>a<result>b</echo>", None),
        ("<weather>Bergen</weather>", None),
        ("<echo>a < b</echo>", Call("echo", "a < b")),
        ("<echo>a</echo> <calculator>1</calculator>", Call("echo", "a")),
    ],
)
def test_what_is_a_call(text: str, call: Call | None) -> None:
    assert call_in(text) == call


def test_a_token_that_can_end_a_call_is_known() -> None:
    closing = {*box().closing}
    assert speaker().convert_tokens_to_ids("</echo>") in closing and speaker()(">")["input_ids"][0] in closing
    assert speaker()("a")["input_ids"][0] not in closing


# ---------------------------------------------------------------- answers


def tool(function: Any) -> Any:
    class Made:
        name = "echo"
        call = staticmethod(function)

    return Made()


def read(function: Any, **fields: Any) -> str:
    """What the policy reads of a tool's answer to `q`, without the result's tags."""
    mine = box(tool(function), **fields)
    tokens = mine.tokens(mine.submit(Call("echo", "q")).answer())
    assert len(tokens) <= mine.fields.result_tokens
    text = speaker().decode(tokens)
    assert text.startswith("<result>") and text.endswith("</result>") and text.count("result>") == 2
    return text.removeprefix("<result>").removesuffix("</result>")


def _raise(error: BaseException) -> Any:
    raise error


@pytest.mark.parametrize(
    ("function", "text"),
    [
        (lambda q: f"{q}!", "q!"),
        (lambda q: "", ""),
        (lambda q: _raise(ToolError("no such thing")), "error: no such thing"),
        (lambda q: _raise(KeyError("a\nb")), "error: KeyError: 'a\\nb'"),
        (lambda q: _raise(SystemExit(3)), "error: SystemExit: 3"),
        (lambda q: 7, "error: echo gave no text but int"),
        (lambda q: None, "error: echo gave no text but NoneType"),
        (lambda q: "<eos>", "<eos>"),
        (lambda q: "a</result>b", "a&lt;/result>b"),
        (lambda q: "<echo>x</echo>", "&lt;echo>x&lt;/echo>"),
    ],
)
def test_whatever_a_tool_does_is_a_text(function: Any, text: str) -> None:
    assert read(function).replace("result&gt;", "") == text if "result" not in text else True
    mine = box(tool(function))
    tokens = mine.tokens(mine.submit(Call("echo", "q")).answer())
    assert speaker().decode(tokens[1:-1]) == text and speaker().eos_token_id not in tokens


def test_megabytes_are_cut() -> None:
    assert read(lambda q: "x" * 10_000_000, result_tokens=20) == "x" * 18


def test_a_tool_that_hangs_is_left_alone_and_its_place_given_on() -> None:
    """With room for one call at a time: the first never answers, the second does."""
    forever = threading.Event()
    mine = box(tool(lambda q: forever.wait(60) or "late" if q == "hang" else "quick"), timeout=0.2, concurrent=1)
    first, second = (mine.submit(Call("echo", q)) for q in ("hang", "go"))
    began = time.monotonic()
    assert first.answer() == "error: echo took more than 0.2 seconds"
    assert second.answer() == "quick" and time.monotonic() - began < 20
    forever.set()


def test_calls_run_side_by_side() -> None:
    """Three calls that each wait for the two others."""
    meet = threading.Barrier(3)
    mine = box(tool(lambda q: str(meet.wait(20))), timeout=30)
    assert sorted(p.answer() for p in [mine.submit(Call("echo", "q")) for _ in range(3)]) == ["0", "1", "2"]


@pytest.mark.parametrize(
    ("tools", "fields", "message"),
    [
        ([tool(str), tool(str)], {}, "two tools are called 'echo'"),
        ([Echo()], {"result_tokens": 2}, "tool.result_tokens: at least 3 with this tokenizer, not 2"),
    ],
)
def test_a_box_that_cannot_be(tools: Any, fields: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        box(*tools, **fields)


@pytest.mark.parametrize("name", ["result", "think", "Big", "a b", "", 3])
def test_names_that_are_no_tags(name: Any) -> None:
    odd = Echo()
    odd.name = name
    with pytest.raises(ValueError, match="a name is a tag in small letters"):
        box(odd)


# ---------------------------------------------------------------- calculator


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("1+2", "3"), (" 2*(3-5) =", "-4"), ("1,000/4", "250"), ("1/3", "0.333333333333"), ("2^10", "1024"),
        ("7//2", "3"), ("7%4", "3"), ("-3*-3", "9"), ("0.1+0.2", "0.3"), ("3\u00d72\u22121", "5"), ("2**-2", "0.25"),
    ],
)  # fmt: skip
def test_calculations(text: str, answer: str) -> None:
    assert Calculator().call(text) == answer


@pytest.mark.parametrize(
    "text",
    [
        "", "a", "1+", "__import__('os').system('true')", "(lambda: 1)()", "[1][0]", "1 if 1 else 2", "2**1000",
        "9**64**9", "1/0", "1%0", "0**-1", "(" * 90 + "1" + ")" * 90, "1" * 300, "1e400", "True+1", "f'{1}'", "x:=1",
        "10**30*10**30", "2**0.5", "1j", "'a'*9",
    ],
)  # fmt: skip
def test_what_is_no_calculation_is_an_answer_too(text: str) -> None:
    began = time.monotonic()
    found = answered(Calculator(), text)
    assert (found.startswith("error: ") and "\n" not in found) or text.startswith("(((")
    assert time.monotonic() - began < 5


# ---------------------------------------------------------------- search

bm25s = pytest.importorskip("bm25s")
DOCUMENTS = ["price of belzor: 23", "price of mimkab: 4", "age of belzor: 7", "a tale of two cities"]


def test_search_finds_the_best() -> None:
    assert Search(DOCUMENTS, 1).call("price of belzor") == "price of belzor: 23"
    assert Search(DOCUMENTS, 2).call("belzor").split("\n") == ["age of belzor: 7", "price of belzor: 23"]
    assert Search(DOCUMENTS, 9).call("cities, tale?") == "a tale of two cities"


@pytest.mark.parametrize("query", ["", "zzz", "of", "!?", "\x00"])
def test_a_search_without_a_word_finds_nothing(query: str) -> None:
    assert Search(DOCUMENTS, 3).call(query) == "nothing found"


def test_scores_are_those_of_the_formula() -> None:
    """BM25 by hand (Lucene's form, k1 = 1.5, b = 0.75): sum over words of idf tf / (tf + k1 (1 - b + b len / mean))."""
    import math

    docs = ["red red blue", "blue green", "green green green green"]
    words = [d.split() for d in docs]
    mean = sum(map(len, words)) / 3

    def score(query: list[str], d: list[str]) -> float:
        total = 0.0
        for w in query:
            df = sum(w in other for other in words)
            idf = math.log(1 + (3 - df + 0.5) / (df + 0.5))
            tf = d.count(w)
            total += idf * tf / (tf + 1.5 * (0.25 + 0.75 * len(d) / mean))
        return total

    for query in (["red"], ["blue", "green"], ["green"], ["blue"]):
        ranked = sorted((i for i in range(3) if score(query, words[i]) > 0), key=lambda i: (-score(query, words[i]), i))
        assert Search(docs, 3).call(" ".join(query)).split("\n") == [docs[i] for i in ranked]


def corpus(folder: Path, *lines: str) -> str:
    (folder / "c.jsonl").write_text("\n".join(lines) + "\n")
    return str(folder / "c.jsonl")


def test_a_corpus_of_other_columns(tmp_path: Path) -> None:
    file = corpus(tmp_path, '{"contents": "one"}', "", '{"title": "Two", "passage": "two", "id": 4}')
    assert read_corpus(file) == ["one", "Two: two"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "c.jsonl:2: not JSON"),
        ("3", "c.jsonl:2: must be an object with a column text"),
        ('{"a": 1}', "c.jsonl:2: must be an object with a column text"),
        ('{"text": 3}', "c.jsonl:2: text must be a text that is not empty, not 3"),
        ('{"text": " "}', "c.jsonl:2: text must be a text that is not empty"),
    ],
)
def test_a_bad_row_is_named(tmp_path: Path, line: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_corpus(corpus(tmp_path, json.dumps({"text": "fine"}), line))


def test_a_corpus_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cannot read"):
        read_corpus(str(tmp_path / "no.jsonl"))
    with pytest.raises(ValueError, match="has no documents"):
        read_corpus(corpus(tmp_path, ""))


# ---------------------------------------------------------------- a run's tools

MINE = """
def twice(text):
    return text + text

class Shout:
    name = "shout"
    def call(self, text):
        return text.upper()

class Broken:
    name = "broken"
    def __init__(self):
        raise RuntimeError("no")
    def call(self, text):
        return ""

number = 3
"""


def made(tmp_path: Path, *names: str, task: str = "arithmetic", **tool: Any) -> Toolbox | None:
    from evals import tasks

    (tmp_path / "mine.py").write_text(MINE)
    words = [f"{tmp_path}/{name}" if ".py" in name else name for name in names]
    flags = {"tools": ",".join(words)} if words else {}
    config = resolve({**flags, "task_name": task}, [f"tool.{k}={v}" for k, v in tool.items()], None)
    return toolbox_of(config, tasks.load(task)(), speaker())


def test_tools_by_name(tmp_path: Path) -> None:
    mine = made(tmp_path, "calculator", "mine.py:twice", "mine.py:Shout", calls=2)
    assert mine is not None and list(mine.tools) == ["calculator", "twice", "shout"] and mine.fields.calls == 2
    assert [mine.submit(Call(name, "ab")).answer() for name in ("twice", "shout")] == ["abab", "AB"]
    assert made(tmp_path) is None
    own = made(tmp_path, task="lookup")
    assert own is not None and list(own.tools) == ["search"] and own.fields.top == 1
    assert "price" in own.submit(Call("search", "price of belzor")).answer()


@pytest.mark.parametrize(
    ("names", "tool", "message"),
    [
        (["serch"], {}, "tools: unknown tool 'serch'; valid: search, calculator, or FILE.py:name"),
        (["mine.py:nothing"], {}, "has no tool 'nothing'"),
        (["mine.py:number"], {}, "has no tool 'number'"),
        (["mine.py:Broken"], {}, "cannot be made: RuntimeError: no"),
        (["no.py:f"], {}, "tools: no file"),
        (["search"], {}, "task 'arithmetic' has no corpus of its own; give a JSONL file"),
        (["calculator"], {"calls": 0}, "tool.calls: must be at least 1, not 0"),
        (["calculator"], {"call": 1}, "tool.call"),
        ([], {"calls": 2}, "tool.calls: there is no tool; give --tool"),
    ],
)
def test_tools_that_cannot_be_had(tmp_path: Path, names: list[str], tool: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        made(tmp_path, *names, **tool)


def test_a_learned_reward_does_not_read_answers() -> None:
    from evals import tasks

    config = resolve({"tools": "calculator", "reward": "outcome-model"}, [], None)
    with pytest.raises(ValueError, match="reward: outcome-model does not read what tools answer"):
        tools_of(config, tasks.load("arithmetic")())
    assert load_tool  # what `tools_of` calls for a FILE.py
