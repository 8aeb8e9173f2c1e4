"""Fine-tuning GPT: the input forms token by token, the loss from its parts, and its gradients."""

from __future__ import annotations

import numpy as np
import pytest
from golden import Golden

from minitx.gradcheck import gradcheck
from minitx.jit import use_kernels
from minitx.models.gpt import GPT, GPTConfig
from minitx.models.gpt_finetune import Batch, GPTClassifier, InputForms
from minitx.models.official.gpt import GPT1
from minitx.nn import Module
from minitx.optim import AdamW
from minitx.train import Trainer

both_kernels = pytest.mark.parametrize("kernels", ["ref", "jit"])

S, D, E = 90, 91, 92  # start, delimiter, extract


def forms(context=9):
    return InputForms(S, D, E, context)


def sequences(batch, extract=E):
    """The real tokens of every sequence; ``last`` and the padding must agree with them."""
    assert batch.ids.shape == batch.real.shape and batch.last.shape == batch.ids.shape[:2]
    examples = []
    for ids, real, last in zip(batch.ids, batch.real, batch.last, strict=True):
        assert (real.cumsum(axis=1) == np.minimum(np.arange(ids.shape[1]), last[:, None]) + 1).all()
        assert (ids[np.arange(len(last)), last] == extract).all() and (ids[~real] == extract).all()
        examples.append([row[: end + 1].tolist() for row, end in zip(ids, last, strict=True)])
    return examples


# ---- input forms -------------------------------------------------------------------------------


def test_classification():
    batch = forms().classification([[1, 2], np.array([3]), []])
    assert sequences(batch) == [[[S, 1, 2, E]], [[S, 3, E]], [[S, E]]]
    assert batch.ids.shape == (3, 1, 4) and batch.types is None


def test_entailment():
    batch = forms().entailment([[1, 2], [3]], [[4], [5, 6]])
    assert sequences(batch) == [[[S, 1, 2, D, 4, E]], [[S, 3, D, 5, 6, E]]]


def test_similarity_has_both_orders():
    batch = forms().similarity([[1, 2], [3]], [[4], [3]])
    assert sequences(batch) == [
        [[S, 1, 2, D, 4, E], [S, 4, D, 1, 2, E]],
        [[S, 3, D, 3, E], [S, 3, D, 3, E]],
    ]


def test_multiple_choice():
    batch = forms().multiple_choice([[1], [2, 3]], [[[4], [5, 6], []], [[7], [8], [9]]])
    assert sequences(batch) == [
        [[S, 1, D, 4, E], [S, 1, D, 5, 6, E], [S, 1, D, E]],
        [[S, 2, 3, D, 7, E], [S, 2, 3, D, 8, E], [S, 2, 3, D, 9, E]],
    ]


@pytest.mark.parametrize(
    ("a", "b", "kept_a", "kept_b"),
    [  # a context of 9 has room for 6
        (3, 3, 3, 3),
        (4, 3, 3, 3),
        (9, 2, 4, 2),
        (2, 9, 2, 4),
        (9, 9, 3, 3),
        (0, 9, 0, 6),
        (9, 0, 6, 0),
    ],
)
def test_long_texts_are_cut_at_their_ends(a, b, kept_a, kept_b):
    first, second = list(range(a)), list(range(20, 20 + b))
    [[row]] = sequences(forms(9).entailment([first], [second]))
    assert row == [S, *first[:kept_a], D, *second[:kept_b], E]
    assert len(row) <= 9
    [[alone]] = sequences(forms(9).classification([first]))
    assert alone == [S, *first[:7], E]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda f: f.classification([]), "no examples"),
        (lambda f: f.entailment([[1]], []), "entailment: 1 premises, 0 hypotheses"),
        (lambda f: f.similarity([[1]], [[1], [2]]), "similarity: 1 firsts, 2 seconds"),
        (lambda f: f.multiple_choice([[1]], []), "multiple_choice: 1 contexts, 0 answers"),
        (lambda f: f.multiple_choice([[1], [2]], [[[1]], [[1], [2]]]), "have 1 or 2 answers"),
        (lambda f: f.multiple_choice([[1]], [[]]), "have 0 answers"),
        (lambda f: forms(4), "a context of 4 has no room"),
    ],
)
def test_bad_examples_get_one_clear_error(call, message):
    with pytest.raises(ValueError, match=message):
        call(forms())


# ---- the classifier ----------------------------------------------------------------------------


def tiny(dropout=0.0):
    """A pre-trained model of 5 tokens, in float64, in which every weight matters."""
    rng = np.random.default_rng(0)
    gpt = GPT(GPTConfig(5, 9, 1, 2, 8, dropout=dropout, norm_first=False), rng)
    return randomised(gpt, rng)


