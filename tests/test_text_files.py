"""Tokenizers in files: every kind is found, saved and loaded again, or refused by name."""

from __future__ import annotations

import json

import pytest

from minitx.text import (
    BPETokenizer,
    ByteTokenizer,
    CharTokenizer,
    WordPieceTokenizer,
    load_tokenizer,
)

TEXT = "The ship's mate didn't know what they'd find. Naïve café! " * 3
END = "<|endoftext|>"
BERT = WordPieceTokenizer.train(TEXT, 80)
GPT2 = BPETokenizer.train(TEXT, 280)
TRICKY = BPETokenizer.train(TEXT, 280, [END, "PAD"])  # merges.txt cannot say that PAD is special
ODD = WordPieceTokenizer(
    ["<u>", "<c>", "<s>", "<p>", "<m>", "a", "##b", "\u2028", "É"],
    ["<x>"],
    lowercase=False,
    strip_accents=True,
    tokenize_chinese_chars=False,
    clean_text=False,
    max_word=7,
    **dict(unk="<u>", cls="<c>", sep="<s>", pad="<p>", mask="<m>"),
)
UNFRAMED = WordPieceTokenizer(BERT.tokens, BERT.tokens[:5], framed=False)
PREFIXED = BPETokenizer(GPT2.tokens, GPT2.merges, [END], add_prefix_space=True)


def tokenizer_json(tmp_path, tokenizer):
    tokenizer.save(tmp_path)
    return json.loads((tmp_path / "tokenizer.json").read_text("utf-8"))


# What is written can be read


@pytest.mark.parametrize("tokenizer", [BERT, ODD, GPT2, TRICKY, PREFIXED, UNFRAMED])
def test_a_folder_gives_the_same_tokenizer(tokenizer, tmp_path):
    tokenizer.save(tmp_path / "a" / "b")
    for path in ("a/b", "a/b/tokenizer.json"):
        again = load_tokenizer(tmp_path / path)
        assert type(again) is type(tokenizer)
        assert again.special_tokens == tokenizer.special_tokens
        assert again.tokens == tokenizer.tokens
        assert again.encode(TEXT).tolist() == tokenizer.encode(TEXT).tolist()
        options = {**tokenizer.state(), "special_tokens": None}
        assert {**again.state(), "special_tokens": None} == options
        again.save(tmp_path / "c")
        for file in (tmp_path / "a" / "b").iterdir():
            assert (tmp_path / "c" / file.name).read_bytes() == file.read_bytes()


@pytest.mark.parametrize("tokenizer", [BERT, GPT2, PREFIXED])
def test_the_older_files_alone_will_do(tokenizer, tmp_path):
    tokenizer.save(tmp_path)
    (tmp_path / "tokenizer.json").unlink()
    for path in [
        tmp_path,
        *(tmp_path / name for name in ("vocab.txt", "vocab.json", "merges.txt")),
    ]:
        if path.exists():
            again = load_tokenizer(path)
            assert again.tokens == tokenizer.tokens
            assert again.encode(TEXT + END).tolist() == tokenizer.encode(TEXT + END).tolist()


def test_the_settings_beside_a_vocabulary_count(tmp_path):
    ODD.save(tmp_path)
    again = load_tokenizer(tmp_path / "vocab.txt")
    assert again.encode("É a").tolist() == [0, 5]
    assert (again.unk_id, again.cls_id, again.sep_id, again.pad_id, again.mask_id) == tuple(
        range(5)
    )
    (tmp_path / "tokenizer_config.json").write_text(
        json.dumps({"do_lower_case": False, "unk_token": {"content": "<u>", "special": True}})
    )
    with pytest.raises(ValueError, match=r"vocab.txt: .*'\[CLS\]', .* missing"):
        load_tokenizer(tmp_path / "vocab.txt")


@pytest.mark.parametrize("tokenizer", [ByteTokenizer(), CharTokenizer("abc")])
def test_the_simple_kinds_are_found_too(tokenizer, tmp_path):
    tokenizer.save(tmp_path / "tokenizer.json")
    for path in (tmp_path, tmp_path / "tokenizer.json"):
        assert load_tokenizer(path).state() == tokenizer.state()


