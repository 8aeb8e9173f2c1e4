"""Names and settings of the official BERT, as transformers writes them; a table for each class."""

from __future__ import annotations

from ...checkpoint.configs import ConfigTable
from ...checkpoint.names import NameTable, layer, names

_PARTS = ("weight", "bias")
_LAYER = {  # ours: theirs, in block i
    "attention.query": "attention.self.query",
    "attention.key": "attention.self.key",
    "attention.value": "attention.self.value",
    "attention.output": "attention.output.dense",
    "norm1": "attention.output.LayerNorm",
    "mlp.up": "intermediate.dense",
    "mlp.down": "output.dense",
    "norm2": "output.LayerNorm",
}
_POOLER = {"pooler": "pooler.dense"}
_MLM = {
    "mlm.transform": "cls.predictions.transform.dense",
    "mlm.norm": "cls.predictions.transform.LayerNorm",
}
_NSP = {"nsp": "cls.seq_relationship"}
_HEADS = ("classifier", "qa_outputs", "cls.seq_relationship", *_MLM.values())
_MLM_BIAS = "cls.predictions.bias"
_DECODER = "cls.predictions.decoder"


def _pairs(table, ours="", official=""):
    """Rows of weights and biases, of layers that are called thus."""
    return [row for a, b in table.items() for row in layer(f"{ours}{a}", f"{official}{b}")]


def _body(ours, official):
    for our_name, their_name in (
        ("tokens", "word_embeddings"),
        ("positions", "position_embeddings"),
        ("types", "token_type_embeddings"),
    ):
        yield f"{ours}{our_name}.weight", f"{official}embeddings.{their_name}.weight"
    yield from _pairs({"input_norm": "embeddings.LayerNorm"}, ours, official)
    yield from _pairs(_LAYER, f"{ours}blocks.{{}}.", f"{official}encoder.layer.{{}}.")
    yield from _pairs(_POOLER, ours, official)


def _of_old(name):
    """What the first releases called a norm's weight and bias; "" for other names."""
    layer, _, part = name.rpartition(".")
    old = {"weight": "gamma", "bias": "beta"}
    return f"{layer}.{old[part]}" if layer.endswith("LayerNorm") and part in old else ""


def _table(name, prefix, rows, tied=None, **prefixes) -> NameTable:
    """ignored: what some files hold beside the class's own, an unused pooler or other heads."""
    rows = [*_body(prefix, prefix), *rows]
    known = {official for _, official in rows}
    heads = {f"{head}.{part}" for head in _HEADS for part in _PARTS} | {_MLM_BIAS}
    heads |= {f"{_DECODER}.{part}" for part in _PARTS} - set(tied or ())
    heads |= {f"{prefix}{_POOLER['pooler']}.{part}" for part in _PARTS}
    heads.add(f"{prefix}embeddings.position_ids")
    former = {_of_old(name): name for name in known if _of_old(name)}
    heads |= {_of_old(name) for name in heads if _of_old(name)}
    return names(
        f"transformers.{name}",
        *rows,
        tied=tied,
        ignored=tuple(sorted(heads)),
        former=former,
        **prefixes,
    )


def _head_table(name, rows, tied=None) -> NameTable:
    return _table(name, "bert.", rows, tied, optional_prefix="bert.")


_TIED = {
    f"{_DECODER}.weight": "bert.embeddings.word_embeddings.weight",
    f"{_DECODER}.bias": _MLM_BIAS,
}
_MLM_ROWS = [*_pairs(_MLM), ("mlm.bias", _MLM_BIAS)]

MODEL = _table("BertModel", "", [], extra_prefix="bert.")
PRETRAINING = _head_table("BertForPreTraining", [*_MLM_ROWS, *_pairs(_NSP)], _TIED)
MASKED_LM = _head_table("BertForMaskedLM", _MLM_ROWS, _TIED)
NEXT_SENTENCE = _head_table("BertForNextSentencePrediction", _pairs(_NSP))
CLASSIFIER = _head_table("BertForSequenceClassification", _pairs({"head": "classifier"}))
TAGGER = _head_table("BertForTokenClassification", _pairs({"head": "classifier"}))
SPANS = _head_table("BertForQuestionAnswering", _pairs({"head": "qa_outputs"}))
CHOICE = _head_table("BertForMultipleChoice", _pairs({"head": "classifier"}))

CONFIG = ConfigTable(
    "bert",
    needed={
        "vocab_size": "vocab_size",
        "context": "max_position_embeddings",
        "layers": "num_hidden_layers",
        "heads": "num_attention_heads",
        "width": "hidden_size",
        "hidden": "intermediate_size",
    },
    optional={
        "types": "type_vocab_size",
        "dropout": ("hidden_dropout_prob", "attention_probs_dropout_prob"),
        "activation": "hidden_act",
        "eps": "layer_norm_eps",
        "pad": "pad_token_id",
    },
    fixed={
        "position_embedding_type": ("absolute",),
        "is_decoder": (False,),
        "add_cross_attention": (False,),
    },
    values={"hidden_act": {"gelu_new": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh"}},
)
