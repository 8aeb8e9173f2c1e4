"""tokenizer.json, the `tokenizers` library's file, to and from our states.

The file lists the stations of a text: normalizer, pre-tokenizer, model, post-processor, decoder.
Of the many combinations two are ours: BERT's and GPT-2's.  Whatever else a file asks for is named
in the error, as half of a tokenizer would give wrong ids.  How a file would truncate and pad is
not read: that is for the caller of `batch` to say.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .base import tokens_by_id

_PLAIN = {"single_word": False, "lstrip": False, "rstrip": False}  # an added token's options
_NORMALIZER = {  # the library's name -> ours
    "lowercase": "lowercase",
    "strip_accents": "strip_accents",
    "handle_chinese_chars": "tokenize_chinese_chars",
    "clean_text": "clean_text",
}


def from_tokenizer_json(data: object) -> dict[str, Any]:
    """The contents of a tokenizer.json -> a state; ValueError names what is not ours."""
    if not isinstance(data, Mapping) or not isinstance(data.get("model"), Mapping):
        raise ValueError("expected a tokenizer.json: a dict with a model")
    model = data["model"]
    kind = model.get("type") or ("BPE" if "merges" in model else "WordPiece")  # old files omit it
    if kind not in ("BPE", "WordPiece"):
        raise ValueError(f"model.type must be WordPiece or (byte-level) BPE, got {kind!r}")
    tokens = tokens_by_id(model.get("vocab"))
    added = _added_tokens(data.get("added_tokens") or [], tokens, normalized=kind == "BPE")
    if kind == "BPE":
        return _bpe_state(data, tokens, added)
    return _wordpiece_state(data, tokens, added)


def _wordpiece_state(
    data: Mapping[str, Any], tokens: list[str], added: list[str]
) -> dict[str, Any]:
    _check(data, "model", "WordPiece", {"continuing_subword_prefix": ("##",)})
    _check(data, "pre_tokenizer", "BertPreTokenizer")
    normalizer = _check(data, "normalizer", "BertNormalizer")
    state = {
        "kind": "wordpiece",
        "tokens": tokens,
        "special_tokens": added,
        "max_word": data["model"].get("max_input_chars_per_word", 100),
        "unk": data["model"].get("unk_token", "[UNK]"),
        "framed": data.get("post_processor") is not None,
        **{ours: normalizer[name] for name, ours in _NORMALIZER.items() if name in normalizer},
    }
    if state["framed"]:
        state["cls"], state["sep"] = _frame(data["post_processor"])
    padding = data.get("padding")
    if isinstance(padding, Mapping) and "pad_token" in padding:
        state["pad"] = padding["pad_token"]
    return state


def _frame(processor: Any) -> tuple[str, str]:
    """The names of [CLS] and [SEP] in a post-processor that makes [CLS] A [SEP] B [SEP]."""
    try:
        if processor["type"] == "BertProcessing":
            return processor["cls"][0], processor["sep"][0]
        first, _, last = processor["single"]
        cls, sep = (step["SpecialToken"]["id"] for step in (first, last))
        if processor["type"] == "TemplateProcessing" and processor["pair"] == _template(cls, sep):
            return cls, sep
    except (KeyError, TypeError, ValueError, IndexError):
        pass  # it is of another form
    raise ValueError("post_processor must make [CLS] A [SEP] B [SEP], or be null")


def _template(cls: object, sep: object) -> list[dict[str, Any]]:
    def step(kind: str, id: object, type: int) -> dict[str, Any]:
        return {kind: {"id": id, "type_id": type}}

    first = [step("SpecialToken", cls, 0), step("Sequence", "A", 0), step("SpecialToken", sep, 0)]
    return [*first, step("Sequence", "B", 1), step("SpecialToken", sep, 1)]


def _bpe_state(data: Mapping[str, Any], tokens: list[str], added: list[str]) -> dict[str, Any]:
    unset = {name: (None, "") for name in ("continuing_subword_prefix", "end_of_word_suffix")}
    never = {name: (None, False) for name in ("byte_fallback", "ignore_merges")}
    _check(data, "model", "BPE", {"dropout": (None, 0), **unset, **never})
    pre_tokenizer = _check(data, "pre_tokenizer", "ByteLevel", {"use_regex": (None, True)})
    if data.get("normalizer") is not None:
        raise ValueError(f"normalizer must be null for BPE, got {data['normalizer']!r}")
    if data.get("post_processor") is not None:
        _check(data, "post_processor", "ByteLevel", {"trim_offsets": (False,)})
    merges = data["model"].get("merges")
    if not isinstance(merges, list):
        raise ValueError(f"model.merges must be a list, got {type(merges).__name__}")
    return {
        "kind": "bpe",
        "tokens": list(dict.fromkeys([*tokens, *added])),
        "merges": [m if isinstance(m, str) else _joined(m) for m in merges],
        "special_tokens": added,
        "add_prefix_space": pre_tokenizer.get("add_prefix_space", False),
    }


def _joined(merge: object) -> str:
    """Newer files write a merge as a list of two strings."""
    if not isinstance(merge, list) or not all(isinstance(part, str) for part in merge):
        raise ValueError(f"model.merges: expected pairs of str, got {merge!r}")
    return " ".join(merge)


def _added_tokens(added: object, tokens: list[str], normalized: bool) -> list[str]:
    """The texts of added tokens, which are in the vocabulary or get the ids that follow."""
    if not isinstance(added, list) or not all(isinstance(entry, Mapping) for entry in added):
        raise ValueError("added_tokens must be a list of dicts")
    ids = {token: id for id, token in enumerate(tokens)}
    names: list[str] = []
    try:
        for entry in sorted(added, key=lambda entry: entry["id"]):
            name = entry["content"]
            if not isinstance(name, str) or ids.setdefault(name, len(ids)) != entry["id"]:
                raise ValueError(
                    f"added_tokens: {name!r} has id {entry['id']!r}; expected {ids.get(name)}"
                )
            wrong = [option for option in _PLAIN if entry.get(option)]
            wrong += ["normalized"] * (not normalized and bool(entry.get("normalized")))
            if wrong or not entry.get("special"):
                what = " and ".join(wrong) or "not special"
                raise ValueError(f"added_tokens: {name!r} is {what}, which is not supported")
            names.append(name)
    except (KeyError, TypeError):
        raise ValueError("added_tokens: every entry needs an integer id and a content") from None
    return names


def _check(
    data: Mapping[str, Any],
    station: str,
    kind: str,
    options: Mapping[str, tuple[Any, ...]] | None = None,
) -> Mapping[str, Any]:
    """data[station], if it is of that kind and its options have one of the values allowed."""
    found = data.get(station)
    if not isinstance(found, Mapping) or found.get("type", kind) != kind:
        what = found.get("type") if isinstance(found, Mapping) else found
        raise ValueError(f"{station} must be {kind}, got {what!r}")
    for name, allowed in (options or {}).items():
        if found.get(name, allowed[0]) not in allowed:
            raise ValueError(f"{station}.{name} must be {allowed[-1]!r}, got {found[name]!r}")
    return found


def to_tokenizer_json(state: Mapping[str, Any], ids: Mapping[str, int]) -> dict[str, Any]:
    """A state and its special tokens' ids -> the contents of a tokenizer.json."""
    added = [
        {"id": id, "content": token, **_PLAIN, "normalized": False, "special": True}
        for token, id in sorted(ids.items(), key=lambda item: item[1])
    ]
    stations = _bpe_stations(state) if state["kind"] == "bpe" else _wordpiece_stations(state, ids)
    stations["model"]["vocab"] = {token: id for id, token in enumerate(state["tokens"])}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        **stations,
    }


def _wordpiece_stations(state: Mapping[str, Any], ids: Mapping[str, int]) -> dict[str, Any]:
    frame = {
        "type": "BertProcessing",
        **{role: [state[role], ids[state[role]]] for role in ("sep", "cls")},
    }
    return {
        "normalizer": {
            "type": "BertNormalizer",
            **{name: state[ours] for name, ours in _NORMALIZER.items()},
        },
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": frame if state["framed"] else None,
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
        "model": {
            "type": "WordPiece",
            "unk_token": state["unk"],
            "continuing_subword_prefix": "##",
            "max_input_chars_per_word": state["max_word"],
        },
    }


def _bpe_stations(state: Mapping[str, Any]) -> dict[str, Any]:
    def byte_level(trim: bool) -> dict[str, Any]:
        prefix = state["add_prefix_space"]
        return {
            "type": "ByteLevel",
            "add_prefix_space": prefix,
            "trim_offsets": trim,
            "use_regex": True,
        }

    return {
        "normalizer": None,
        "pre_tokenizer": byte_level(False),
        "post_processor": byte_level(False),
        "decoder": byte_level(False),
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "merges": state["merges"],
        },
    }
