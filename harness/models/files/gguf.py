"""GGUF files (llama.cpp's format): converted once into a folder that `from_pretrained` loads, kept in the cache.

The weights become fp32, each quantised block exactly what it stands for: a Q4_1 block is d q + m with 16-bit d and m,
which 16 bits do not hold.  transformers reads the tensors and the vocabulary; three things it leaves out are put right
here.  `quantization_config` goes: the weights are plain ones by now.  Control tokens (`tokenizer.ggml.token_type` 3)
are tokens of their own and never part of a text.  How a text is cut before BPE is what `tokenizer.ggml.pre` names
(https://github.com/ggml-org/llama.cpp, src/llama-vocab.cpp).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, Regex, pre_tokenizers
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, modeling_gguf_pytorch_utils

from harness.models.files import cache
from harness.models.files.quiet import silenced
from harness.records.io import write_json

FORM = 1  # of what is kept: a change here converts anew
ABOUT = "converted.json"
NO_MODELS = ("general", "tokenizer")  # what transformers has in its list of architectures beside them
CONTROL = 3  # tokenizer.ggml.token_type of a token that no text holds
WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
# How a text is cut, by tokenizer.ggml.pre: "gpt-2" is what transformers makes of every byte-level BPE.
CUTS: dict[str, Any] = {
    "smollm": lambda: [pre_tokenizers.Digits(individual_digits=True), _bytes(True)],
    "llama-bpe": lambda: [pre_tokenizers.Split(Regex(WORDS + r"\p{N}{1,3}" + REST), "isolated"), _bytes(False)],
    "qwen2": lambda: [pre_tokenizers.Split(Regex(WORDS + r"\p{N}" + REST), "isolated"), _bytes(False)],
}
AS_IT_IS = ("gpt-2", "default")


def _bytes(words: bool) -> Any:
    return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=words)


def is_gguf(name: str) -> bool:
    return name.lower().endswith(".gguf")


def converted(file: Path, name: str) -> Path:
    """The folder that holds the file's model, in the cache; `name` is what the user calls it.

    Raises ValueError, one line, where there is no such file, it is not whole, or its architecture has no class.
    """
    if not file.is_file():
        raise ValueError(f"model: {name} is not a file" if file.exists() else f"model: there is no {name}")
    with file.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return cache.folder(f"{file.stem}-{digest[:16]}-{FORM}", lambda folder: _convert(file, name, digest, folder))


def about(folder: Path) -> dict[str, Any] | None:
    """What the conversion wrote down; None for a folder that is none.  Raises ValueError where it cannot be read."""
    file = folder / ABOUT
    try:
        return dict(json.loads(file.read_text())) if file.is_file() else None
    except (OSError, ValueError) as error:
        raise ValueError(f"model: {file} cannot be read: delete the folder, and it is made again") from error


def config_of(file: Path, name: str) -> dict[str, Any]:
    """Its configuration alone, as config.json would hold it."""
    _header(file, name)
    return _plain(_loaded(file, name, AutoConfig)).to_dict()


def _convert(file: Path, name: str, digest: str, folder: Path) -> None:
    header = _header(file, name)
    tokenizer = _loaded(file, name, AutoTokenizer)
    notices = _complete(tokenizer, header)
    model = _serialisable(_loaded(file, name, AutoModelForCausalLM, dtype=torch.float32))
    with silenced():
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    _strip_paths(folder / "tokenizer_config.json")
    weights = hashlib.sha256()
    for part in sorted(folder.glob("*.safetensors")):
        weights.update(part.read_bytes())
    write_json(
        folder / ABOUT,
        {
            "file": file.name,
            "file_sha256": digest,
            "weights_sha256": weights.hexdigest(),
            "model": header.get("general.name"),
            "license": header.get("general.license"),
            "quantisation": header["quantisation"],
            "notices": notices,
        },
    )


def _header(file: Path, name: str) -> dict[str, Any]:
    """The fields of the file without its vocabulary, and how many tensors are of which type."""
    if find_spec("gguf") is None:
        raise ValueError(f"model: {name} is a GGUF file, which the package gguf reads: pip install -e '.[smollm2]'")
    from gguf import GGUFReader

    try:
        reader = GGUFReader(file)
        header = {key: field.contents() for key, field in reader.fields.items() if not _is_vocabulary(key)}
        kinds = [tensor.tensor_type.name for tensor in reader.tensors]
        types = reader.get_field("tokenizer.ggml.token_type")
        header["control"] = [] if types is None else [i for i, x in enumerate(types.contents()) if x == CONTROL]
    except Exception as error:  # the package raises many kinds on a file that is cut or is none
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"model: {name} is no whole GGUF file: {reason[:200]}") from error
    header["quantisation"] = {kind: kinds.count(kind) for kind in sorted(set(kinds))}
    return header


def _is_vocabulary(key: str) -> bool:
    return key.startswith("tokenizer.ggml.") and key.rpartition(".")[2] in ("tokens", "token_type", "merges", "scores")


def _loaded(file: Path, name: str, kind: Any, **given: Any) -> Any:
    module: Any = modeling_gguf_pytorch_utils
    bars, module.tqdm = module.tqdm, lambda items, **_: items  # its own, which no setting turns off
    try:
        with silenced():
            return kind.from_pretrained(file.parent, gguf_file=file.name, trust_remote_code=False, **given)
    except Exception as error:  # as above, of transformers
        reason = (" ".join(str(error).split()) or type(error).__name__)[:200]
        if "architecture" in reason:
            reason += f" Valid: {', '.join(a for a in module.GGUF_SUPPORTED_ARCHITECTURES if a not in NO_MODELS)}"
        raise ValueError(f"model: {name} cannot be converted: {reason}") from error
    finally:
        module.tqdm = bars


def _plain(config: Any) -> Any:
    """Without the note that the weights are quantised, which would have `from_pretrained` look for the file."""
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    config.name_or_path = ""
    return config


def _serialisable(model: Any) -> Any:
    """The same tensors in a model that transformers does not take for a quantised one, which it would not save."""
    with torch.device("meta"):
        plain: Any = AutoModelForCausalLM.from_config(_plain(model.config), trust_remote_code=False)
    plain.load_state_dict(model.state_dict(), assign=True)
    plain.tie_weights()
    plain.generation_config = model.generation_config
    return plain


def _complete(tokenizer: Any, header: Mapping[str, Any]) -> list[str]:
    """Control tokens and the cutting of texts; what the user should know where the latter has no rule here."""
    backend = tokenizer.backend_tokenizer
    words = [backend.id_to_token(i) for i in header["control"]]
    backend.add_special_tokens([AddedToken(w, special=True, normalized=False) for w in words if w is not None])
    if header.get("tokenizer.ggml.model") != "gpt2":
        return []
    pre = header.get("tokenizer.ggml.pre", "default")
    if pre in CUTS:
        backend.pre_tokenizer = pre_tokenizers.Sequence(CUTS[pre]())
    elif pre not in AS_IT_IS:
        return [f"its texts are cut as '{pre}', which has no rule here: as gpt-2 cuts them"]
    return []


def _strip_paths(file: Path) -> None:
    """The tokenizer's configuration says where it came from: the same bits for everybody without that."""
    fields = json.loads(file.read_text())
    for name in ("name_or_path", "is_local", "local_files_only"):
        fields.pop(name, None)
    file.write_text(json.dumps(fields, indent=2, sort_keys=True) + "\n")
