"""Names that come from anywhere stay under OUT; links that come with a folder are not written through."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.config.files.paths import check_name, check_no_links, check_targets
from harness.config.run_config import resolve
from harness.records.io import write_json
from harness.studies.ad_hoc import override_study, study_from_flags
from harness.studies.study import Study, load

OUTSIDE = {
    "above": "../x",
    "far above": "../../../x",
    "back again": "a/../../x",
    "at the root": "/tmp/x",
    "OUT itself": ".",
    "OUT itself, by nothing": "",
    "its parent": "..",
    "a line of its own": "a\nb",
    "an escape sequence": "\x1b[2Jx",
    "a null": "a\0b",
    "too long a name": "n" * 256,
    "too many bytes": "é" * 128,
    "too long a part": f"a/{'n' * 256}/b",
}
INSIDE = ("x", "a/b", "..x", "a..b", "n" * 255, "with space", "é" * 127)


@pytest.mark.parametrize("case", OUTSIDE)
def test_a_name_outside_is_refused(case: str) -> None:
    with pytest.raises(ValueError, match="^field: .*") as error:
        check_name(OUTSIDE[case], "field")
    message = str(error.value)
    assert message.isprintable() and len(message) < 400


@pytest.mark.parametrize("name", INSIDE)
def test_a_name_inside_is_taken(name: str) -> None:
    assert check_name(name, "field") == name


STUDY = 'seeds = 2\n[arms.a]\nalgo.name = "grpo"\n'
TUNED = STUDY + '[tune]\nseeds = [100, 101]\nstore = "{}"\ngrid.lr = [1e-4]\n'


@pytest.mark.parametrize("name", ["../../x", "/tmp/x", ".."])
def test_every_name_of_a_folder_is_checked(name: str, tmp_path: Path) -> None:
    """Of a run, of a study in its file and on the command line, and of the study that keeps the trials."""

    def study(text: str) -> Study:
        (tmp_path / "mine.toml").write_text(text)
        return load(str(tmp_path / "mine.toml"))

    refused = {
        "name": [
            lambda: resolve({"name": name}, [], None),
            lambda: resolve({}, [f"name={name}"], None),
            lambda: study(f'name = "{name}"\n{STUDY}'),
            lambda: override_study(study(STUDY), None, [], name),
            lambda: study_from_flags("grpo", "2", {}, [], None, name),
        ],
        "tune.store": [lambda: study(TUNED.format(name))],
    }
    for field, calls in refused.items():
        for call in calls:
            with pytest.raises(ValueError, match=rf"\b{field}: must be a folder under OUT"):
                call()
    assert study(TUNED.format("other")).tune is not None


def test_targets_and_links(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("mine")
    folder = tmp_path / "folder"
    (folder / "directory").mkdir(parents=True)
    (folder / "plain").write_text("")
    check_targets(folder, ["plain", "absent"])
    assert check_no_links(folder) == folder
    assert check_no_links(tmp_path / "absent") == tmp_path / "absent"
    (folder / "directory" / "link").symlink_to(outside)
    (folder / "dangling").symlink_to(tmp_path / "nowhere")
    for name in ("directory/link", "dangling", "directory"):
        with pytest.raises(ValueError, match=f"{folder / name}: is "):
            check_targets(folder, ["plain", name])
    with pytest.raises(ValueError, match="dangling: is a link to"):
        check_no_links(folder)


def test_a_file_is_written_whole_beside_a_link(tmp_path: Path) -> None:
    """The temporary file of an earlier crash, or one that came with the folder, may be a link."""
    outside = tmp_path / "outside"
    outside.write_text("mine")
    for name in ("record.json.tmp", "record.json"):
        (tmp_path / name).symlink_to(outside)
        write_json(tmp_path / "record.json", {"a": 1})
        assert outside.read_text() == "mine" and not (tmp_path / "record.json").is_symlink()
        (tmp_path / "record.json").unlink()


@pytest.mark.parametrize("name", ["metrics.jsonl", "samples.jsonl", "outcomes", "outcomes/a.jsonl.gz", "checkpoints"])
def test_a_run_is_not_resumed_through_links(name: str, tmp_path: Path) -> None:
    from harness.training.resume.folder import run_folder

    config = resolve({"out": str(tmp_path), "name": "x", "resume": True}, [], None)
    link = tmp_path / "x" / name
    link.parent.mkdir(parents=True)
    assert run_folder(config, "arithmetic") == tmp_path / "x"
    link.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match=f"{link}: is a link"):
        run_folder(config, "arithmetic")
