"""Tables between our configurations and the ``config.json`` of official models, for both ways.

GPT2_CONFIG = ConfigTable(
    "gpt2",
    needed={"context": "n_positions", ...},              # ours: theirs
    optional={"dropout": ("resid_pdrop", "attn_pdrop")}, # one of ours for several of theirs
    fixed={"activation_function": ("gelu_new",)},        # what we have no field for
)
settings, unknown, notes = GPT2_CONFIG.load(json)
json = GPT2_CONFIG.save(settings)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .errors import CheckpointError

# Fields of any model of transformers that change no number that we compute.
NEUTRAL = frozenset(
    """
    _attn_implementation_autoset _name_or_path _num_labels architectures bad_words_ids bos_token_id
    chunk_size_feed_forward classifier_dropout cross_attention_hidden_size decoder_start_token_id
    do_sample dtype eos_token_id finetuning_task gradient_checkpointing id2label initializer_range
    is_encoder_decoder label2id length_penalty max_length min_length model_type n_ctx num_beams
    num_labels output_attentions output_hidden_states output_past pad_token_id prefix problem_type
    reorder_and_upcast_attn return_dict sep_token_id summary_activation
    summary_first_dropout summary_proj_to_labels summary_type summary_use_proj task_specific_params
    temperature tie_word_embeddings tokenizer_class top_k top_p torch_dtype torchscript
    transformers_version use_cache
    """.split()
)


@dataclass(frozen=True)
class ConfigTable:
    """The two-way table of one ``model_type``.

    needed, optional: our field -> theirs, or several of theirs that are one of ours.  fixed: theirs
    -> what they may be, the first of which is written; a function computes it from our settings.
    ours: our fields that have one value in this family.  values: their field -> their spelling of a
    value -> ours.  neutral: more of theirs that change no number.
    """

    model_type: str
    needed: Mapping[str, str]
    optional: Mapping[str, str | tuple[str, ...]] = field(default_factory=dict)
    fixed: Mapping[str, tuple] = field(default_factory=dict)
    ours: Mapping[str, Any] = field(default_factory=dict)
    values: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    neutral: tuple[str, ...] = ()

    def load(self, config: Mapping[str, Any]) -> tuple[dict[str, Any], list[str], list[str]]:
        """Their fields -> our settings, the fields that nobody here knows, and remarks.

        Raises one CheckpointError that lists every field that is missing or that we cannot honour.
        """
        problems, notes = [], []
        settings = dict(self.ours)
        known = {*NEUTRAL, *self.neutral, *self.fixed, *self.needed.values()}
        for ours, theirs in self.needed.items():
            if theirs in config:
                settings[ours] = self._ours(theirs, config[theirs])
            else:
                problems.append(f"{theirs} is missing")
        for ours, names in self.optional.items():
            several = (names,) if isinstance(names, str) else names
            known.update(several)
            given = [name for name in several if config.get(name) is not None]
            for name in given[:1]:
                settings[ours] = self._ours(name, config[name])
            for name in given[1:]:
                if config[name] != config[given[0]]:
                    used = f"{given[0]}, {config[given[0]]}, is used for both"
                    notes.append(f"{name} is {config[name]}; {used}")
        for theirs, choices in self.fixed.items():
            if theirs in config and not problems:
                accepted = [_computed(choice, settings) for choice in choices]
                if config[theirs] not in accepted:
                    expected = " or ".join(map(repr, accepted))
                    problems.append(f"{theirs} is {config[theirs]!r}; expected {expected}")
        if problems:
            raise CheckpointError(f"{self.model_type} config: {'; '.join(problems)}")
        return settings, sorted(config.keys() - known), notes

    def save(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Our settings -> their fields."""
        config: dict[str, Any] = {"model_type": self.model_type}
        for ours, names in (*self.needed.items(), *self.optional.items()):
            for theirs in (names,) if isinstance(names, str) else names:
                config[theirs] = self._theirs(theirs, settings[ours])
        for theirs, choices in self.fixed.items():
            config[theirs] = _computed(choices[0], settings)
        return config

    def describes(self, settings: Mapping[str, Any]) -> bool:
        """Whether a model of these settings is one of the family."""
        return all(settings[name] == value for name, value in self.ours.items())

    def _ours(self, theirs: str, value: Any) -> Any:
        table = self.values.get(theirs, {})
        return table.get(value, value) if isinstance(value, str) else value

    def _theirs(self, theirs: str, value: Any) -> Any:
        table = self.values.get(theirs, {})
        return next((name for name, ours in table.items() if ours == value), value)


def _computed(choice: Any, settings: Mapping[str, Any]) -> Any:
    return choice(settings) if isinstance(choice, Callable) else choice  # type: ignore[arg-type]
