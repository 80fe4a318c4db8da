"""Runs that train an adapter: their folders as PEFT, transformers and the harness load them; what is refused."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import AutoPeftModelForCausalLM, PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from harness.config.lora import LoraFields
from harness.models.adapters.attach import attach
from harness.models.adapters.folders import save
from harness.models.loading import load_model, save_model, silenced
from tests.harness.cli.test_main import Call, call, one_line  # noqa: F401
from tests.harness.tiny_models import SETTINGS, build, files_of, letters
from tests.helpers import close

ROW = torch.tensor([[5, 6, 7, 8, 9]])
LORA = "r=4,alpha=8"


def words(model: Path | str, out: Path, name: str, *settings: str) -> list[str]:
    given = ["run", "--model", str(model), "--out", str(out), "--name", name, "--budget", "completions=48", "--quiet"]
    given += ["--eval-limit", "4"]
    return given + [word for s in (*SETTINGS, "eval_fractions=1", *settings) for word in ("--set", s)]


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=ROW).logits


def loaded(cls: Any, folder: Path) -> Any:
    """By the library itself, without its progress bar."""
    with silenced():
        return cls.from_pretrained(folder).eval()


@pytest.fixture(scope="module")
def trained(taught: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A GRPO run with an adapter: its folder."""
    from harness.cli import main

    out = tmp_path_factory.mktemp("lora")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["harness", *words(taught, out, "run"), "--lora", LORA])
        with pytest.raises(SystemExit) as stop:
            main.main()
    assert not stop.value.code
    return out / "run"


def final_of(run: Path) -> Path:
    return run / "checkpoints" / "final"


def test_the_folder_is_pefts_own(trained: Path, taught: Path) -> None:
    """Loaded by peft alone, by base and folder or by folder alone; moved away from the base."""
    final = final_of(trained)
    assert {"adapter_config.json", "adapter_model.safetensors", "harness_base.json", "tokenizer.json"} <= files_of(
        final
    )
    assert not (final / "model.safetensors").exists()
    base = loaded(AutoModelForCausalLM, taught)
    start = logits(base)
    theirs = logits(PeftModel.from_pretrained(base, final).eval())
    alone = logits(loaded(AutoPeftModelForCausalLM, final))
    assert torch.equal(alone, theirs) and float((theirs - start).abs().max()) > 1e-3
    ours, _, identity = load_model(str(final))
    close(logits(ours), theirs, rtol=0, atol=1e-5)
    assert identity["name"] == str(final) and identity["base_name"] == str(taught)
    config = json.loads((final / "adapter_config.json").read_text())
    assert (config["r"], config["lora_alpha"], config["target_modules"]) == (4, 8, sorted(config["target_modules"]))


def test_the_record_and_the_ledger_know_of_the_adapter(trained: Path) -> None:
    record = json.loads((trained / "record.json").read_text())
    assert record["config"]["lora"] == {
        "r": 4, "alpha": 8, "target": "all-linear", "dora": False, "rslora": False, "dropout": 0.0, "merge": False,
        "base": "full",
    }  # fmt: skip
    parts = record["memory"]["parts"]
    assert "reference" not in parts and parts["gradients"]["bytes"] < parts["policy"]["bytes"] / 5
    assert record["checks"]["first_update_max_abs_logratio"] < 1e-4


def test_merged_it_is_a_plain_model(trained: Path, call: Call, tmp_path: Path) -> None:  # noqa: F811
    code, _, error = call("merge", str(trained), "--out", str(tmp_path / "whole"))
    assert (code, error) == (0, "")
    assert not {"adapter_config.json", "harness_base.json"} & files_of(tmp_path / "whole")
    plain = loaded(AutoModelForCausalLM, tmp_path / "whole")
    unmerged = loaded(AutoPeftModelForCausalLM, final_of(trained))
    close(logits(plain), logits(unmerged), rtol=1e-6, atol=1e-5)
    code, _, error = call("merge", str(trained), "--out", str(tmp_path / "whole"))
    assert code == 2 and "there already" in one_line(error)