def randomised(model: Module, rng):
    for x in model.astype(np.float64).parameters():
        x.data = x.data + rng.normal(0, 0.3, x.shape)
    return model


def fine_tuned(classes, lm_weight=0.5, dropout=0.0):
    classifier, forms = GPTClassifier.from_pretrained(tiny(dropout), classes, lm_weight)
    return randomised(classifier, np.random.default_rng(1)), forms


TASKS = {
    "classification": (3, lambda f: f.classification([[1, 2, 3], [4]]), [2, 0]),
    "entailment": (3, lambda f: f.entailment([[1, 2], [0]], [[3], [4, 4]]), [1, 2]),
    "similarity": (2, lambda f: f.similarity([[1, 2], [0]], [[3], [4, 4]]), [1, 0]),
    "multiple choice": (
        1,
        lambda f: f.multiple_choice([[1], [2, 3]], [[[4], [0, 1], []], [[2], [3], [4]]]),
        [2, 0],
    ),
}


def negative_log_softmax(z):
    z = z - z.max(axis=-1, keepdims=True)
    return np.log(np.exp(z).sum(axis=-1, keepdims=True)) - z


@both_kernels
@pytest.mark.parametrize("lm_weight", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("name", TASKS)
def test_the_loss_is_that_of_the_task_and_of_the_language_model(name, lm_weight, kernels):
    classes, build, labels = TASKS[name]
    model, forms = fine_tuned(classes, lm_weight)
    batch = build(forms)
    head, task, language = model.head, [], []
    with use_kernels(kernels):
        for example, label in zip(sequences(batch, forms.extract), labels, strict=True):
            hidden = [model.gpt(np.array([row])).data[0] for row in example]  # T C each
            for row, h in zip(example, hidden, strict=True):
                scores = negative_log_softmax(h[:-1] @ model.gpt.tokens.weight.data.T)
                language += [s[token] for s, token in zip(scores, row[1:], strict=True)]
            states = np.stack([h[-1] for h in hidden])  # K C
            states = states if classes == 1 else states.sum(axis=0)
            logits = (states @ head.weight.data.T + head.bias.data).reshape(-1)
            task.append(negative_log_softmax(logits)[label])
            ours = model(batch).data[len(task) - 1]
            np.testing.assert_allclose(ours, logits, rtol=0, atol=1e-12)
        loss = model.loss(batch, np.array(labels)).item()
    assert abs(loss - (np.mean(task) + lm_weight * np.mean(language))) < 1e-12
    assert model.predict(batch).tolist() == model(batch).data.argmax(axis=1).tolist()


@both_kernels
@pytest.mark.parametrize("name", TASKS)
def test_gradients_of_the_whole_classifier(name, kernels):
    classes, build, labels = TASKS[name]
    model, forms = fine_tuned(classes)
    with use_kernels(kernels):
        report = gradcheck(model.loss, build(forms), np.array(labels))
    assert report.checks.keys() == dict(model.named_parameters()).keys()


def test_swapping_a_pair_leaves_the_logits_of_similarity_unchanged():
    model, forms = fine_tuned(2)
    first, second = [[1, 2, 3, 4, 0, 1, 2], [0]], [[3], [4, 4]]  # one pair is cut
    one, two = forms.similarity(first, second), forms.similarity(second, first)
    assert not np.array_equal(one.ids, two.ids)
    np.testing.assert_array_equal(model(one).data, model(two).data)


def test_padding_changes_nothing():
    model, forms = fine_tuned(3)
    texts = [[1], [4, 3, 2, 1, 0, 1]]
    together = forms.classification(texts)
    for i, text in enumerate(texts):
        alone = forms.classification([text])
        np.testing.assert_allclose(model(together).data[i], model(alone).data[0], atol=1e-12)
    short = forms.classification(texts[:1])
    longer = Batch(*(x[:1] for x in (together.ids, together.last, together.real)))
    assert longer.ids.shape[2] > short.ids.shape[2]
    for batch in (short, longer):
        batch.ids[~batch.real] = 2  # whatever stands there
    losses, grads = [], []
    for batch in (short, longer):
        model.zero_grad()
        loss = model.loss(batch, np.array([1]))
        loss.backward()
        losses.append(loss.item())
        grads.append({name: x.grad.copy() for name, x in model.named_parameters()})
    assert abs(losses[0] - losses[1]) < 1e-12
    for name, g in grads[0].items():
        np.testing.assert_allclose(grads[1][name], g, rtol=0, atol=1e-12, err_msg=name)


def test_the_pretrained_model_is_left_untouched():
    gpt = tiny(dropout=0.1)
    before = {name: x.copy() for name, x in gpt.state_dict().items()}
    model, forms = GPTClassifier.from_pretrained(gpt, 3)
    assert (forms.start, forms.delimiter, forms.extract, forms.context) == (5, 6, 7, 9)
    assert model.gpt.config.vocab_size == 8 and gpt.config.vocab_size == 5
    np.testing.assert_array_equal(model.gpt.tokens.weight.data[:5], before["tokens.weight"])
    for name, x in model.named_tensors():
        assert x.dtype == np.float64
        assert not any(np.shares_memory(x.data, y) for y in gpt.state_dict().values()), name
    batch = forms.classification([[1, 2]])
    made = Trainer(model, AdamW(model, 0.1), lambda rng: (batch, np.array([1])), quiet=True)
    made.run(3)
    assert not np.array_equal(model.gpt.positions.weight.data, before["positions.weight"])
    for name, x in gpt.state_dict().items():
        np.testing.assert_array_equal(x, before[name])
    assert all(x.grad is None for x in gpt.parameters())


def test_training_drops_out_and_prediction_does_not():
    model, forms = fine_tuned(3, dropout=0.4)
    batch = forms.classification([[1, 2], [3, 4]])
    assert not np.array_equal(model(batch).data, model(batch).data)
    model.gpt.eval()
    assert not np.array_equal(model(batch).data, model(batch).data)  # at the head, too
    expected = model.eval()(batch).data.argmax(axis=1)
    model.train()
    for _ in range(5):
        np.testing.assert_array_equal(model.predict(batch), expected)
    assert model.training and model.gpt.blocks[0].dropout.training
    assert [name for name, _ in model.named_generators()] == ["gpt.rng"]


def test_fine_tuning_learns_a_task():
    """Does the text have a 0 in it?"""
    model, forms = GPTClassifier.from_pretrained(GPT(GPTConfig(5, 9, 1, 2, 16), 0), 2)

    def batch(rng):
        texts = rng.integers(1, 5, (16, 4))
        texts[np.arange(8), rng.integers(0, 4, 8)] = 0
        return forms.classification(list(texts)), np.repeat([1, 0], 8)

    Trainer(model, AdamW(model, 0.01), batch, quiet=True).run(60)
    examples, labels = batch(np.random.default_rng(2))
    assert (model.predict(examples) == labels).mean() > 0.9


def test_the_number_of_classes_is_checked():
    with pytest.raises(ValueError, match="classes is 0; expected at least 1"):
        GPTClassifier(tiny(), 0)


# ---- an independent implementation -------------------------------------------------------------


@both_kernels
def test_multiple_choice_equals_the_reference(kernels):
    golden = Golden("gpt1__double")
    c, x, state = golden.config, golden.inputs, dict(golden.state)
    config = GPTConfig(
        c["vocab_size"],
        c["n_positions"],
        c["n_layer"],
        c["n_head"],
        c["n_embd"],
        norm_first=False,
        eps=c["layer_norm_epsilon"],
    )
    model = GPTClassifier(GPT(config).astype(np.float64), classes=1, lm_weight=0.5)
    summary = "multiple_choice_head.summary"
    model.head.load_state_dict({p: state.pop(f"{summary}.{p}") for p in ("weight", "bias")})
    shapes = {name: y.shape for name, y in model.gpt.state_dict().items()}
    model.gpt.load_state_dict(GPT1.load(state, shapes))

    batch = Batch(x["input_ids"], x["mc_token_ids"], x["labels"] != -100, x["token_type_ids"])
    np.testing.assert_array_equal(x["labels"][batch.real], batch.ids[batch.real])
    flat, types = batch.ids.reshape(-1, 10), batch.types.reshape(-1, 10)
    with use_kernels(kernels):
        logits = model.gpt.logits(model.gpt(flat, types=types)).data
        golden.check_output("logits", logits.reshape(2, 3, 10, -1))
        golden.check_output("mc_logits", model(batch).data)
        loss = model.loss(batch, x["mc_labels"])  # task + lm / 2; the reference has lm + 2 * task
        golden.check_loss(2 * loss.item())
        loss.backward(2.0)
    grads = GPT1.save({name: y.grad for name, y in model.gpt.named_parameters()})
    grads |= {f"{summary}.{name}": y.grad for name, y in model.head.named_parameters()}
    golden.check_grads(grads)


def test_one_class_and_one_sequence_are_no_choice():
    model, forms = GPTClassifier.from_pretrained(tiny(), 1)
    with pytest.raises(ValueError, match="nothing to choose"):
        model(forms.classification([[1, 2]]))
