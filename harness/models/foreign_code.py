"""What a model from the hub or a folder may not bring along: code, and token ids that it has no row for.

transformers runs a repository's own Python files where `trust_remote_code` is true, and asks on the terminal where it
is not given: so it is given, as False, wherever something is loaded.  There is no option to turn it on.
"""

from __future__ import annotations

from typing import Any

OWN_CODE = (
    "it needs code of its own (auto_map in its configuration), which is never run here: "
    "only models and tokenizers that transformers itself has a class for are supported"
)


def reason_of(error: BaseException) -> str:
    """Why transformers could not load something, in one line."""
    text = str(error).strip()
    if "trust_remote_code" in text:
        return OWN_CODE
    return text.splitlines()[0] if text else type(error).__name__


def check_kernels(config: Any) -> None:
    """Raises ValueError where a configuration names an attention kernel of the hub: that is code too."""
    for part in (config, config.get_text_config()):
        implementation = getattr(part, "_attn_implementation", None)
        if isinstance(implementation, str) and "/" in implementation:
            raise ValueError(f"its attn_implementation '{implementation}' is code of the hub, which is never run here")


def check_vocabulary(tokenizer: Any, model: Any, name: str, field: str = "model") -> None:
    """Raises ValueError where the tokenizer has an id that the embedding has no row for."""
    rows = model.get_input_embeddings().weight.shape[0]
    token, largest = max(tokenizer.get_vocab().items(), key=lambda item: item[1])
    if largest >= rows:
        raise ValueError(
            f"{field}: the tokenizer of '{name}' has the id {largest} ({token!r}), and its embedding {rows:,} rows"
        )
