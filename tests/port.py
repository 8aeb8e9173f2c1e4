"""A GPT in plain NumPy, forward and backward by hand, as a port would be: the trial of the oracle.

Nothing of minitx is used.  Every tensor is recorded under the port's own names (TABLE has ours); a
set of flags plants single mistakes of the kinds that ports are known to have.
"""

from __future__ import annotations

import math

import numpy as np

TABLE = {
    "wte": "value/tokens.embedding",
    "wpe": "value/positions.embedding",
    "x0": "value/add",
    "h*.ln1": "value/blocks.*.norm1.layer_norm",
    "h*.qkv": "value/blocks.*.attention.linear",
    "h*.att": "value/blocks.*.attention.self_attend",
    "h*.proj": "value/blocks.*.attention.output.linear",
    "h*.mid": "value/blocks.*.add",
    "h*.ln2": "value/blocks.*.norm2.layer_norm",
    "h*.fc": "value/blocks.*.mlp.up.linear",
    "h*.out": "value/blocks.*.mlp.down.linear",
    "h*.x": "value/blocks.*.add_2",
    "lnf": "value/norm.layer_norm",
    "logits": "value/linear",
    "loss": "loss",
}
TABLE |= {f"d {theirs}": ours.replace("value/", "cotangent/") for theirs, ours in TABLE.items()}
del TABLE["d loss"]
NORMS = ("norm1", "norm2")
LINEARS = ("attention.query", "attention.key", "attention.value", "attention.output")
LINEARS += ("mlp.up", "mlp.down")


