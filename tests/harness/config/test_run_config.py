"""Four layers, and one plain line for whatever is wrong in one of them."""

from __future__ import annotations

import dataclasses
import itertools
import math
from pathlib import Path
from typing import Any, Literal

import pytest

from harness.config import overrides, start_models
from harness.config.coercion import build
from harness.config.files.tables import load_table
from harness.config.run_config import RunConfig, resolve
from harness.config.start_models import defaults_of

DEFAULTS = RunConfig()


@pytest.fixture
def model(tmp_path: Path) -> str:
    """A folder with a profile (and nothing else: `resolve` reads no weights)."""
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "model_defaults.toml").write_text(
        'lr = 0.01\nprompts = 7\ngroup_size = 5\nbudget = "prompts=9"\n[reward_model]\nlr = 0.5\n'
    )
    return str(folder)


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "run.toml"
    path.write_text("prompts = 8\ngroup_size = 6\nseed = 3\n[algo]\nclip_low = 0.4\n[task]\ntest_size = 11\n")
    return str(path)


# ---------------------------------------------------------------- layers


def test_nothing_but_defaults(tmp_path: Path) -> None:
    (tmp_path / "bare").mkdir()
    config = resolve({"model": str(tmp_path / "bare")}, [], None)
    assert config == dataclasses.replace(DEFAULTS, model=str(tmp_path / "bare"), sources={"model": "flag"})


def test_a_later_layer_wins(model: str, file: str) -> None:
    config = resolve({"model": model, "group_size": 4, "seed": None}, ["lr=0.5"], file)
    assert (config.max_new_tokens, config.budget) == (DEFAULTS.max_new_tokens, "prompts=9")
    assert (config.prompts, config.seed) == (8, 3)
    assert (config.group_size, config.lr) == (4, 0.5)
    assert config.sources == {
        "model": "flag",
        "budget": "profile",
        "prompts": "file",
        "seed": "file",
        "group_size": "flag",
        "lr": "flag",
        "reward_model.lr": "profile",
        "algo.clip_low": "file",
        "task.test_size": "file",
    }


def test_tables_are_merged_field_by_field(model: str, file: str) -> None:
    flags = {"model": model, "task": {"train_file": "t.jsonl"}}
    config = resolve(flags, ["algo.clip_high=0.9", "task.other_size=2", "reward_model.batch=3"], file)
    assert config.algo == {"clip_low": 0.4, "clip_high": "0.9"}
    assert config.reward_model == {"lr": 0.5, "batch": "3"}
    assert config.task == {"train_file": "t.jsonl", "test_size": 11, "other_size": "2"}
    assert config.sources["algo.clip_high"] == config.sources["task.train_file"] == "flag"


def test_set_beats_the_flag_of_the_same_field(model: str) -> None:
    assert resolve({"model": model, "seed": 4}, ["seed=5"], None).seed == 5
    assert resolve({"model": model}, ["seed=5", "seed=6"], None).seed == 6


def test_the_profile_is_that_of_the_model_that_was_asked_for(model: str, tmp_path: Path) -> None:
    file = tmp_path / "asks.toml"
    file.write_text(f'model = "{model}"\n')
    assert resolve({}, [], str(file)).prompts == 7
    assert resolve({}, [f"model={model}"], None).prompts == 7
    (tmp_path / "bare").mkdir()
    assert resolve({"model": str(tmp_path / "bare")}, [], str(file)).prompts == DEFAULTS.prompts


