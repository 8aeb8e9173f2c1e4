"""Folders that transformers wrote: loaded, compared with its own answers, saved, loaded again."""

from __future__ import annotations

import json
import shutil
import warnings

import numpy as np
import pytest
from golden import FIXTURES

from minitx.checkpoint import CheckpointError, PretrainedWarning, load_safetensors, save_safetensors
from minitx.models import (
    BERT,
    GPT,
    BERTChoice,
    BERTClassifier,
    BERTPretraining,
    BERTSpans,
    BERTTagger,
    GPTConfig,
    Transformer,
    TransformerConfig,
)

FOLDERS = FIXTURES / "pretrained"
CLASSES = {
    "bert": BERT,
    "bert_pretraining": BERTPretraining,
    "bert_mlm": BERTPretraining,
    "bert_nsp": BERTPretraining,
    "bert_classifier": BERTClassifier,
    "bert_tagger": BERTTagger,
    "bert_answers": BERTSpans,
    "bert_choice": BERTChoice,
    "gpt2": GPT,
    "gpt2_sharded": GPT,
    "gpt2_bare": GPT,
    "gpt_neo": GPT,
    "gpt1": GPT,
    "marian": Transformer,
}
HALVES = {"bert_classifier": "BF16", "bert_answers": "F16", "gpt2_sharded": "F16"}
HALVES |= {"gpt2_bare": "BF16"}


def answers(name: str, model, ids: np.ndarray) -> dict[str, np.ndarray]:
    """Our outputs under transformers' names."""
    if name == "bert":
        hidden = model(ids)
        return {"last_hidden_state": hidden.data, "pooler_output": model.pool(hidden).data}
    if name == "bert_choice":
        return {"logits": model(ids[None]).data}
    if name == "marian":
        return {
            "logits": model(ids, ids[:, :4]).data,
            "encoder_last_hidden_state": model.encode(ids).data,
        }
    out = model(ids)
    if isinstance(model, GPT):
        return {"last_hidden_state": out.data, "logits": model.logits(out).data}
    if isinstance(model, BERTPretraining):
        tokens, follows = out
        known = {"prediction_logits": tokens, "seq_relationship_logits": follows}
        known["logits"] = tokens if follows is None else follows
        return {key: x.data for key, x in known.items() if x is not None}
    if isinstance(model, BERTSpans):
        return {"start_logits": out.data[:, :, 0], "end_logits": out.data[:, :, 1]}
    return {"logits": out.data}


@pytest.mark.parametrize("name", CLASSES)
def test_outputs_equal_those_of_transformers(name):
    model = CLASSES[name].from_pretrained(FOLDERS / name, dtype=np.float64)
    with np.load(FOLDERS / "outputs.npz") as frozen:
        ours = answers(name, model, frozen["ids"])
        theirs = {key.removeprefix(f"{name}/"): frozen[key] for key in frozen.files}
        tokens = {"ids", "greedy", "beams"}
        theirs = {key: x for key, x in theirs.items() if "/" not in key and key not in tokens}
    assert theirs
    for key, x in theirs.items():
        np.testing.assert_allclose(ours[key], x, rtol=0, atol=1e-10, err_msg=key)


@pytest.mark.parametrize("use_cache", [True, False])
@pytest.mark.parametrize(("search", "beams"), [("greedy", 1), ("beams", 3)])
def test_translations_equal_those_of_transformers(search, beams, use_cache):
    model = Transformer.from_pretrained(FOLDERS / "marian", dtype=np.float64)
    with np.load(FOLDERS / "outputs.npz") as frozen:
        ids, theirs = frozen["ids"], frozen[f"marian/{search}"][:, 1:]
    ours = model.translate(ids, 8, beams=beams, alpha=0.0, use_cache=use_cache)
    end = model.config.end
    for mine, frozen_row in zip(ours.tolist(), theirs.tolist(), strict=True):
        mine, frozen_row = (x[: x.index(end) + 1] if end in x else x for x in (mine, frozen_row))
        assert mine == frozen_row


def tensors(folder) -> dict[str, np.ndarray]:
    files = sorted(folder.glob("*.safetensors"))
    return {name: x for file in files for name, x in load_safetensors(file).items()}


@pytest.mark.parametrize("name", CLASSES)
def test_a_round_trip_changes_no_bit(name, tmp_path):
    model = CLASSES[name].from_pretrained(FOLDERS / name)
    model.save_pretrained(tmp_path)
    before, after = tensors(FOLDERS / name), tensors(tmp_path)
    if name == "gpt2_bare":  # saved as a language model, which it is here
        before = {f"transformer.{key}": x for key, x in before.items()}
    assert after.keys() == before.keys()
    for key, x in before.items():
        assert after[key].dtype == np.float32
        assert after[key].tobytes() == x.astype(np.float32).tobytes()
    again = CLASSES[name].from_pretrained(tmp_path)
    for key, x in model.state_dict().items():
        assert again.state_dict()[key].tobytes() == x.tobytes()
    if name not in HALVES:
        config = (tmp_path / "config.json").read_bytes()
        assert config == (FOLDERS / name / "config.json").read_bytes()