def test_line_ends_of_windows(tmp_path):
    (tmp_path / "vocab.txt").write_bytes("\r\n".join([*BERT.tokens, ""]).encode())
    assert load_tokenizer(tmp_path).tokens == BERT.tokens


# Other writers' forms of the same


def template(cls, sep):
    a, b = ({"Sequence": {"id": name, "type_id": n}} for n, name in enumerate("AB"))
    first, last, second = (
        {"SpecialToken": {"id": id, "type_id": n}} for id, n in ((cls, 0), (sep, 0), (sep, 1))
    )
    return {
        "type": "TemplateProcessing",
        "single": [first, a, last],
        "pair": [first, a, last, b, second],
        "special_tokens": {},
    }


def test_a_template_frames_as_well(tmp_path):
    data = tokenizer_json(tmp_path, BERT)
    data["post_processor"] = template("[CLS]", "[SEP]")
    (tmp_path / "tokenizer.json").write_text(json.dumps(data))
    assert load_tokenizer(tmp_path).state() == BERT.state() | {"special_tokens": BERT.tokens[:5]}


def test_the_files_of_2020_name_no_model_and_join_merges(tmp_path):
    for tokenizer in (BERT, GPT2):
        data = tokenizer_json(tmp_path, tokenizer)
        del data["model"]["type"]
        (tmp_path / "tokenizer.json").write_text(json.dumps(data))
        assert load_tokenizer(tmp_path).tokens == tokenizer.tokens
    data["model"]["merges"] = [merge.split(" ") for merge in data["model"]["merges"]]
    (tmp_path / "tokenizer.json").write_text(json.dumps(data))
    assert load_tokenizer(tmp_path).merges == GPT2.merges


# What is refused


def put(*path):
    """A change of a nested dict: the last argument at the place the others lead to."""
    *keys, last, value = path

    def change(data):
        for key in keys:
            data = data[key]
        data[last] = value

    return change


BAD = [
    (BERT, put("model", "type", "Unigram"), "model.type must be WordPiece or .*BPE, got 'Unigram'"),
    (BERT, put("model", []), "expected a tokenizer.json: a dict with a model"),
    (BERT, put("model", "vocab", None), "expected a dict token -> id, got NoneType"),
    (BERT, put("model", "vocab", "new", 5), "token 'new' has id 5; expected each .* once"),
    (
        BERT,
        put("model", "continuing_subword_prefix", "@@"),
        "continuing_subword_prefix must be '##'",
    ),
    (BERT, put("model", "unk_token", "[OOPS]"), r"special tokens '\[OOPS\]' are missing"),
    (BERT, put("model", "unk_token", 3), "unk must be str, got 3"),
    (BERT, put("model", "max_input_chars_per_word", "x"), "max_word must be int"),
    (BERT, put("normalizer", None), "normalizer must be BertNormalizer, got None"),
    (BERT, put("normalizer", "type", "NFC"), "normalizer must be BertNormalizer, got 'NFC'"),
    (BERT, put("normalizer", "lowercase", 1), "lowercase must be bool, got 1"),
    (
        BERT,
        put("pre_tokenizer", "type", "Whitespace"),
        "must be BertPreTokenizer, got 'Whitespace'",
    ),
    (BERT, put("post_processor", "type", "RobertaProcessing"), r"must make \[CLS\] A \[SEP\] B"),
    (BERT, put("post_processor", "cls", []), r"must make \[CLS\] A \[SEP\] B"),
    (BERT, put("post_processor", template("[CLS]", "[SEP]") | {"pair": []}), "post_processor"),
    (BERT, put("added_tokens", 1, "lstrip", True), r"'\[UNK\]' is lstrip, which is not supported"),
    (BERT, put("added_tokens", 1, "normalized", True), r"'\[UNK\]' is normalized, which is not"),
    (BERT, put("added_tokens", 1, "special", False), r"'\[UNK\]' is not special, which is not"),
    (BERT, put("added_tokens", 1, "id", 7), r"'\[UNK\]' has id 7; expected 1"),
    (BERT, put("added_tokens", 1, "content", "<new>"), "'<new>' has id 1; expected 65"),
    (BERT, put("added_tokens", 1, {}), "every entry needs an integer id and a content"),
    (BERT, put("added_tokens", 5), "added_tokens must be a list of dicts"),
    (GPT2, put("model", "dropout", 0.1), "model.dropout must be 0, got 0.1"),
    (GPT2, put("model", "end_of_word_suffix", "</w>"), "end_of_word_suffix must be '', got '</w>'"),
    (GPT2, put("model", "byte_fallback", True), "model.byte_fallback must be False, got True"),
    (GPT2, put("model", "merges", 0), "model.merges must be a list, got int"),
    (
        GPT2,
        put("model", "merges", 0, ["a", 1]),
        r"model.merges: expected pairs of str, got \['a', 1",
    ),
    (GPT2, put("model", "merges", 0, "a"), "BPE merge 0 'a': expected two symbols"),
    (GPT2, put("model", "vocab", {"a": 0}), "has id 279; expected 1"),
    (GPT2, put("normalizer", {"type": "NFC"}), "normalizer must be null for BPE"),
    (GPT2, put("pre_tokenizer", "use_regex", False), "pre_tokenizer.use_regex must be True"),
    (GPT2, put("pre_tokenizer", "add_prefix_space", 2), "add_prefix_space must be a bool, got 2"),
    (
        GPT2,
        put("post_processor", "trim_offsets", True),
        "post_processor.trim_offsets must be False",
    ),
]


