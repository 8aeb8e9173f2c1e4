import json

import numpy as np
import pytest

import minitx
from minitx.data import (
    Choices,
    Labelled,
    Spans,
    Tagged,
    TaskBatches,
    encode,
    encode_documents,
    exact_and_f1,
    spans_in_text,
)
from minitx.models.bert import (
    BERT,
    BERTChoice,
    BERTClassifier,
    BERTConfig,
    BERTSpans,
    BERTTagger,
)
from minitx.text import BPETokenizer, WordPieceTokenizer

ALPHABET = "abcdefghijklmnopqrstuvwxyz'().:?[]=0123456789"
PARTS = {part: np.array([i]) for i, part in enumerate(("train", "validation", "test"))}
ROWS = np.arange(3)


@pytest.fixture(scope="module")
def wordpiece():
    words = ["the", "sea", "tree", "##s", "return", "what", "does"]
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    inside = (f"##{c}" for c in ALPHABET)
    return WordPieceTokenizer(list(dict.fromkeys([*special, *words, *ALPHABET, *inside])))


@pytest.fixture(scope="module")
def bpe():
    text = "What does the tree return? The trees see the seas (all of them). " * 3
    return BPETokenizer.train(text, 290, ["<pad>"])


@pytest.fixture
def labelled():
    texts, seconds = ("the sea", "a [SEP] tree", "trees"), ("seas", "the tree", "x")
    return Labelled(texts, np.array([1, 0, 1]), ("no", "yes"), **PARTS, seconds=seconds)


@pytest.fixture
def spans():
    passages = ("the tree: Return the seas. x", "a b c: return a b c d.", "x: Return trees.")
    answers = ("the seas", "b c d", "trees")
    starts = np.array([p.rindex(a) for p, a in zip(passages, answers, strict=True)])
    ends = starts + [len(a) for a in answers]
    return Spans(("What does the tree return?",) * 3, passages, starts, ends, **PARTS)


def tokens(tokenizer, ids):
    return " ".join(tokenizer.tokens[id] for id in ids)


def test_texts_and_pairs(wordpiece, labelled):
    got = encode(labelled, ROWS, wordpiece)
    assert tokens(wordpiece, got.ids[0, :6]) == "[CLS] the sea [SEP] sea ##s"
    assert tokens(wordpiece, got.ids[1]).startswith("[CLS] a [ s ##e ##p ] tree [SEP] the")
    np.testing.assert_array_equal(got.types[0, :7], [0, 0, 0, 0, 1, 1, 1])
    np.testing.assert_array_equal(got.mask, got.ids != wordpiece.pad_id)
    np.testing.assert_array_equal(got.labels, [1, 0, 1])
    single = encode(
        Labelled(labelled.texts, labelled.labels, ("no", "yes"), **PARTS),
        np.array([2, 0]),
        wordpiece,
    )
    assert tokens(wordpiece, single.ids[1]) == "[CLS] the sea [SEP]"
    assert not single.types.any() and single.labels.tolist() == [1, 1]
    assert encode(labelled, ROWS, wordpiece, max_length=7).ids.shape == (3, 7)


def test_choices(wordpiece):
    options = (("the sea", "a"), ("b", "the trees"), ("c", "d"))
    task = Choices(("a", "b", "the tree"), options, np.array([0, 1, 1]), **PARTS)
    got = encode(task, np.array([2, 1]), wordpiece)
    assert got.ids.shape == got.types.shape == got.mask.shape == (2, 2, 7)
    assert tokens(wordpiece, got.ids[1, 1, :7]) == "[CLS] b [SEP] the tree ##s [SEP]"
    assert tokens(wordpiece, got.ids[0, 0, :6]) == "[CLS] the tree [SEP] c [SEP]"
    assert got.labels.tolist() == [1, 1] and got.mask[0, 0].sum() == 6


def tagged():
    words = (("the", "trees", '"the sea', "=", "seas"), ("[SEP]", "a b..."), ("x",))
    tags = tuple(np.arange(len(row)) for row in words)
    return Tagged(words, tags, tuple("vwxyz"), **PARTS)


def test_tags_stand_at_first_pieces(wordpiece):
    got = encode(tagged(), ROWS, wordpiece)
    said = " ".join(
        f"{wordpiece.tokens[id]}{'' if tag < 0 else tag}"
        for id, tag in zip(got.ids[0], got.labels[0], strict=True)
    )
    assert said.split(" [SEP]")[0] == "[CLS] the0 tree1 ##s [UNK]2 the sea =3 sea4 ##s"
    for n, words in enumerate(tagged().words):
        assert got.labels[n][got.labels[n] >= 0].tolist() == list(range(len(words)))
    assert (got.labels[~got.mask] == -100).all()
    cut = encode(tagged(), ROWS, wordpiece, max_length=5)
    assert cut.labels[0].tolist() == [-100, 0, 1, -100, -100]