def test_shards_hold_what_one_file_does_and_stay_small(tmp_path):
    model = GPT.from_pretrained(FOLDERS / "gpt2")
    model.save_pretrained(tmp_path, shard_bytes=2000)
    files = sorted(tmp_path.glob("*.safetensors"))
    assert len(files) > 3 and files[0].name == f"model-00001-of-{len(files):05}.safetensors"
    assert all(sum(x.nbytes for x in load_safetensors(f).values()) <= 2000 for f in files)
    again = GPT.from_pretrained(tmp_path)
    for key, x in model.state_dict().items():
        np.testing.assert_array_equal(again.state_dict()[key], x)


@pytest.mark.parametrize("name", CLASSES)
def test_a_model_that_was_not_loaded_writes_a_config_that_is_understood(name, tmp_path):
    model = CLASSES[name].from_pretrained(FOLDERS / name)
    model.loaded = None
    model.save_pretrained(tmp_path)
    again = CLASSES[name].from_pretrained(tmp_path)
    body, body_again = (getattr(m, "bert", m) for m in (model, again))
    assert body.config == body_again.config
    written = json.loads((tmp_path / "config.json").read_text())
    theirs = json.loads((FOLDERS / name / "config.json").read_text())
    free = {"architectures", "attention_dropout", "dtype", "id2label", "label2id", "problem_type"}
    told = {key: x for key, x in written.items() if key in theirs and key not in free}
    assert told == {key: theirs[key] for key in told}


@pytest.mark.parametrize("name", HALVES)
def test_half_precision_becomes_float32_and_is_told(name):
    model = CLASSES[name].from_pretrained(FOLDERS / name)
    assert {x.dtype for _, x in model.named_tensors()} == {np.dtype(np.float32)}
    assert model.loaded.dtypes == {HALVES[name]: len(model.loaded.mapping)}
    assert HALVES[name] in str(model.loaded)


def test_a_body_comes_out_of_any_class_and_the_report_tells_what_was_left():
    body = BERT.from_pretrained(FOLDERS / "bert_pretraining")
    whole = BERTPretraining.from_pretrained(FOLDERS / "bert_pretraining")
    for name, x in whole.bert.state_dict().items():
        np.testing.assert_array_equal(body.state_dict()[name], x)
    assert all(name.startswith("cls.") for name in body.loaded.unused) and body.loaded.unused
    report = str(body.loaded)
    assert "cls.predictions.bias: not used" in report
    assert "bert.embeddings.word_embeddings.weight -> tokens.weight" in report
    assert not whole.loaded.unused and not body.training
    assert BERT.from_pretrained(FOLDERS / "bert_tagger").pooler is None


@pytest.fixture
def copy(tmp_path):
    """Copies a folder, with changes to its config."""

    def make(name, **changes):
        folder = tmp_path / "copy"
        shutil.copytree(FOLDERS / name, folder)
        config = json.loads((folder / "config.json").read_text()) | changes
        (folder / "config.json").write_text(json.dumps(config))
        return folder

    return make


def test_unknown_settings_are_warned_of_and_kept(copy, tmp_path):
    folder = copy("gpt2", rotary_base=10000, top_p=0.9)
    with pytest.warns(PretrainedWarning, match="rotary_base = 10000"):
        model = GPT.from_pretrained(folder)
    assert model.loaded.unknown == ["rotary_base"]
    assert "config rotary_base = 10000: unknown" in str(model.loaded)
    model.save_pretrained(tmp_path / "saved")
    assert json.loads((tmp_path / "saved" / "config.json").read_text())["rotary_base"] == 10000


def test_different_dropouts_are_told(copy):
    model = GPT.from_pretrained(copy("gpt2", attn_pdrop=0.3))
    assert model.config.dropout == 0.1
    assert "attn_pdrop is 0.3; resid_pdrop, 0.1, is used for both" in str(model.loaded)


def test_double_precision_stays(copy):
    folder = copy("bert")
    wide = {name: x.astype(np.float64) for name, x in tensors(folder).items()}
    save_safetensors(folder / "model.safetensors", wide)
    assert BERT.from_pretrained(folder).tokens.weight.dtype == np.float64
    assert BERT.from_pretrained(folder, dtype=np.float32).tokens.weight.dtype == np.float32


def test_one_kind_of_weights_can_be_chosen(copy):
    folder = copy("gpt2")
    (folder / "pytorch_model.bin").write_bytes(b"not read")
    with pytest.raises(CheckpointError, match="2 kinds of weights, model.safetensors and pytorch"):
        GPT.from_pretrained(folder)
    GPT.from_pretrained(folder, weights="model.safetensors")


def spoilt(name, spoil, **changes):
    def make(copy):
        folder = copy(name, **changes)
        spoil(folder)
        return folder

    return make


def remove(file):
    return lambda folder: (folder / file).unlink()


def write(file, text):
    return lambda folder: (folder / file).write_text(text)