@pytest.mark.parametrize(("tokenizer", "change", "message"), BAD)
def test_what_is_not_ours_is_named(tokenizer, change, message, tmp_path):
    data = tokenizer_json(tmp_path, tokenizer)
    change(data)
    (tmp_path / "tokenizer.json").write_text(json.dumps(data))
    with pytest.raises(ValueError, match=f"tokenizer.json: .*{message}"):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize(
    ("name", "contents", "message"),
    [
        ("vocab.txt", "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\na\n", "token 'a' occurs twice"),
        ("vocab.txt", "#version: 0.2\na b\n", r"special tokens '\[UNK\]', .* are missing"),
        ("vocab.txt", "", "are missing"),
        ("vocab.txt", b"\xff\xfe", "can't decode"),
        ("tokenizer.json", "{", "not JSON, or cut off"),
        ("tokenizer.json", "{}", "expected a tokenizer.json: a dict with a model"),
        ("tokenizer.json", '{"[PAD]": 0}', "expected a tokenizer.json: a dict with a model"),
        ("tokenizer.json", '{"kind": "word"}', "kind must be one of"),
        ("tokenizer.json", '{"model": {}, "model": {}}', "entry 'model' occurs twice"),
        ("tokenizer_config.json", "[]", "expected a dict of settings, got list"),
        ("tokenizer_config.json", '{"do_lower_case": "no"}', "lowercase must be bool, got 'no'"),
        ("tokenizer_config.json", '{"mask_token": 1}', "mask must be str, got 1"),
    ],
)
def test_damaged_files_are_named(name, contents, message, tmp_path):
    BERT.save(tmp_path)
    whole = tmp_path / "tokenizer.json"
    if name != whole.name:
        whole.unlink()
    contents = contents.encode() if isinstance(contents, str) else contents
    (tmp_path / name).write_bytes(contents)
    with pytest.raises(ValueError, match=rf"\.(txt|json): .*{message}"):
        load_tokenizer(tmp_path)


def test_a_vocabulary_of_gpt2_needs_its_merges(tmp_path):
    GPT2.save(tmp_path)
    for name in ("tokenizer.json", "merges.txt"):
        (tmp_path / name).unlink()
    with pytest.raises(FileNotFoundError, match=r"merges\.txt"):
        load_tokenizer(tmp_path)


def test_nothing_there(tmp_path):
    with pytest.raises(
        FileNotFoundError, match="has none of tokenizer.json, vocab.txt, vocab.json"
    ):
        load_tokenizer(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"load_tokenizer: there is no file .*vocab\.txt"):
        load_tokenizer(tmp_path / "vocab.txt")


def test_a_setting_of_the_wrong_type_for_bpe(tmp_path):
    GPT2.save(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text('{"add_prefix_space": "yes"}')
    with pytest.raises(ValueError, match="add_prefix_space must be a bool, got 'yes'"):
        load_tokenizer(tmp_path / "vocab.json")
