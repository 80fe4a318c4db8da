"""A prompt is what the run says: the same on any day, and open at its end."""

from __future__ import annotations

import copy
import datetime
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from tokenizers import processors
from transformers import AutoTokenizer
from transformers.utils import chat_template_utils

from evals.tasks import Problem
from harness.config.run_config import RunConfig, resolve
from harness.models.loading import append_nothing, load_model, save_model
from harness.records.io import write_json
from harness.rollout.tokenization import PromptTokenizer
from harness.training.run import _begun, _export
from harness.training.setup import prepare
from tests.harness.tiny_models import EOS, SETTINGS, build, letters

UNK = 2

# --- the day ----------------------------------------------------------------------------------------------------

# As Llama 3.2's writes it, and others ask.
CLOCKS = {
    "%d %b %Y": "26 Jul 2024",
    "%Y-%m-%d": "2024-07-26",
    "%A, %B %d": "Friday, July 26",
    "%Y-%m-%d %H:%M:%S": "2024-07-26 00:00:00",
}
LLAMA = (
    "{% if not date_string is defined %}{% if strftime_now is defined %}"
    "{% set date_string = strftime_now('%d %b %Y') %}"
    "{% else %}{% set date_string = '26 Jul 2024' %}{% endif %}{% endif %}"
    "Today Date: {{ date_string }} {{ messages[0]['content'] }}"
)


def with_template(folder: Path, template: str) -> Path:
    file = folder / "tokenizer_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "chat_template": template}))
    return folder