class Port:
    """``Port(parameters, heads, mistakes)(inputs, targets)`` -> arrays by the port's names."""

    def __init__(self, parameters, heads, mistakes=(), dtype=np.float64):
        self.p = {name: x.astype(dtype) for name, x in parameters.items()}
        self.heads, self.mistakes, self.dtype = heads, set(mistakes), dtype
        self.layers = 1 + max(int(name.split(".")[1]) for name in self.p if "blocks." in name)
        self.seen = {}
        self.grads = {}

    def on(self, mistake):
        return mistake in self.mistakes

    def keep(self, name, x):
        self.seen[name] = np.array(x, self.dtype)
        return self.seen[name]

    def add_grad(self, name, x):
        x = np.asarray(x, self.dtype)
        self.grads[name] = self.grads[name] + x if name in self.grads else x

    # ---- layer norm ----

    def norm(self, x, name):
        C = x.shape[-1]
        eps = 1e-12 if self.on("eps 1e-12") else 1e-6 if self.on("eps 1e-6") else 1e-5
        centred = x if self.on("rms") else x - x.mean(axis=-1, keepdims=True)
        count = C - self.on("unbiased")
        var = (centred**2).sum(axis=-1, keepdims=True) / count
        r = 1 / np.sqrt(var + self.dtype(eps))
        slope = r**3 / count
        if self.on("eps outside"):
            std = np.sqrt(var)
            r = 1 / (std + self.dtype(eps))
            slope = r**2 / std / count
        y = centred * r * self.p[f"{name}.weight"] + self.p[f"{name}.bias"]
        return y, (x, centred, r, slope)

    def norm_back(self, dy, name, saved):
        x, centred, r, slope = saved
        rows = tuple(range(dy.ndim - 1))
        source = x if self.on("norm weight from x") else centred * r
        self.add_grad(f"{name}.weight", (dy * source).sum(axis=rows))
        self.add_grad(f"{name}.bias", self.sum_rows(dy, name))
        d = dy if self.on("norm backward without weight") else dy * self.p[f"{name}.weight"]
        dx = d * r
        if not (self.on("norm backward without mean") or self.on("rms")):
            dx = dx - r * d.mean(axis=-1, keepdims=True)
        if not self.on("norm backward without variance"):
            dx = dx - centred * slope * (d * centred).sum(axis=-1, keepdims=True)
        return dx

    def sum_rows(self, dy, name):
        """The gradient of a bias, (..., C) -> (C,)"""
        flat = dy.reshape(-1, dy.shape[-1])
        if self.on("bias gradient first row") and name.endswith("mlp.down"):
            return flat[0]
        if self.on("bias gradient mean") and name.endswith("mlp.down"):
            return flat.mean(axis=0)
        if self.on("bias gradient unsummed") and name.endswith("mlp.down"):
            return dy
        if self.on("norm bias gradient first sequence") and name.endswith("norm2"):
            return dy[0].sum(axis=0)
        return flat.sum(axis=0)

    # ---- linear ----

    def linear(self, x, name):
        w, b = self.p[f"{name}.weight"], self.p[f"{name}.bias"]
        if self.on("weight transposed") and name.endswith("attention.output"):
            w = w.T
        if self.on("weight stored in out") and name.endswith("mlp.down"):
            w = w.reshape(w.shape[::-1]).T
        if self.on("bias left out") and name.endswith("mlp.up"):
            return x @ w.T
        if self.on("projection reads (D, heads)") and name.endswith("attention.output"):
            w = w.reshape(len(w), self.heads, -1).swapaxes(1, 2).reshape(w.shape)
        return x @ w.T + b

    def linear_back(self, dy, x, name):
        w = self.p[f"{name}.weight"]
        flat = dy.reshape(-1, dy.shape[-1])
        dw = flat.T @ x.reshape(-1, x.shape[-1])
        if self.on("weight gradient transposed") and name.endswith("attention.output"):
            dw = dw.T
        if self.on("weight gradient (in, out)") and name.endswith("mlp.up"):
            dw = dw.T
        if self.on("weight gradient last sequence") and name.endswith("mlp.up"):
            dw = dy[-1].T @ x[-1]
        self.add_grad(f"{name}.weight", dw)
        self.add_grad(f"{name}.bias", self.sum_rows(dy, name))
        if self.on("dx transposed") and name.endswith("attention.output"):
            return dy @ w.T
        return dy @ w

    # ---- activation ----

    def gelu(self, z, backward=False):
        """Value and derivative."""
        kind = "tanh"
        for other in ("erf", "quick", "relu"):
            if self.on(f"gelu {other}") or (backward and self.on(f"gelu backward {other}")):
                kind = other
        if kind == "relu":
            return np.maximum(z, 0), (z > 0).astype(z.dtype)
        if kind == "quick":
            s = 1 / (1 + np.exp(-1.702 * z))
            return z * s, s + z * s * (1 - s) * 1.702
        if kind == "erf":
            phi = 0.5 * (1 + np.vectorize(math.erf)(z / math.sqrt(2)))
            return z * phi, phi + z * np.exp(-z * z / 2) / math.sqrt(2 * math.pi)
        u = math.sqrt(2 / math.pi) * (z + 0.044715 * z**3)
        t = np.tanh(u)
        slope = math.sqrt(2 / math.pi) * (1 + 3 * 0.044715 * z**2)
        return 0.5 * z * (1 + t), 0.5 * (1 + t) + 0.5 * z * (1 - t * t) * slope

    # ---- attention ----

    def split(self, qkv):
        """(B, T, 3 C) -> three of (B, H, T, D)"""
        B, T, width = qkv.shape
        H, D = self.heads, width // (3 * self.heads)
        if self.on("qkv interleaved"):
            return tuple(qkv.reshape(B, T, H, 3, D).transpose(3, 0, 2, 1, 4))
        if self.on("heads (D, heads)"):
            return tuple(qkv.reshape(B, T, 3, D, H).transpose(2, 0, 4, 1, 3))
        q, k, v = qkv.reshape(B, T, 3, H, D).transpose(2, 0, 3, 1, 4)
        return (k, q, v) if self.on("order kqv") else (q, k, v)

    def join(self, dq, dk, dv):
        B, H, T, D = dq.shape
        if self.on("qkv interleaved"):
            return np.stack([dq, dk, dv]).transpose(1, 3, 2, 0, 4).reshape(B, T, 3 * H * D)
        if self.on("heads (D, heads)"):
            return np.stack([dq, dk, dv]).transpose(1, 3, 0, 4, 2).reshape(B, T, 3 * H * D)
        if self.on("order kqv"):
            dq, dk = dk, dq
        return np.stack([dq, dk, dv]).transpose(1, 3, 0, 2, 4).reshape(B, T, 3 * H * D)

    def attend(self, qkv):
        q, k, v = self.split(qkv)
        B, H, T, D = q.shape
        power = 0 if self.on("scale left out") else 1 if self.on("scale twice") else 0.5
        self.scale = (H * D) ** -0.5 if self.on("scale sqrt(C)") else D**-power
        scores = q @ k.swapaxes(-1, -2) * self.scale
        strict = self.on("mask strict") or self.on("mask strict, -1e9")
        hidden = np.triu(np.ones((T, T), bool), 2 if self.on("mask wide") else 1 - strict)
        filler = (
            -1e9 if self.on("mask strict, -1e9") else 0 if self.on("masked with 0") else -np.inf
        )
        if not self.on("mask left out"):
            scores = np.where(hidden, self.dtype(filler), scores)
        axis = -2 if self.on("softmax over queries") else -1
        with np.errstate(invalid="ignore"):
            e = np.exp(scores - scores.max(axis=axis, keepdims=True))
        p = e / e.sum(axis=axis, keepdims=True)
        y = p @ v
        if not self.on("heads not moved back"):
            y = y.swapaxes(1, 2)
        return y.reshape(B, T, H * D), (q, k, v, p, hidden)

    def attend_back(self, dy, saved):
        q, k, v, p, hidden = saved
        B, H, T, D = q.shape
        dy = dy.reshape(B, T, H, D).swapaxes(1, 2)
        dp = dy @ v.swapaxes(-1, -2)
        ds = p * dp
        if not self.on("softmax backward without sum"):
            axis = -2 if self.on("softmax over queries") else -1
            ds = ds - p * ds.sum(axis=axis, keepdims=True)
        if not self.on("mask left out"):
            ds = np.where(hidden, self.dtype(0), ds)
        scale = 1 if self.on("scale left out of backward") else self.scale
        return self.join(ds @ k * scale, ds.swapaxes(-1, -2) @ q * scale, p.swapaxes(-1, -2) @ dy)

    # ---- the model ----

    def block(self, x, i):
        name, keep = f"blocks.{i}", lambda key, y: self.keep(f"h{i}.{key}", y)
        weights = [f"{name}.attention.{part}" for part in ("query", "key", "value")]
        w = np.concatenate([self.p[f"{part}.weight"] for part in weights])
        b = np.concatenate([self.p[f"{part}.bias"] for part in weights])
        if self.on("weights stacked vqk"):
            w, b = (np.roll(y, len(y) // 3, axis=0) for y in (w, b))
        if self.on("post-norm"):
            y, norm1 = x, None
        else:
            y, norm1 = self.norm(x, f"{name}.norm1")
            y = keep("ln1", x if self.on("norm1 skipped") else y)
        qkv = keep("qkv", y @ w.T + b)
        att, heads = self.attend(qkv)
        att = keep("att", att)
        proj = keep("proj", self.linear(att, f"{name}.attention.output"))
        kept = y if self.on("residual after norm") else 0 if self.on("residual dropped") else x
        mid = keep("mid", kept + proj)
        ln2, norm2 = self.norm(mid, f"{name}.norm2")
        if self.on("post-norm"):
            keep("ln1", self.norm(mid, f"{name}.norm1")[0])
        ln2 = keep("ln2", ln2)
        source = mid if self.on("mlp reads the residual") else ln2
        z = self.linear(source, f"{name}.mlp.up")
        fc = keep("fc", self.gelu(z)[0])
        out = keep("out", self.linear(fc, f"{name}.mlp.down"))
        out = 0.5 * out if self.on("branch halved") else out
        return keep("x", mid + out), (norm1, y, w, heads, att, norm2, source, z, fc)

    def block_back(self, dx, i, saved):
        name, keep = f"blocks.{i}", lambda key, y: self.keep(f"d h{i}.{key}", y)
        norm1, ln1, w, heads, att, norm2, ln2, z, fc = saved
        dout = keep("out", dx)
        dfc = keep("fc", self.linear_back(dout, fc, f"{name}.mlp.down"))
        dz = dfc if self.on("gelu backward left out") else dfc * self.gelu(z, True)[1]
        dln2 = keep("ln2", self.linear_back(dz, ln2, f"{name}.mlp.up"))
        dmid = self.norm_back(dln2, f"{name}.norm2", norm2)
        if not (self.on("residual gradient left out") and i == 0):
            dmid = dmid + dx
        if self.on("residual gradient twice") and i == 0:
            dmid = dmid + dx
        dmid = keep("mid", dmid)
        dproj = keep("proj", dmid)
        datt = keep("att", self.linear_back(dproj, att, f"{name}.attention.output"))
        dqkv = keep("qkv", self.attend_back(datt, heads))
        rows = dqkv.reshape(-1, dqkv.shape[-1])
        if self.on("weights stacked vqk"):
            rows = np.roll(rows, -rows.shape[1] // 3, axis=1)
        dw = np.split(rows.T @ ln1.reshape(-1, ln1.shape[-1]), 3)
        db = np.split(rows.sum(axis=0), 3)
        for part, dweight, dbias in zip(("query", "key", "value"), dw, db, strict=True):
            self.add_grad(f"{name}.attention.{part}.weight", dweight)
            self.add_grad(f"{name}.attention.{part}.bias", dbias)
        dln1 = keep("ln1", dqkv @ w)
        branch = self.norm_back(dln1, f"{name}.norm1", norm1)
        return branch if self.on("gradient around attention left out") else branch + dmid

    def forward(self, inputs, targets):
        V, C = self.p["tokens.weight"].shape
        B, T = inputs.shape
        table = self.p["tokens.weight"]
        wte = self.keep("wte", table[inputs] * (C**0.5 if self.on("embedding scaled") else 1))
        wpe = self.keep("wpe", self.p["positions.weight"][self.on("positions from 1") :][:T])
        x = self.keep("x0", wte if self.on("positions left out") else wte + wpe)
        blocks = []
        for i in range(self.layers):
            x, saved = self.block(x, i)
            blocks.append(saved)
        y, normf = self.norm(x, "norm")
        y = self.keep("lnf", x if self.on("final norm skipped") else y)
        logits = self.keep("logits", y @ table.T)
        kept = targets != -100
        if self.on("targets not ignored"):
            kept = np.ones_like(kept)
        if self.on("targets shifted"):
            targets = np.roll(targets, -1, axis=-1)
            kept = targets != -100
        ids = np.where(targets == -100, 0, targets)
        e = np.exp(logits - logits.max(axis=-1, keepdims=True))
        p = e / e.sum(axis=-1, keepdims=True)
        losses = -np.log(np.take_along_axis(p, ids[..., None], -1)[..., 0]) * kept
        count = kept.sum()
        count = 1 if self.on("loss summed") else targets.size if self.on("loss over all") else count
        count = B if self.on("loss over batch") else count
        self.keep("loss", losses.sum() / count)
        count = 1 if self.on("loss gradient summed") else count
        dlogits = (p - (ids[..., None] == np.arange(V))) * kept[..., None] / count
        return dlogits, (y, normf, blocks)

    def backward(self, dlogits, saved, inputs):
        y, normf, blocks = saved
        table = self.p["tokens.weight"]
        self.keep("d logits", dlogits)
        if not self.on("only the embedding's gradient"):
            V, C = table.shape
            self.add_grad("tokens.weight", dlogits.reshape(-1, V).T @ y.reshape(-1, C))
        dx = self.norm_back(self.keep("d lnf", dlogits @ table), "norm", normf)
        for i in reversed(range(self.layers)):
            dx = self.block_back(self.keep(f"d h{i}.x", dx), i, blocks[i])
        dx = self.keep("d x0", dx)
        self.keep("d wte", dx)
        rows = dx[0] if self.on("position gradient first sequence") else dx.sum(axis=0)
        rows = dx.mean(axis=0) if self.on("position gradient mean") else rows
        self.keep("d wpe", rows)
        dpositions = np.zeros_like(self.p["positions.weight"])
        dpositions[: len(rows)] = rows
        self.add_grad("positions.weight", dpositions)
        if not self.on("only the head's gradient"):
            dtable = np.zeros_like(table)
            if self.on("repeated ids overwritten"):
                dtable[inputs] = dx
            else:
                np.add.at(dtable, inputs, dx)
            self.add_grad("tokens.weight", dtable)

    def __call__(self, inputs, targets, backward=True):
        """Forward mistakes that change what backward would need run forward only."""
        dlogits, saved = self.forward(inputs, targets)
        if backward:
            self.backward(dlogits, saved, inputs)
        return self.seen | {f"grad/{name}": x for name, x in self.grads.items()}