def test_tags_of_pieces_with_a_space_in_front(bpe):
    pad = bpe.special_tokens["<pad>"]
    bpe.pad_id = pad
    got = encode(tagged(), ROWS, bpe)
    for n, words in enumerate(tagged().words):
        places = np.flatnonzero(got.labels[n] >= 0)
        assert got.labels[n][places].tolist() == list(range(len(words)))
        real = int(got.mask[n].sum())
        for tag, (a, b) in enumerate(zip(places, [*places[1:], real], strict=True)):
            assert bpe.decode(got.ids[n, a:b]).strip() == words[tag]


def test_spans_go_to_tokens_and_back(wordpiece, spans):
    got = encode(spans, ROWS, wordpiece)
    places = zip(got.ids, got.starts, got.ends, strict=True)
    said = [tokens(wordpiece, ids[first : last + 1]) for ids, first, last in places]
    assert said == ["the sea ##s", "b c d", "tree ##s"]
    assert (got.types[ROWS, got.starts] == 1).all()
    back = spans_in_text(spans, ROWS, wordpiece, np.stack([got.starts, got.ends], axis=1))
    np.testing.assert_array_equal(back, np.stack([spans.starts, spans.ends], axis=1))
    assert exact_and_f1(spans, back, ROWS) == (1, 1)


def test_answers_that_are_cut_off_do_not_count(wordpiece, spans):
    whole = encode(spans, ROWS, wordpiece)
    for length in range(10, whole.ids.shape[1] + 1):
        got = encode(spans, ROWS, wordpiece, max_length=length)
        seen = (whole.ends <= length - 2) | (got.mask.sum(axis=1) < length)
        np.testing.assert_array_equal(got.starts, np.where(seen, whole.starts, -100))
        np.testing.assert_array_equal(got.ends, np.where(seen, whole.ends, -100))


def test_answers_outside_the_passage_are_empty(wordpiece, spans):
    whole = encode(spans, ROWS, wordpiece)
    T = whole.ids.shape[1]
    places = np.array([[0, 3], [whole.ends[1], whole.starts[1]], [whole.starts[2], T - 1]])
    assert not spans_in_text(spans, ROWS, wordpiece, places).any()


def test_documents(wordpiece):
    got = encode_documents([["the sea", "[MASK]"], ["a"]], wordpiece)
    assert [[tokens(wordpiece, ids) for ids in document] for document in got] == [
        ["the sea", "[ m ##a ##s ##k ]"],
        ["a"],
    ]


# --- batches ------------------------------------------------------------------------------------


def test_passes_and_cover(wordpiece, labelled):
    batches = TaskBatches(labelled, ROWS, wordpiece, 2, max_length=9)
    rng = np.random.default_rng(0)
    firsts = [batches.batch(rng) for _ in range(2)]
    assert [len(batch.labels) for batch in firsts] == [2, 1]
    covered = list(batches.cover())
    assert [batch.labels.tolist() for batch in covered] == [[1, 0], [1]]
    assert [len(batch.labels) for batch in batches.cover(limit=1)] == [2]
    assert max(batch.ids.shape[1] for batch in covered) == 9
    only = TaskBatches(labelled, labelled.test, wordpiece, 2)
    np.testing.assert_array_equal(next(only.cover()).ids, encode(labelled, [2], wordpiece).ids)


def test_resumes_in_the_middle_of_a_pass(wordpiece, labelled):
    batches, rng = TaskBatches(labelled, ROWS, wordpiece, 1), np.random.default_rng(0)
    batches.batch(rng)
    saved = json.loads(json.dumps(batches.state()))
    later = [batches.batch(rng).ids for _ in range(2)]
    resumed = TaskBatches(labelled, ROWS, wordpiece, 1)
    resumed.load_state(saved)
    for ids in later:
        np.testing.assert_array_equal(resumed.batch(rng).ids, ids)


@pytest.mark.parametrize(
    ("changes", "error", "says"),
    [
        ({"task": "text"}, TypeError, "task is a str; expected Labelled, Choices"),
        ({"batch_size": 0}, ValueError, "TaskBatches: batch_size must be at least 1"),
        ({"max_length": 1.5}, TypeError, "TaskBatches: max_length must be a whole number"),
        ({"part": np.zeros(0, int)}, ValueError, "count must be at least 1"),
    ],
)
def test_bad_batches(wordpiece, labelled, changes, error, says):
    settings = {"task": labelled, "part": ROWS, "tokenizer": wordpiece, "batch_size": 2}
    with pytest.raises(error, match=says):
        TaskBatches(**(settings | changes))


def test_the_models_take_what_comes(wordpiece, labelled, spans):
    bert = BERT(BERTConfig(wordpiece.vocab_size, context=64, layers=1, heads=1, width=4))
    options = (("the sea", "a"), ("b", "the trees"), ("c", "d"))
    choices = Choices(("a", "b", "the tree"), options, np.array([0, 1, 1]), **PARTS)
    rng = np.random.default_rng(0)
    for task, model in [
        (labelled, BERTClassifier(bert, 2)),
        (choices, BERTChoice(bert)),
        (tagged(), BERTTagger(bert, 5)),
        (spans, BERTSpans(bert)),
    ]:
        batch = TaskBatches(task, ROWS, wordpiece, 3, max_length=40).batch(rng)
        with minitx.use_kernels("ref"):
            assert 0 < model.loss(*batch).item() < 10