def on(patch: pytest.MonkeyPatch, day: str) -> None:
    """The clock that transformers reads."""

    class Clock(datetime.datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Clock:
            return cls.fromisoformat(day)

    patch.setattr(chat_template_utils, "datetime", Clock)


@pytest.mark.parametrize("day", ["2026-11-30T23:59:59", "2027-01-01T00:00:01"])
@pytest.mark.parametrize("clock", CLOCKS)
def test_a_template_that_asks_for_the_time_is_told_the_runs_day(
    clock: str, day: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    on(monkeypatch, day)
    tokenizer = copy.deepcopy(letters())
    tokenizer.chat_template = "{{ strftime_now('" + clock + "') }}|{{ messages[0]['content'] }}"
    assert PromptTokenizer(tokenizer, 99, 9).render("x") == f"{CLOCKS[clock]}|x"
    other = PromptTokenizer(tokenizer, 99, 9, "2025-02-03").render("x")
    assert other == datetime.datetime(2025, 2, 3).strftime(clock) + "|x"


def test_every_prompt_of_a_run_has_its_day_and_a_resumed_run_has_it_too(
    taught: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = with_template(Path(shutil.copytree(taught, tmp_path / "chat")), LLAMA)
    hashes = []
    for name, day, given in (("a", "2026-11-30", []), ("a", "2026-12-01", []), ("b", "2026-12-01", ["2026-12-01"])):
        on(monkeypatch, day)
        settings = [*SETTINGS, "max_new_tokens=4", *(f"chat_date={x}" for x in given)]
        fields = {"model": str(folder), "out": str(tmp_path / "out"), "name": name, "resume": bool(hashes) or None}
        run = prepare(resolve({**fields, "eval_limit": 4}, settings, None))
        with _begun(run, _Nothing(), _Nothing()):
            pass
        expected = "01 Dec 2026" if given else "26 Jul 2024"
        assert run.trainer.tokenizer.render("1+1=").startswith(f"Today Date: {expected} ")
        lines = (run.folder / "tasks/arithmetic.jsonl").read_text().splitlines()
        assert all(json.loads(line)["prompt"].startswith(f"Today Date: {expected} ") for line in lines)
        assert run.record["config"]["chat_date"] == (given[0] if given else RunConfig.chat_date)
        write_json(run.folder / "record.json", {**run.record, "status": "interrupted"})
        hashes.append(run.record["environment"]["inputs"]["prompts of arithmetic, as the model reads them"])
    assert hashes[0] == hashes[1] != hashes[2]
    with pytest.raises(ValueError, match="chat_date: 2026-12-01 -> 2024-07-26"):
        prepare(resolve({**fields, "eval_limit": 4}, [*SETTINGS, "max_new_tokens=4"], None))
    record = json.loads((tmp_path / "out/a/record.json").read_text())
    del record["config"]["chat_date"], record["environment"]["inputs"]  # as runs of before wrote it
    write_json(tmp_path / "out/a/record.json", record)
    prepare(resolve({**fields, "name": "a", "eval_limit": 4}, settings, None))


class _Nothing:
    """A recorder and a listener that do nothing."""

    def __getattr__(self, name: str) -> Any:
        return lambda *_: None


@pytest.mark.parametrize("wrong", ["today", "26.07.2024", "2024-13-01", "2024-07-26T10:00", ""])
def test_a_day_is_written_as_one(wrong: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^chat_date: must be a day as in 2024-07-26, not ") as caught:
        resolve({"model": str(tmp_path), "chat_date": wrong}, [], None)
    assert "\n" not in str(caught.value)


# --- the end ----------------------------------------------------------------------------------------------------


def template(before: list[str], after: list[str]) -> Any:
    single = [*(f"{t}:0" for t in before), "$A:0", *(f"{t}:0" for t in after)]
    return processors.TemplateProcessing(
        single=single, pair=[*single, "$B:1"], special_tokens=[("<eos>", EOS), ("<unk>", UNK)]
    )


# name: (what the tokenizer does to a text, what it puts before it)
APPENDS: dict[str, tuple[Any, list[int]]] = {
    "the end": (template([], ["<eos>"]), []),
    "a start and the end": (template(["<unk>"], ["<eos>"]), [UNK]),
    "the end twice": (template([], ["<eos>", "<eos>"]), []),
    "after bytes": (processors.Sequence([processors.ByteLevel(), template(["<unk>"], ["<eos>"])]), [UNK]),
    "as BERT does": (processors.BertProcessing(("<eos>", EOS), ("<unk>", UNK)), [UNK]),
    "as RoBERTa does": (processors.RobertaProcessing(("<eos>", EOS), ("<unk>", UNK), False, False), [UNK]),
}
LEAVES: dict[str, tuple[Any, list[int]]] = {
    "a start": (template(["<unk>"], []), [UNK]),
    "nothing": (template([], []), []),
    "bytes": (processors.ByteLevel(), []),
}
TEXT = "aa ab ac"


def saved(tmp_path: Path, processor: Any) -> Path:
    tokenizer = copy.deepcopy(letters())
    tokenizer.backend_tokenizer.post_processor = processor
    save_model(build("llama"), tokenizer, tmp_path / "model")
    return tmp_path / "model"


@pytest.mark.parametrize("name", [*APPENDS, *LEAVES])
def test_nothing_stands_behind_a_prompt(name: str, tmp_path: Path) -> None:
    processor, before = {**APPENDS, **LEAVES}[name]
    folder, notices = saved(tmp_path, processor), list[str]()
    raw = AutoTokenizer.from_pretrained(folder)(TEXT)["input_ids"]
    assert (raw[-1] == EOS) == (name in APPENDS)
    model, tokenizer, _ = load_model(str(folder), notices=notices)
    bare = tokenizer(TEXT, add_special_tokens=False)["input_ids"]
    prompts = PromptTokenizer(tokenizer, 99, 9)
    assert prompts.ids(TEXT) == [*before, *bare]
    assert prompts.solution(TEXT) == [*bare, EOS]
    assert [("<eos> behind every text" in n) for n in notices] == [True] * (name in APPENDS)
    save_model(model, tokenizer, tmp_path / "final")  # as a run leaves it for lm-eval
    assert AutoTokenizer.from_pretrained(tmp_path / "final")(TEXT)["input_ids"] == [*before, *bare]
    if name in LEAVES:
        assert raw == [*before, *bare]


@pytest.mark.parametrize("text", [TEXT, f"{TEXT}<eos>", f"{TEXT} <eos><eos>", "<eos>"])
def test_a_written_solution_has_one_end(text: str) -> None:
    ids = PromptTokenizer(letters(), 99, 9).solution(text)
    assert ids[-1] == EOS and ids.count(EOS) == 1


CLOSED = "{% for m in messages %}{{ m['content'] }}<eos>{% endfor %}"  # it knows of no turn of the model's own


@pytest.mark.parametrize(
    ("chat_template", "text"), [(None, f"{TEXT}<eos>"), (CLOSED, TEXT), (CLOSED + "{{ '' }}", f"{TEXT} ")]
)
def test_a_prompt_that_is_over_already_is_refused(chat_template: str | None, text: str) -> None:
    tokenizer = copy.deepcopy(letters())
    tokenizer.chat_template = chat_template
    prompts = PromptTokenizer(tokenizer, 99, 9)
    with pytest.raises(ValueError, match="^train: the prompt ends in the end token <eos>") as caught:
        prompts.ids(prompts.render(text), "train")
    assert "\n" not in str(caught.value)
    tokenizer.chat_template = chat_template and chat_template + "{% if add_generation_prompt %}aa{% endif %}"
    assert chat_template is None or prompts.ids(prompts.render(text), "train")


def test_a_tokenizer_that_cannot_be_changed_is_refused_as_it_reads() -> None:
    class Stubborn:
        """It has no post-processor to be changed."""

        eos_token, eos_token_id, bos_token, chat_template = "<eos>", EOS, None, None

        def get_vocab(self) -> dict[str, int]:
            return letters().get_vocab()

        def __call__(self, text: str, add_special_tokens: bool = True) -> dict[str, list[int]]:
            return {"input_ids": [*letters()(text)["input_ids"], *([EOS] if add_special_tokens else [])]}

    assert append_nothing(Stubborn(), "model") == []
    with pytest.raises(ValueError, match="the prompt ends in the end token"):
        PromptTokenizer(Stubborn(), 99, 9).ids(TEXT)


def test_a_run_of_such_a_tokenizer(taught: Path, tmp_path: Path) -> None:
    """It begins as if the tokenizer put nothing there, and its export reads prompts as the run did."""
    folder = Path(shutil.copytree(taught, tmp_path / "ends"))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    end = tokenizer.eos_token
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single=["$A:0", f"{end}:0"], pair=["$A:0", "$B:1"], special_tokens=[(end, tokenizer.eos_token_id)]
    )
    tokenizer.save_pretrained(folder)
    runs = [
        prepare(resolve({"model": str(model), "out": str(tmp_path / "out"), "name": model.name}, SETTINGS, None))
        for model in (taught, folder)
    ]
    inputs = [{k: v for k, v in r.record["environment"]["inputs"].items() if k.startswith("prompts")} for r in runs]
    assert inputs[0] == inputs[1]
    _export(runs[1])
    exported = AutoTokenizer.from_pretrained(runs[1].folder / "checkpoints/final")
    assert exported("1+1=")["input_ids"] == runs[0].trainer.tokenizer.ids("1+1=")


# --- conversations, a system prompt, and the template's own variables --------------------------------------------

TURNS = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}<assistant>"
THINKING = TURNS + "{% if enable_thinking is defined and not enable_thinking %}<think></think>{% endif %}"
NO_SYSTEM = "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}" + TURNS
ASKED = Problem(
    "a",
    "Question: 2+2?",
    "4",
    turns=({"role": "system", "content": "Briefly."}, {"role": "user", "content": "2+2?"}),
)


def templated(template: str | None) -> Any:
    tokenizer = copy.deepcopy(letters())
    tokenizer.chat_template = template
    return tokenizer


CONVERSATIONS: list[tuple[str | None, dict[str, Any], Problem | str, str]] = [
    (TURNS, {}, ASKED, "<system>Briefly.<user>2+2?<assistant>"),
    (TURNS, {}, "1+1?", "<user>1+1?<assistant>"),
    (TURNS, {}, Problem("a", "1+1?", "2"), "<user>1+1?<assistant>"),
    (TURNS, {"system_prompt": "Loudly."}, ASKED, "<system>Loudly.<user>2+2?<assistant>"),
    (TURNS, {"system_prompt": "Loudly."}, "1+1?", "<system>Loudly.<user>1+1?<assistant>"),
    (NO_SYSTEM, {}, ASKED, "<user>Briefly.\n\n2+2?<assistant>"),
    (NO_SYSTEM, {"system_prompt": "Loudly."}, "1+1?", "<user>Loudly.\n\n1+1?<assistant>"),
    (THINKING, {}, "1+1?", "<user>1+1?<assistant>"),
    (THINKING, {"template_kwargs": {"enable_thinking": False}}, "1+1?", "<user>1+1?<assistant><think></think>"),
    (None, {}, ASKED, "Question: 2+2?"),
    (None, {"system_prompt": "Loudly."}, ASKED, "Loudly.\n\nQuestion: 2+2?"),
]


@pytest.mark.parametrize("place", range(len(CONVERSATIONS)))
def test_what_the_model_reads_of_a_conversation(place: int) -> None:
    template, settings, problem, expected = CONVERSATIONS[place]
    assert PromptTokenizer(templated(template), 99, 9, **settings).render(problem) == expected


def test_template_variables_without_a_template_are_refused() -> None:
    with pytest.raises(ValueError, match=r"chat_template_kwargs\.enable_thinking: the model's tokenizer has no chat"):
        PromptTokenizer(letters(), 99, 9, template_kwargs={"enable_thinking": False})


def test_a_configuration_sets_them() -> None:
    words = ["chat_template_kwargs.enable_thinking=false", "system_prompt=Loudly."]
    config = resolve({}, words, None)
    assert config.chat_template_kwargs == {"enable_thinking": False}
    text = PromptTokenizer.of(templated(THINKING), 99, config).render("1+1?")
    assert text == "<system>Loudly.<user>1+1?<assistant><think></think>"
