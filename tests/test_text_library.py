"""Ids, offsets, batches and files equal to those of the `tokenizers` library, frozen and live."""

from __future__ import annotations

import itertools
import json
import pathlib
import sys

import numpy as np
import pytest
from hypothesis import given
from strategies_text import PICKED, SPECIAL, known, texts

from minitx.text import load_tokenizer
from minitx.text.cleaning import Cleaning

FIXTURE = pathlib.Path(__file__).parent / "fixtures" / "tokenizers.npz"
NAMES = ["uncased", "cased", "accents", "raw", "gpt2", "prefixed"]


class Frozen:
    def __init__(self):
        with np.load(FIXTURE, allow_pickle=False) as file:
            self.arrays = {key: file[key].astype(np.int64) for key in file.files if key != "json"}
            contents = json.loads(bytes(file["json"]))
        self.files, self.vocab, self.texts = (contents[key] for key in ("files", "vocab", "texts"))
        self.decoded, self.settings = contents["decoded"], contents["settings"]

    def encodings(self, name):
        """(text, ids, offsets) of each text whose characters this Python knows."""
        ids, starts, ends = (self.arrays[f"{name}/{key}"] for key in ("ids", "starts", "ends"))
        offsets = np.stack([starts, ends], axis=1)
        places = np.cumsum(self.arrays[f"{name}/counts"])[:-1]
        cut = np.split(ids, places), np.split(offsets, places)
        return [row for row in zip(self.texts, *cut, strict=True) if known(row[0])]


@pytest.fixture(scope="module")
def frozen():
    return Frozen()


@pytest.fixture(scope="module")
def load(frozen, tmp_path_factory):
    """The tokenizer of a frozen tokenizer.json, by name."""
    folder = tmp_path_factory.mktemp("frozen")

    def tokenizer(name):
        (folder / f"{name}.json").write_text(frozen.files[name], "utf-8")
        return load_tokenizer(folder / f"{name}.json")

    return {name: tokenizer(name) for name in NAMES}.__getitem__


@pytest.mark.parametrize("name", NAMES)
def test_ids_and_offsets(frozen, load, name):
    tokenizer = load(name)
    encodings = frozen.encodings(name)
    assert len(encodings) >= 2000
    for text, ids, offsets in encodings:
        ours, places = tokenizer.encode_with_offsets(text)
        assert ours.dtype == places.dtype == np.int64
        assert ours.tolist() == ids.tolist(), ascii(text)
        assert places.tolist() == offsets.tolist(), ascii(text)
        assert tokenizer.encode(text).tolist() == ids.tolist()


@pytest.mark.parametrize("name", ["uncased", "gpt2"])
def test_decoding(frozen, load, name):
    tokenizer = load(name)
    decoded = dict(zip(frozen.texts, frozen.decoded[name], strict=True))
    for text, ids, _ in frozen.encodings(name):
        assert tokenizer.decode(ids, skip_special=True) == decoded[text], ascii(text)


@pytest.mark.parametrize("n", range(4))
def test_batches_of_pairs(frozen, load, n):
    setting = frozen.settings[n]
    rows = frozen.arrays[f"batch{n}/rows"]
    assert len(rows) >= 10
    batch = load("uncased").batch(
        [PICKED[row] for row in rows],
        [PICKED[40 + row] for row in rows],
        max_length=setting["max_length"],
        truncation=setting["strategy"],
        padding="max_length" if "length" in setting else "longest",
        multiple_of=setting.get("pad_to_multiple_of", 1),
        side=setting.get("direction", "right"),
    )
    for ours, theirs in zip(
        batch,
        ("ids", "type_ids", "attention_mask", "offsets", "special_tokens_mask"),
        strict=True,
    ):
        np.testing.assert_array_equal(ours, frozen.arrays[f"batch{n}/{theirs}"], theirs)
    assert batch.mask.dtype == batch.added.dtype == bool


def test_vocab_txt_gives_the_same_tokenizer_as_tokenizer_json(frozen, load, tmp_path):
    (tmp_path / "vocab.txt").write_text(frozen.vocab, "utf-8")
    tokenizer = load_tokenizer(tmp_path)
    for text in PICKED:
        np.testing.assert_array_equal(tokenizer.encode(text), load("uncased").encode(text))


# Against the library itself, where it is installed


@pytest.fixture(scope="module")
def library(frozen):
    tokenizers = pytest.importorskip("tokenizers")
    return {name: tokenizers.Tokenizer.from_str(frozen.files[name]) for name in NAMES}


def check_equal(library, ours, text):
    expected = library.encode(text, add_special_tokens=False)
    ids, offsets = ours.encode_with_offsets(text)
    assert ids.tolist() == expected.ids
    assert [tuple(pair) for pair in offsets.tolist()] == expected.offsets
    assert ours.decode(ids) == library.decode(expected.ids, skip_special_tokens=False)


@pytest.mark.parametrize("name", NAMES)
def test_live_any_text(library, load, name):
    @given(texts.filter(known))
    def check(text):
        check_equal(library[name], load(name), text)

    check()


@pytest.mark.parametrize("options", list(itertools.product([True, False], repeat=4)))
def test_live_every_character(options):
    normalizers = pytest.importorskip("tokenizers.normalizers")
    pre_tokenizers = pytest.importorskip("tokenizers.pre_tokenizers")
    lowercase, strip_accents, handle_chinese_chars, clean_text = options
    normalizer = normalizers.BertNormalizer(
        clean_text, handle_chinese_chars, strip_accents, lowercase
    )
    split = pre_tokenizers.BertPreTokenizer().pre_tokenize_str
    ours = Cleaning(lowercase, strip_accents, handle_chinese_chars, clean_text)
    step = 1 if all(options) else 7
    for code in [*range(0, 0x33480, step), *range(0xE0000, sys.maxunicode + 1, 111)]:
        text = f"a{chr(code)}b"
        if not 0xD800 <= code < 0xE000 and known(text):
            expected = [word for word, _ in split(normalizer.normalize_str(text))]
            assert [word for word in ours.clean(text).split(" ") if word] == expected, hex(code)


@pytest.mark.parametrize("name", NAMES)
def test_live_the_library_reads_what_we_write(load, tmp_path, name):
    tokenizers = pytest.importorskip("tokenizers")
    load(name).save(tmp_path)
    theirs = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    again = load_tokenizer(tmp_path)
    assert again.state() == load(name).state()
    for text in filter(known, PICKED):
        check_equal(theirs, again, text)
    framed = theirs.encode("a b", "c").ids
    assert again.batch(["a b"], ["c"], pad_id=0).ids[0].tolist() == framed


def test_live_the_older_files_read_alike(load, tmp_path):
    tokenizers = pytest.importorskip("tokenizers")
    load("uncased").save(tmp_path / "bert")
    load("gpt2").save(tmp_path / "gpt2")
    bert = tokenizers.BertWordPieceTokenizer(str(tmp_path / "bert" / "vocab.txt"))
    gpt2 = tokenizers.ByteLevelBPETokenizer(
        *(str(tmp_path / "gpt2" / name) for name in ("vocab.json", "merges.txt"))
    )
    gpt2.add_special_tokens(SPECIAL[-2:])
    pairs = [
        (bert, load_tokenizer(tmp_path / "bert" / "vocab.txt")),
        (gpt2, load_tokenizer(tmp_path / "gpt2" / "merges.txt")),
    ]
    for text in filter(known, PICKED):
        for theirs, ours in pairs:
            check_equal(theirs, ours, text)
