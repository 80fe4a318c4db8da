"""What a finished run is used for: evaluated again, or pushed to the hub."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from harness.config.errors import PushFailed

FINAL = Path("checkpoints", "final")
BESIDE = ("record.json", "metrics.jsonl", "samples.jsonl")  # pushed with the model, into run/
# Fields of a run that its evaluation goes by, beside its task.
EVALUATION = ("max_new_tokens", "system_prompt", "chat_template_kwargs", "chat_date", "seed")


def run_defaults(place: Path, other_task: bool = False) -> tuple[str, dict[str, Any] | None]:
    """(model, fields below the flags) of what `harness eval` was given: a run's folder, else a model by name.

    Of a run: its `checkpoints/final`, its task with its fields (not where another task is asked for), and how it was
    prompted.  Raises ValueError where the run has no final model.
    """
    from harness.records.runs import read_record

    if not (place / "record.json").is_file():
        return str(place), None
    record = read_record(place)
    assert record is not None
    config = record["config"]
    kept = {name: config[name] for name in EVALUATION if name in config}
    if not other_task:
        kept |= {"task_name": config["task_name"], "task": config.get("task", {})}
        kept |= {"tool": config.get("tool", {})}  # a record is data: a user's FILE.py is named anew, by --tool
        kept |= {"tools": [name for name in config.get("tools", []) if ".py" not in name]}
    return str(final_of(place)), kept


def final_of(run: Path) -> Path:
    """The model that a run ended with.  Raises ValueError where there is none."""
    if not (final := run / FINAL).is_dir():
        from harness.records.runs import status_of

        raise ValueError(
            f"{final}: no such folder: the run is {status_of(run) or 'not there'}, and leaves it at its end"
        )
    return final


def files_to_push(run: Path, repo: str) -> list[tuple[str, Path]]:
    """(place in the repository, file), the model first.  Raises ValueError where the run is not finished, or the name
    is no repository's."""
    from huggingface_hub.utils import HFValidationError, validate_repo_id

    from harness.api.runs import load_record
    from harness.records.sharing.model_card import card_text

    try:
        validate_repo_id(repo)
    except HFValidationError as error:
        raise ValueError(f"repo: {' '.join(str(error).split())}") from None
    if repo.count("/") != 1:
        raise ValueError(f"repo: '{repo}' is not OWNER/NAME")
    record, final = load_record(run), final_of(run)
    card = final / "README.md"
    if not card.exists():  # of a run from before there were cards
        card.write_text(card_text(record), encoding="utf-8")
    model = [(str(f.relative_to(final)), f) for f in sorted(final.rglob("*")) if f.is_file() and not f.is_symlink()]
    return model + [(f"run/{name}", run / name) for name in BESIDE if (run / name).is_file()]


def push_run(run: Path, repo: str, *, private: bool = False, branch: str | None = None) -> str:
    """Upload; returns the repository's address.

    The token is the hub's own (`hf auth login`, HF_TOKEN).  Raises ValueError where there is nothing to push,
    PushFailed, one line, where the hub refuses or cannot be reached.
    """
    from huggingface_hub import CommitOperationAdd, HfApi

    files, api = files_to_push(run, repo), HfApi()
    try:
        address = api.create_repo(repo, private=private or None, exist_ok=True)
        if branch:
            api.create_branch(repo, branch=branch, exist_ok=True)
        api.create_commit(
            repo,
            [CommitOperationAdd(place, _content(place, file, run, repo)) for place, file in files],
            commit_message=f"{run.name}: model, card and record",
            revision=branch,
        )
    except Exception as error:  # whatever the hub's client or a connection raises
        reason = " ".join(str(error).split()) or type(error).__name__
        raise PushFailed(f"push to {repo}: {reason[:400]}") from error
    return str(address)


def _content(place: str, file: Path, run: Path, repo: str) -> str | bytes:
    """The file's path; of a card that nobody has edited the text, which then loads from the repository."""
    from harness.api.runs import load_record
    from harness.records.sharing.model_card import card_text

    record = load_record(run)
    if place == "README.md" and file.read_text(encoding="utf-8") == card_text(record):
        return card_text(record, repo).encode()
    return str(file)