def edit_index(**changes):
    def spoil(folder):
        path = folder / "model.safetensors.index.json"
        index = json.loads(path.read_text())
        index["weight_map"] |= changes
        path.write_text(json.dumps(index))

    return spoil


def nothing(folder):
    pass


SHARD = "model-00001-of-00002.safetensors"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (spoilt("gpt2", remove("model.safetensors")), "there are no weights; expected model.safe"),
        (
            spoilt("gpt2", lambda f: (f / "model.safetensors").rename(f / "pytorch_model.bin")),
            "pytorch_model.bin may hold code",
        ),
        (spoilt("gpt2", write("model.safetensors.index.json", "{}")), "2 kinds of weights"),
        (spoilt("gpt2", remove("config.json")), "expected a folder with config.json"),
        (spoilt("gpt2", write("config.json", "{")), "is not JSON"),
        (spoilt("gpt2", write("config.json", "[]")), "expected a JSON object, got list"),
        (spoilt("bert", nothing), "model_type is 'bert'; GPT reads 'openai-gpt' or 'gpt2' or"),
        (spoilt("gpt2", write("config.json", "{}")), "model_type is None"),
        (spoilt("gpt2", nothing, activation_function="relu"), "activation_function is 'relu'"),
        (spoilt("gpt2", nothing, n_inner=99), "n_inner is 99; expected None or 32"),
        (spoilt("gpt2", nothing, n_head=3), "width 8 is not a multiple of heads 3"),
        (spoilt("gpt2", nothing, n_layer=3), "missing: transformer.h.2.attn.c_attn.weight"),
        (spoilt("gpt2", nothing, n_positions=11), r"misshapen: transformer.wpe.weight \(10, 8\)"),
        (
            spoilt("gpt2", write("config.json", '{"model_type": "gpt2", "n_layer": 2}')),
            "vocab_size is missing; n_positions is missing",
        ),
        (spoilt("gpt_neo", nothing, attention_layers=["global", "global"]), "attention_layers is"),
        (spoilt("gpt2", write("model.safetensors", "no")), "at least 8 bytes"),
        (spoilt("gpt2_sharded", remove(SHARD)), f"'{SHARD}' is not a file of this folder"),
        (spoilt("gpt2_sharded", edit_index(x="../evil.safetensors")), "'../evil.safetensors' is"),
        (spoilt("gpt2_sharded", edit_index(x=SHARD)), "tensor 'x' is missing"),
        (spoilt("gpt2_sharded", edit_index(x=3)), "expected weight_map"),
        (
            spoilt("gpt2_sharded", edit_index(**{"transformer.ln_f.bias": SHARD})),
            "transformer.ln_f.bias' is missing",
        ),
    ],
)
def test_a_wrong_folder_gets_one_clear_error(make, message, copy):
    with pytest.raises(CheckpointError, match=message):
        GPT.from_pretrained(make(copy))


@pytest.mark.parametrize(
    ("cls", "name", "changes", "message"),
    [
        (BERT, "gpt2", {}, "model_type is 'gpt2'; BERT reads 'bert'"),
        (BERT, "bert", {"position_embedding_type": "relative_key"}, "expected 'absolute'"),
        (BERT, "bert", {"is_decoder": True}, "is_decoder is True"),
        (BERT, "bert", {"hidden_act": "mish"}, "unknown activation 'mish'"),
        (BERTClassifier, "bert_pretraining", {}, "there is no classifier.weight"),
        (BERTPretraining, "bert_tagger", {}, "neither mlm nor nsp"),
        (BERTClassifier, "bert_classifier", {"problem_type": "x"}, "problem is 'x'"),
    ],
)
def test_a_wrong_bert_gets_one_clear_error(cls, name, changes, message, copy):
    with pytest.raises(CheckpointError, match=message):
        cls.from_pretrained(copy(name, **changes))


def test_saving_into_a_folder_with_other_weights_writes_nothing(tmp_path):
    model = GPT.from_pretrained(FOLDERS / "gpt2")
    (tmp_path / "pytorch_model.bin").write_bytes(b"x")
    with pytest.raises(CheckpointError, match="there is pytorch_model.bin"):
        model.save_pretrained(tmp_path)
    model.save_pretrained(tmp_path / "new")
    with pytest.raises(CheckpointError, match="there is model.safetensors"):
        model.save_pretrained(tmp_path / "new", shard_bytes=10)
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["pytorch_model.bin"]


@pytest.mark.parametrize(
    "model",
    [GPT(GPTConfig(11, 7, 2, 2, 8, window=3)), Transformer(TransformerConfig.tiny(11))],
    ids=["gpt3", "transformer"],
)
def test_a_model_without_an_official_class_is_not_saved(model, tmp_path):
    with pytest.raises(CheckpointError, match="no official class"):
        model.save_pretrained(tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_no_warning_for_what_transformers_writes():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name, cls in CLASSES.items():
            assert cls.from_pretrained(FOLDERS / name).loaded.unknown == []