def test_the_embedded_model_has_its_profile() -> None:
    profile = load_table(start_models.MODELS / "nano" / "model_defaults.toml")
    config = resolve({}, [], None)
    assert config.model == "nano" and profile["lr"] == config.lr != DEFAULTS.lr
    flat = [
        *(set(profile) - {"reward_model", "planner"}),
        *(f"reward_model.{name}" for name in profile["reward_model"]),
    ]
    assert config.sources == dict.fromkeys(flat, "profile")
    del profile["planner"]  # what a plan knows of it, and no run takes
    assert defaults_of("nano") == profile and defaults_of("some/hub-id") == {}
    assert "nano" in start_models.embedded_models()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('algo = "mine.py"\ntask = "gsm8k"', ("mine.py", {}, "gsm8k", {})),
        ('[algo]\nname = "mine.py"\nkl_coef = 0\n[task]\nname = "gsm8k"', ("mine.py", {"kl_coef": 0}, "gsm8k", {})),
        ("[algo]\nkl_coef = 0", ("grpo", {"kl_coef": 0}, "arithmetic", {})),
        ('algo_name = "ppo"', ("ppo", {}, "arithmetic", {})),
    ],
)
def test_a_file_names_the_algorithm_and_the_task(text: str, expected: tuple[Any, ...], tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text(text)
    config = resolve({}, [], str(tmp_path / "a.toml"))
    assert (config.algo_name, config.algo, config.task_name, config.task) == expected


def test_set_names_the_algorithm_and_the_task() -> None:
    config = resolve({}, ["algo=mine.py", "task=gsm8k"], None)
    assert (config.algo_name, config.task_name) == ("mine.py", "gsm8k")


def test_a_value_may_hold_an_equals_sign() -> None:
    assert resolve({}, ["budget=flops=1e9"], None).budget == "flops=1e9"


# ---------------------------------------------------------------- what is wrong


def refused(words: list[str], file: Path | None = None) -> str:
    with pytest.raises(ValueError) as error:
        resolve({}, words, str(file) if file else None)
    message = str(error.value)
    assert "\n" not in message
    return message


def test_an_unknown_field_lists_the_valid_ones(tmp_path: Path) -> None:
    valid = [f.name for f in dataclasses.fields(RunConfig)]
    message = refused(["grup_size=4"])
    assert message.startswith("grup_size: unknown field") and all(name in message for name in valid)
    (tmp_path / "a.toml").write_text("speed = 3\n")
    assert refused([], tmp_path / "a.toml").startswith("speed: unknown field")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sample:
    """One field of every kind."""

    whole: int = 1
    share: float = 0.5
    word: str = "x"
    flag: bool = False
    choice: Literal["red", "blue"] = "red"
    maybe: float | None = None
    several: tuple[float, ...] = ()
    words: tuple[str, ...] = ()
    pair: tuple[str, str] = ("x", "y")
    table: dict[str, str] = dataclasses.field(default_factory=dict)
    anything: Any = None
    either: int | str | None = None
    hidden: int = dataclasses.field(default=0, init=False)


GOOD = [
    ("whole", "1_000", 1000),
    ("whole", 4.0, 4),
    ("whole", "-3", -3),
    ("share", "1e-3", 0.001),
    ("share", 2, 2.0),
    ("word", "none", "none"),
    ("word", 5, "5"),
    ("flag", "true", True),
    ("flag", "No", False),
    ("flag", True, True),
    ("choice", "blue", "blue"),
    ("maybe", "none", None),
    ("maybe", "None", None),
    ("maybe", "0.25", 0.25),
    ("several", "0, 0.5,1", (0.0, 0.5, 1.0)),
    ("several", [0, 1], (0.0, 1.0)),
    ("several", "", ()),
    ("several", [], ()),
    ("words", "a,b", ("a", "b")),
    ("words", "a", ("a",)),
    ("pair", "a,b", ("a", "b")),
    ("table", {"a": "b"}, {"a": "b"}),
    ("anything", "1", "1"),
    ("either", 3, 3),
    ("either", "none", None),
]

BAD = [
    ("whole", "four", "an int"),
    ("whole", "4.5", "an int"),
    ("whole", 4.5, "an int"),
    ("whole", True, "an int"),
    ("whole", "", "an int"),
    ("whole", "none", "an int"),
    ("whole", [1], "an int"),
    ("whole", math.inf, "an int"),
    ("whole", "inf", "an int"),
    ("share", "much", "a float"),
    ("share", "nan", "a float"),
    ("share", False, "a float"),
    ("share", "1,5", "a float"),
    ("share", "inf", "finite"),
    ("share", "1e999", "finite"),
    ("share", -math.inf, "finite"),
    ("share", 10**400, "a float"),
    ("flag", "maybe", "a bool"),
    ("flag", 1.0, "a bool"),
    ("choice", "green", "red, blue"),
    ("choice", "Red", "red, blue"),
    ("maybe", "much", "a float"),
    ("several", "0,much", "a float"),
    ("several", 3, "a list"),
    ("pair", ["a"], "['a']"),
    ("pair", "a,b,c", "at most 2"),
    ("table", "a=b", "a table"),
    ("either", [], "an int"),
]


@pytest.mark.parametrize(("name", "value", "expected"), GOOD)
def test_words_become_the_declared_type(name: str, value: Any, expected: Any) -> None:
    converted = getattr(build(Sample, {name: value}, ""), name)
    assert converted == expected and type(converted) is type(expected)


@pytest.mark.parametrize(("name", "value", "valid"), BAD)
def test_a_wrong_type_is_named_with_what_is_valid(name: str, value: Any, valid: str) -> None:
    with pytest.raises(ValueError) as error:
        build(Sample, {name: value}, "algo.")
    assert str(error.value).startswith(f"algo.{name}: ") and valid in str(error.value)
    assert "\n" not in str(error.value)


def test_unknown_fields_of_a_part_carry_its_name() -> None:
    for name in ("clip", "hidden"):
        with pytest.raises(ValueError, match=f"^algo.{name}: unknown field; valid: algo.whole, algo.share"):
            build(Sample, {name: 1}, "algo.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Clips:
    clip_low: float = 0.2
    clip_high: float | None = None
    value_clip: float = 0.2


@pytest.mark.parametrize("name", [f.name for f in dataclasses.fields(Clips)])
def test_a_clip_may_be_infinite(name: str) -> None:
    """It clips nothing."""
    assert getattr(build(Clips, {name: "inf"}, "algo."), name) == math.inf
    with pytest.raises(ValueError, match=f"^algo.{name}: 'nan' is not a float"):
        build(Clips, {name: "nan"}, "algo.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outer:
    """Tables in a table, and a check of its own in one of them."""

    inner: Sample | None = None
    rows: list[Clips] = dataclasses.field(default_factory=list)
    clips: Clips = Clips(clip_low=math.nan)  # no default is looked at
    least: int = 0

    def __post_init__(self) -> None:
        if self.least < 0:
            raise ValueError(f"least: must not be negative, not {self.least}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outermost:
    outer: Outer
    name: str


def test_tables_in_a_table() -> None:
    built = build(Outermost, {"name": "x", "outer": {"inner": {"several": "0,1"}, "rows": [{"clip_low": 1}]}}, "")
    assert built == Outermost(
        name="x", outer=Outer(inner=Sample(several=(0.0, 1.0)), rows=[Clips(clip_low=1.0)], clips=built.outer.clips)
    )
    assert math.isnan(built.outer.clips.clip_low) and type(built.outer.rows[0].clip_low) is float


WRONG_TABLES: list[tuple[dict[str, Any], str]] = [
    ({"outer": 3}, "outer: must be a table of fields, not 3"),
    ({"outer": {"rows": [3]}}, "outer.rows: must be a table of fields, not 3"),
    ({"outer": {"rows": 3}}, "outer.rows: must be a list, not 3"),
    ({"outer": {"rows": [{}, {"clip_low": "x"}]}}, "outer.rows.1.clip_low: 'x' is not a float"),
    ({"outer": {"inner": {"several": [0, "x"]}}}, "outer.inner.several: 'x' is not a float"),
    ({"outer": {"inner": {"table": {"a": []}}}}, "outer.inner.table.a: '[]' is not a str"),
    ({"outer": {"least": -1}}, "least: must not be negative, not -1"),
    ({"outer": {}}, "name: missing"),
    (
        {"outer": {"rows": [{"speed": 1}]}},
        "outer.rows.0.speed: unknown field; "
        "valid: outer.rows.0.clip_low, outer.rows.0.clip_high, outer.rows.0.value_clip",
    ),
]


@pytest.mark.parametrize(("values", "message"), WRONG_TABLES)
def test_what_is_wrong_in_a_table_of_a_table(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as error:
        build(Outermost, values, "")
    assert str(error.value) == message


WRONG: list[Any] = [3, 0.5, math.inf, True, "x", [], [3], ["nano"], [[1]], {"a": 1}, {"a": [1]}, {"name": 3}, None]


@pytest.mark.parametrize("name", [*(f.name for f in dataclasses.fields(RunConfig)), "algo", "task"])
def test_a_value_of_another_type_is_taken_or_named(name: str) -> None:
    """Whatever a file may hold; beside it a `--set` word, which has a table to go into or not."""
    refusals = 0
    for value, words in itertools.product(WRONG, ([], [f"{name}.x=1"] if name in overrides.GROUPS else [])):
        try:
            config = resolve({}, words, None, {name: value})
        except ValueError as error:
            refusals += 1
            assert name in str(error) and "\n" not in str(error)
        else:
            assert isinstance(config, RunConfig)
    assert refusals or name == "sources"  # nobody asks for those: they are config anew


@pytest.mark.parametrize("value", [3, 0.5, True, ["nano"], {"name": "nano"}, []])
def test_a_model_is_a_name(value: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="^model: must be an embedded model's name, a folder or a hub id, not "):
        resolve({}, [], None, {"model": value})


@pytest.mark.parametrize("group", ["reward_weights", "reward_model"])
def test_a_word_and_a_field_of_one_group(group: str) -> None:
    assert refused([f"{group}=3", f"{group}.x=1"]).startswith(f"{group}: must be a table of fields")
    assert refused([f"{group}.x=1", f"{group}=3"]).startswith(f"{group}: must be a table of fields")


RANGES = [
    "prompts=0",
    "group_size=0",
    "group_size=-4",
    "max_new_tokens=0",
    "micro_batch_tokens=0",
    "rollout_batch_size=0",
    "temperature=0",
    "temperature=-1",
    "lr=0",
    "lr=-1e-4",
    "lr=inf",
    "temperature=inf",
    "warmup=-1",
    "keep_checkpoints=-1",
    "checkpoint_every=0",
    "eval_limit=0",
    "eval_fractions=0,1.5",
    "eval_fractions=-0.1",
    "decay=cosine",
    "dtype=float16",
    "seed=one",
    "prompts=many",
    "budget=9",
    "budget=completions=-5",
]


@pytest.mark.parametrize("word", RANGES)
def test_a_value_out_of_range_is_named(word: str) -> None:
    assert refused([word]).startswith(f"{word.partition('=')[0]}: ")


def test_a_word_that_is_no_setting() -> None:
    assert "field=value" in refused(["kl_coef"])


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    assert str(tmp_path / "none.toml") in refused([], tmp_path / "none.toml")
    assert str(tmp_path) in refused([], tmp_path)
    broken = tmp_path / "broken.toml"
    broken.write_text("prompts = \n")
    message = refused([], broken)
    assert str(broken) in message and "TOML" in message and "line 1" in message
    broken.write_bytes(b"\xff\xfe\x00")
    assert str(broken) in refused([], broken)


def test_a_broken_profile_is_named(tmp_path: Path) -> None:
    (tmp_path / "model_defaults.toml").write_text("lr = fast\n")
    with pytest.raises(ValueError, match="model_defaults.toml"):
        resolve({"model": str(tmp_path)}, [], None)


NOT_SCALE = {
    # what a model's folder may not set -> (its file, what the line must name)
    "a reward that is code": ('reward = "evil.py:f"', "reward"),
    "a learned reward": ('reward = "outcome-model"', "reward"),
    "an algorithm that is code": ('[algo]\nname = "evil.py"', "algo"),
    "an algorithm by word": ('algo = "evil.py"', "algo"),
    "an algorithm, flat": ('algo_name = "evil.py"', "algo_name"),
    "a field of the algorithm": ("[algo]\nkl_coef = 0.5", "algo"),
    "a task": ('task = "qa"', "task"),
    "a file to read": ('[task]\ntrain_file = "/etc/passwd"', "task"),
    "another model": ('model = "other/model"', "model"),
    "another reward model": ('[reward_model]\nname = "other/model"', "reward_model.name"),
    "shaping": ("[reward_weights]\nformat = 1.0", "reward_weights"),
    "the seed": ("seed = 7", "seed"),
    "where to write": ('out = "/"', "out"),
    "the run's name": ('name = "../../x"', "name"),
    "what is measured": ("eval_fractions = [1.0]", "eval_fractions"),
    "stock tasks": ('eval_tasks = ["evil"]', "eval_tasks"),
    "resuming": ("resume = true", "resume"),
    "what is no field": ("speed = 3", "speed"),
    "a dotted name": ('"reward_model.name" = "other/model"', "reward_model.name"),
    "sources": ('[sources]\nreward = "flag"', "sources"),
    "a wrong value": ("lr = -1", "lr"),
    "a wrong kind": ("prompts = [1]", "prompts"),
    "a wrong value in a group": ("reward_model = 3", "reward_model"),
}


@pytest.mark.parametrize("name", ["model_defaults.toml", "profile.toml"])
@pytest.mark.parametrize("case", NOT_SCALE)
def test_a_models_folder_sets_its_scale_alone(case: str, name: str, tmp_path: Path) -> None:
    text, field = NOT_SCALE[case]
    (tmp_path / name).write_text(f"{text}\n")
    with pytest.raises(ValueError, match=rf"{name}: .*\b{field}\b"):
        resolve({"model": str(tmp_path)}, [], None)


def test_every_scale_field_of_a_models_folder_is_taken_and_told(tmp_path: Path) -> None:
    """Those of an earlier run's profile.toml too, whose fields had other names."""
    values = {name: getattr(DEFAULTS, name) for name in start_models.SCALE}
    assert set(values) >= {"lr", "prompts", "group_size", "budget"}
    text = "".join(f"{k} = {f'{v!r}'.replace(chr(39), chr(34))}\n" for k, v in values.items())
    (tmp_path / "model_defaults.toml").write_text(text + "[reward_model]\nlr = 0.5\n")
    config = resolve({"model": str(tmp_path)}, [], None)
    assert {name: getattr(config, name) for name in values} == values and config.reward_model == {"lr": 0.5}
    (notice,) = start_models.defaults_notice(config.model, config.sources)
    assert str(tmp_path / "model_defaults.toml") in notice and "lr" in notice and "budget" in notice
    assert start_models.defaults_notice("nano", resolve({}, [], None).sources) == []
    (tmp_path / "model_defaults.toml").unlink()
    (tmp_path / "profile.toml").write_text("micro_tokens = 12\nrollout_rows = 34\n")
    config = resolve({"model": str(tmp_path)}, [], None)
    assert (config.micro_batch_tokens, config.rollout_batch_size) == (12, 34)


def test_a_table_where_a_word_is_due(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text("[reward]\nname = 'rule'\n")
    assert refused([], tmp_path / "a.toml").startswith("reward: ")
    (tmp_path / "a.toml").write_text("seed = [1, 2]\n")
    assert refused([], tmp_path / "a.toml").startswith("seed: ")