def test_a_run_may_end_merged(trained: Path, taught: Path, call: Call, tmp_path: Path) -> None:  # noqa: F811
    assert call(*words(taught, tmp_path, "run", "lora.merge=true"), "--lora", LORA)[0] == 0
    merged = loaded(AutoModelForCausalLM, final_of(tmp_path / "run"))
    unmerged = loaded(AutoPeftModelForCausalLM, final_of(trained))
    close(logits(merged), logits(unmerged), rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize("scorer", ["ours", "hf"])
def test_a_run_is_evaluated_by_its_folder(trained: Path, call: Call, scorer: str) -> None:  # noqa: F811
    settings = [word for s in SETTINGS for word in ("--set", s)]
    code, said, error = call("eval", str(trained), *settings, "--eval-limit", "16", "--scorer", scorer, "--json")
    assert (code, error) == (0, "")
    row = next(r for r in json.loads(said)["rows"] if (r["task"], r["metric"]) == ("arithmetic", "exact_match"))
    assert 0 <= row["value"] <= 1


def test_another_run_starts_from_the_adapter(trained: Path, call: Call, tmp_path: Path) -> None:  # noqa: F811
    """With its own fields it is trained on: the reference is the start, base and adapter; without lora it is merged."""
    final = final_of(trained)
    settings = words(final, tmp_path, "on", "algo.kl_coef=0.1")
    assert call(*settings, "--lora", LORA)[0] == 0
    record = json.loads((tmp_path / "on" / "record.json").read_text())
    first = json.loads((tmp_path / "on" / "metrics.jsonl").read_text().splitlines()[0])
    close(first["kl"], 0.0, atol=1e-6)
    assert record["memory"]["parts"]["reference"]["bytes"] == record["memory"]["parts"]["gradients"]["bytes"]
    base = json.loads((final_of(tmp_path / "on") / "harness_base.json").read_text())
    assert base == json.loads((final / "harness_base.json").read_text())
    moved, stayed = (load_file(f / "adapter_model.safetensors") for f in (final_of(tmp_path / "on"), final))
    assert moved.keys() == stayed.keys() and not torch.equal(*(next(iter(x.values())) for x in (moved, stayed)))

    assert call(*words(final, tmp_path, "whole"))[0] == 0
    assert (final_of(tmp_path / "whole") / "model.safetensors").exists()


ALGORITHMS = {
    "ppo": ["algo=ppo"],
    "ppo_shared": ["algo=ppo", "algo.critic=shared", "gradient_checkpointing=true"],
    "rft": ["algo=rft", "algo.reward_threshold=0.5"],
    "online_rft": ["algo=online_rft"],
    "dpo": ["algo=dpo", "algo.reward_threshold=0.5", "algo.epochs=3"],
    "sft": ["algo=sft", "prompts=16", "max_new_tokens=56"],
    "grpo_dora_bf16": ["algo=grpo", "lora.dora=true", "dtype=bfloat16"],
    "grpo_bf16": ["algo=grpo", "lora.target=q_proj+v_proj", "dtype=bfloat16"],
    "outcome_model": ["algo=grpo", "reward=outcome-model", "reward_model.prompts=4", "reward_model.samples=2"],
}


@pytest.mark.parametrize("arm", ALGORITHMS)
def test_every_algorithm_trains_an_adapter(arm: str, taught: Path, call: Call, tmp_path: Path) -> None:  # noqa: F811
    code, _, error = call(*words(taught, tmp_path, arm, "budget=completions=96", *ALGORITHMS[arm]), "--lora", LORA)
    assert (code, error) == (0, "")
    record = json.loads((tmp_path / arm / "record.json").read_text())
    assert record["status"] == "finished" and record["spend"]["updates"] > 0
    weights = load_file(final_of(tmp_path / arm) / "adapter_model.safetensors")
    assert any(bool(x.any()) for name, x in weights.items() if "lora_B" in name), "B is still zero"


# ---------------------------------------------------------------- bad input

WRONG: dict[str, tuple[list[str], list[str]]] = {
    # what is wrong -> (words, what the line must say)
    "no rank": (["--lora", "r=0"], ["lora.r", "at least 1", "0"]),
    "a negative rank": (["--set", "lora.r=-4"], ["lora.r", "-4"]),
    "no scale": (["--lora", "alpha=0"], ["lora.alpha", "at least 1"]),
    "half a rank": (["--lora", "r=1.5"], ["lora.r", "int", "1.5"]),
    "no layer": (["--lora", "target=query"], ["lora.target", "query", "all-linear", "q_proj"]),
    "no target": (["--lora", "target=+"], ["lora.target", "all-linear"]),
    "the head": (["--lora", "target=lm_head"], ["lora.target", "lm_head", "q_proj"]),
    "dropout": (["--lora", "r=4,dropout=0.1"], ["lora.dropout", "must be 0", "ratio"]),
    "no such field": (["--lora", "rank=4"], ["lora.rank", "unknown field", "lora.r,"]),
    "no field at all": (["--lora", "16"], ["--lora", "'16'", "field=value"]),
    "a reference elsewhere": (["--lora", LORA, "--set", "reference_device=cpu"], ["reference_device", "base"]),
    "a quantised base on a CPU": (["--lora", "r=4,base=nf4", "--device", "cpu"], ["lora.base", "nf4", "CUDA"]),
    "a quantised base to merge": (["--lora", "r=4,base=nf4,merge=true"], ["lora.merge", "nf4"]),
    "no such base": (["--lora", "base=int2"], ["lora.base", "int2", "nf4"]),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_fields_are_one_line(case: str, taught: Path, call: Call, tmp_path: Path) -> None:  # noqa: F811
    given, said = WRONG[case]
    code, _, error = call(*words(taught, tmp_path, "bad"), *given)
    assert code == 2 and all(word in one_line(error) for word in said), error
    assert not files_of(tmp_path)


def test_without_peft_the_extra_is_named(
    taught: Path,
    call: Call,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    code, _, error = call(*words(taught, tmp_path, "bad"), "--lora", LORA)
    assert code == 2 and "peft" in one_line(error) and "[lora]" in error


def adapter(here: Path, of: Path | str, **fields: Any) -> Path:
    """An adapter that was made on a tiny llama, said to be for the model `of`."""
    model = build("llama")
    folder = here / "adapter"
    save(attach(model, LoraFields(r=4, alpha=8), 0), folder, {"name": str(of)})
    (folder / "harness_base.json").unlink()
    table = json.loads((folder / "adapter_config.json").read_text())
    table = {**table, "base_model_name_or_path": str(of), **fields}
    (folder / "adapter_config.json").write_text(json.dumps(table))
    return folder


def other_model(here: Path) -> Path:
    save_model(build("llama", seed=3), letters(), here / "other")
    return here / "other"


def other_bytes(here: Path, trained: Path) -> Path:  # noqa: F811
    """The adapter of a run whose base has been trained on since."""
    shutil.copytree(final_of(trained), here / "adapter")
    config = json.loads((here / "adapter/adapter_config.json").read_text())
    shutil.copytree(config["base_model_name_or_path"], here / "base")
    weights = load_file(here / "base/model.safetensors")
    save_file({name: x + 0.01 for name, x in weights.items()}, here / "base/model.safetensors", {"format": "pt"})
    (here / "adapter/adapter_config.json").write_text(json.dumps({**config, "base_model_name_or_path": f"{here}/base"}))
    return here / "adapter"


def cut(here: Path, taught: Path) -> Path:
    folder = adapter(here, taught)
    (folder / "adapter_model.safetensors").write_bytes(b"not a file")
    return folder


def lacking(here: Path, trained: Path) -> Path:
    shutil.copytree(final_of(trained), here / "adapter")
    file = here / "adapter/adapter_model.safetensors"
    weights = load_file(file)
    save_file({name: weights[name] for name in sorted(weights)[1:]}, file)
    return here / "adapter"


BAD: dict[str, tuple[Callable[..., Path], list[str]]] = {
    "another base's shapes": (lambda here, taught, trained: adapter(here, taught), ["adapter", "shape"]),
    "another base's bytes": (lambda here, taught, trained: other_bytes(here, trained), ["another base", "sha256"]),
    "a base that is gone": (lambda here, taught, trained: adapter(here, here / "gone"), ["gone"]),
    "a base that is itself": (lambda here, taught, trained: adapter(here, here / "adapter"), ["names no base"]),
    "a base that is an adapter": (
        lambda here, taught, trained: adapter(here, final_of(trained)),
        ["adapter itself", "harness merge"],
    ),
    "no base": (lambda here, taught, trained: adapter(here, taught, base_model_name_or_path=None), ["names no base"]),
    "layers that are not there": (
        lambda here, taught, trained: adapter(here, other_model(here), target_modules=["query"]),
        ["adapter"],
    ),
    "weights that are cut": (lambda here, taught, trained: cut(here, taught), ["adapter_model.safetensors"]),
    "a tensor that is missing": (lambda here, taught, trained: lacking(here, trained), ["lacks 1 tensor", "lora_A"]),
}


@pytest.mark.parametrize(  # what is trained on goes by its tensors, whatever layers its configuration names
    ("case", "lora"),
    [(c, x) for c in BAD for x in ([], ["--lora", LORA]) if not x or c != "layers that are not there"],
    ids=lambda x: x if isinstance(x, str) else "trained_on" if x else "merged",
)
def test_a_wrong_adapter_is_one_line(
    case: str,
    lora: list[str],
    taught: Path,
    trained: Path,
    call: Call,  # noqa: F811
    tmp_path: Path,
) -> None:
    make, said = BAD[case]
    folder = make(tmp_path, taught, trained)
    code, _, error = call(*words(folder, tmp_path / "out", "bad"), "--max-new-tokens", "8", *lora)
    assert code == 2 and all(word in one_line(error) for word in said), error
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("given", ["r=8,alpha=8", "r=4,alpha=16", "r=4,alpha=8,dora=true"])
def test_an_adapter_is_trained_on_as_what_it_is(given: str, trained: Path, call: Call, tmp_path: Path) -> None:  # noqa: F811
    code, _, error = call(*words(final_of(trained), tmp_path, "bad"), "--lora", given)
    assert code == 2 and "lora." in one_line(error) and "harness merge" in error


def test_merging_what_is_no_adapter(taught: Path, call: Call, tmp_path: Path) -> None:  # noqa: F811
    code, _, error = call("merge", str(taught), "--out", str(tmp_path / "x"))
    assert code == 2 and "adapter_config.json" in one_line(error)
