"""The page: what is in it is true, it needs nothing else, and clicking through it works."""

from __future__ import annotations

import base64
import html.parser
import json
import pathlib
import re
import shutil
import subprocess

import numpy as np
import pytest

import minitx as mx
from minitx.models import GPT, GPTConfig
from minitx.report import contents, figures, formulas, maps, page, sources
from minitx.tensor import OPS

CONFIG = GPTConfig(vocab_size=11, context=8, layers=2, heads=2, width=8)
HOSTILE = "</script><script>alert('1')</script> & {{data}} \u2028 \ud800"


class Parts(html.parser.HTMLParser):
    """Tags with their attributes, and the text of each script."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.scripts = [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self.scripts += [""] if tag == "script" else []

    def handle_data(self, text):
        if self.tags and self.tags[-1][0] == "script":
            self.scripts[-1] += text


@pytest.fixture(scope="module")
def run():
    model = GPT(CONFIG)
    ids = np.random.default_rng(0).integers(0, 11, (3, 8))
    with mx.trace(model) as t:
        model.loss(ids, ids).backward()
    return t


@pytest.fixture(scope="module")
def written(run, tmp_path_factory):
    return mx.report(run, tmp_path_factory.mktemp("report") / "run.html", tokens=list("abcdefgh"))


def data_of(path):
    return json.loads(
        Parts(path.read_text(encoding="utf-8")).scripts[0], parse_constant=pytest.fail
    )


# ---- the file ----


def test_the_page_needs_nothing_else(written):
    text = written.read_text(encoding="utf-8")
    parts = Parts(text)
    assert len(parts.scripts) == 2 and "{{" not in text.replace("`{{", "")
    loading = [(tag, x) for tag, x in parts.tags if {"src", "href"} & x.keys() or tag == "link"]
    assert loading == []
    assert "url(" not in re.sub(r"url\(#[\w$-{}]+\)", "", text) and "@import" not in text
    policy = next(x["content"] for tag, x in parts.tags if x.get("http-equiv"))
    assert "default-src 'none'" in policy


def test_the_same_trace_gives_the_same_bytes(run, written, tmp_path):
    again = mx.report(run, tmp_path / "again.html", tokens=list("abcdefgh"))
    assert again.read_bytes() == written.read_bytes()


def test_hostile_text_stays_text(run, tmp_path):
    path = mx.report(run, tmp_path / "run.html", title=HOSTILE, tokens=[HOSTILE] * 8)
    data, shown = data_of(path), HOSTILE.replace("\ud800", "?")
    assert data["title"] == data["tokens"][0][0] == shown
    parts = Parts(path.read_text(encoding="utf-8"))
    assert len(parts.scripts) == 2 and "alert(" not in parts.scripts[1]


def test_a_page_appears_whole_or_not_at_all(run, tmp_path, monkeypatch):
    path = tmp_path / "run.html"
    path.write_text("before")
    monkeypatch.setattr(page, "_page", lambda *parts: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        mx.report(run, path)
    assert [x.read_text() for x in tmp_path.iterdir()] == ["before"]


def test_what_cannot_be_shown_is_named(tmp_path):
    with pytest.raises(TypeError, match="expected a Trace"):
        mx.report(GPT(CONFIG), tmp_path / "run.html")
    with mx.trace() as t:
        pass
    with pytest.raises(ValueError, match="no ops"):
        mx.report(t, tmp_path / "run.html")
    assert list(tmp_path.iterdir()) == []


def test_the_wheel_has_the_sources_of_the_page():
    web = pathlib.Path(page.__file__).parent / "web"
    scripts = {path.stem for path in web.glob("*.js")}
    assert scripts == set(page._SCRIPTS)
    project = pathlib.Path(__file__).parents[1] / "pyproject.toml"
    assert '"report/web/*"' in project.read_text()
    for path in web.iterdir():
        lines = path.read_text(encoding="utf-8").splitlines()
        assert len(lines) <= 400 and all(len(x) <= 100 for x in lines), path


# ---- what it tells ----


def test_every_record_is_told(run, written):
    data = data_of(written)
    assert [x["name"] for x in data["nodes"]] == list(run.nodes)
    assert [x["name"] for x in data["leaves"]] == list(run.leaves)
    told = {x["name"]: x for x in [*data["nodes"], *data["leaves"]]}
    for name, told_of in told.items():
        record = run[name]
        assert told_of["shape"] == (" × ".join(map(str, record.value.shape)) or "scalar")
        assert told_of["grad"]["norm"] == pytest.approx(np.linalg.norm(record.grad), rel=1e-3)
        assert {name for _, name in told_of.get("inputs", [])} <= told.keys()
    linear = told["blocks.1.mlp.up.linear"]
    assert [argument for argument, _ in linear["inputs"]] == ["x", "weight", "bias"]
    assert linear["options"] == {"activation": "'gelu_tanh'"}
    assert linear["saved"]["x"] == "float32 3 × 8 × 8"
    places = [data["lines"][i] for i in linear["lines"]]
    assert places[0][0].startswith("minitx/nn/layers.py:") and "ops.linear(" in places[0][2]
    assert data["modules"]["blocks.1.mlp"] == ["MLP", 8 * 32 * 2 + 32 + 8]


def test_parameters_that_nothing_used_are_listed(tmp_path):
    model = GPT(CONFIG)
    with mx.trace(model) as t:
        model(np.zeros((1, 2), int))
    unused = [x for x in data_of(mx.report(t, tmp_path / "run.html"))["leaves"]]
    assert {x["op"] for x in unused} == {"parameter"}
    with mx.trace(model) as t:
        model.embed(np.zeros((1, 2), int))
    leaves = data_of(mx.report(t, tmp_path / "run.html"))["leaves"]
    assert [x["op"] for x in leaves[:2]] == ["parameter"] * 2
    assert {x["op"] for x in leaves[2:]} == {"unused"}


class Repeated(mx.nn.Module):
    """One MLP, three times."""

    def __init__(self):
        self.blocks = [mx.nn.MLP(4, 4, np.random.default_rng(0))]

    def forward(self, x):
        for _ in range(3):
            x = self.blocks[0](x)
        return x


def test_each_call_of_a_module_has_a_number():
    model = Repeated()
    with mx.trace(model) as t:
        model(mx.Tensor(np.zeros((2, 4), np.float32)))
    told = contents.contents(t, "", [], 1)["nodes"]
    assert [(x["path"], x["calls"]) for x in told] == [
        (f"blocks.0.{part}", [0, call, call]) for call in (1, 2, 3) for part in ("up", "down")
    ]
    assert [x.calls[""] for x in t] == [1] * 6


@pytest.mark.parametrize("seed", range(8))
def test_statistics(seed, monkeypatch):
    rng = np.random.default_rng(seed)
    x = rng.normal(rng.normal(), 1, rng.integers(1, 9, 3)).astype(rng.choice(["f4", "f8"]))
    x[rng.random(x.shape) < 0.2] = 0
    if seed % 2:
        x.flat[:3] = np.nan, np.inf, -np.inf
    monkeypatch.setattr(figures, "CHUNK", int(rng.integers(1, 40)))
    told, finite = figures.statistics(x), x[np.isfinite(x)].astype(np.float64)
    assert told.get("nan", 0) == np.isnan(x).sum() and told.get("inf", 0) == np.isinf(x).sum()
    assert told["size"] == x.size
    if not finite.size:
        assert "norm" not in told
        return
    for name, function in (("mean", np.mean), ("std", np.std), ("min", np.min), ("max", np.max)):
        assert told[name] == pytest.approx(function(finite), rel=1e-3, abs=1e-7), name
    assert told["norm"] == pytest.approx(np.linalg.norm(finite), rel=1e-3)
    assert told["zeros"] == pytest.approx((finite == 0).mean(), rel=1e-3)
    if finite.min() < finite.max():
        assert told["bins"] == np.histogram(finite, figures.BINS)[0].tolist()


def test_numbers_that_json_lacks():
    x = np.array([np.nan, np.inf, -np.inf, 1e308, -1e308])
    told = figures.statistics(x)
    assert json.loads(json.dumps(told, allow_nan=False)) == told
    assert figures.rounded(np.float32("nan")) == "nan" and figures.rounded(1 / 3) == 0.3333
    assert figures.statistics(np.zeros((0, 3))) == {"size": 0}


# ---- sources ----


@pytest.mark.parametrize("op", sorted(OPS))
def test_every_op_shows_its_pullback(op):
    told = sources.source_of(op, OPS[op].__wrapped__)
    helpers = dict(told["helpers"])
    written = "\n".join([told["source"], *helpers.values()])
    assert told["pullback"] and told["pullback"] in re.sub(r"(?m)^ {4}", "", written)
    assert all(code.startswith(("def ", "@")) for code in helpers.values())
    if op == "self_attend":
        assert {"attend_ref", "attend_vjp_ref", "_dscores_ref", "_scores"} <= helpers.keys()


def test_formulas_are_of_ops():
    assert formulas.FORMULAS.keys() <= OPS.keys()


def test_an_op_whose_source_is_gone():
    scope: dict = {}
    exec("def f(x, *, p=1):\n    return x, lambda dy: (dy,)", scope)
    told = sources.source_of("f", scope["f"])
    assert told["source"] == told["pullback"] == "" and told["helpers"] == []


# ---- attention ----


@pytest.mark.parametrize("examples", [1, 2])
def test_maps_hold_the_probabilities(run, examples):
    told = maps.pictures(run.nodes.values(), examples)
    assert list(told) == ["blocks.0.attention.self_attend", "blocks.1.attention.self_attend"]
    for name, picture in told.items():
        prob = run[name].unfold()["attend.prob"][:examples]
        assert (picture["queries"], picture["keys"]) == prob.shape[2:]
        shape = [picture[x] for x in ("examples", "heads", "rows", "columns")]
        data = np.frombuffer(base64.b64decode(picture["data"]), np.uint8).reshape(shape)
        drawn = picture["peak"] * (data / 255.0) ** 2
        np.testing.assert_allclose(drawn, prob, atol=1 / 255)


def test_large_maps_keep_the_largest_weights():
    x = np.random.default_rng(0).random((1, 2, 10, 7))
    small = maps.reduced(x, 4)
    assert small.shape == (1, 2, 4, 4)
    assert small[0, 1, 0, 3] == x[0, 1, :3, 6:].max() and small[0, 0, 3, 1] == x[0, 0, 9, 2:4].max()


def test_a_softmax_over_scores_is_attention_too(tmp_path):
    scores = mx.Tensor(np.zeros((2, 3, 4, 5)), requires_grad=True)
    with mx.trace() as t:
        mx.softmax(scores).sum().backward()
    (picture,) = contents.contents(t, "", [], 1)["maps"].values()
    assert (picture["examples"], picture["heads"], picture["keys"]) == (1, 3, 5)


# ---- in a browser ----


@pytest.mark.skipif(not shutil.which("chromium"), reason="needs chromium")
def test_clicking_through_the_page(written, tmp_path):
    flags = """--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-sync
        --disable-background-networking --disable-component-update --dump-dom""".split()
    done = subprocess.run(
        ["chromium", *flags, f"--user-data-dir={tmp_path}", f"{written.as_uri()}#selftest"],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    (found,) = re.findall(r'<pre id="results">(.*?)</pre>', done.stdout)
    results = json.loads(html.unescape(found))
    assert len(results) == 13
    assert {name: said for name, said in results.items() if said is not True} == {}
