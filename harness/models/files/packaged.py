"""Models that a package of PyPI holds: found where it is installed, converted once (`gguf`)."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

from harness.config.start_models import Packaged, embedded, packaged
from harness.models.files import gguf


def folder_of(name: str) -> Path | None:
    """The folder that a model is loaded from: an embedded one's, a converted GGUF file's, the user's own.

    None for a hub id.  Raises ValueError, one line, where it is an embedded one without weights, its package is not
    installed, or the file is not what it should be.
    """
    if (package := packaged(name)) is not None:
        return gguf.converted(installed(package, name), name)
    if gguf.is_gguf(name):
        return gguf.converted(Path(name), name)
    folder = embedded(name) or Path(name)
    return folder if folder.is_dir() else None


def installed(package: Packaged, name: str) -> Path:
    """The file in the installed package."""
    try:
        file = Path(str(metadata.distribution(package.package).locate_file(package.file)))
    except metadata.PackageNotFoundError:
        raise ValueError(
            f"model: {name} is in the package {package.package}, which is not installed: {package.install}"
        ) from None
    if not file.is_file():
        raise ValueError(
            f"model: the package {package.package} that is installed has no {package.file}: {package.install}"
        )
    return file


def identity(name: str, folder: Path, sha256: str) -> dict[str, str]:
    """What a record says of a converted model beside its name and the weights' hash; nothing of any other.

    Raises ValueError where the weights are no longer those of the conversion.
    """
    said = gguf.about(folder)
    if said is None:
        return {}
    if said["weights_sha256"] != sha256:
        raise ValueError(f"model: {name}: {folder} has changed since it was converted: delete it, and it is made again")
    found = {
        "file": said["file"],
        "file_sha256": said["file_sha256"],
        "model": said["model"],
        "license": said["license"],
    }
    if (package := packaged(name)) is not None:
        found["package"] = f"{package.package} {metadata.version(package.package)}"
        found |= {"model": package.model, "license": package.license}
    return {key: str(value) for key, value in found.items() if value}


def notices(name: str, folder: Path) -> list[str]:
    """What the user should know of a converted model."""
    said, package = gguf.about(folder), packaged(name)
    if said is None:
        return []
    found = [f"model: {name}: {notice}" for notice in said["notices"]]
    if package is not None and said["file_sha256"] != package.sha256:
        found.append(
            f"model: {name}: the installed {package.file} is not that of {package.package} {package.version}: "
            f"sha256 {said['file_sha256'][:16]}, not {package.sha256[:16]}"
        )
    return found
