"""What each op's pullback computes, on paper: dx is the gradient of x, dy the cotangent of y.

Products of arrays are elementwise, @ is the matrix product; sums run over whatever was broadcast.
In attention, where arrays are matrices, products are those of matrices, but for P dP and dy y.
"""

FORMULAS = {
    "absolute": "dx = dy sign(x)",
    "add": "da = dy,  db = dy",
    "astype": "dx = dy, in the dtype of x",
    "attend": """
        P = softmax(s q kᵀ + bias),  dP = dy vᵀ
        dS = P (dP − Σⱼ P dP),  where Σⱼ P dP = Σ dy y
        dq = s dS k,  dk = s dSᵀ q,  dv = Pᵀ dy,  dbias = dS""",
    "broadcast_to": "dx = Σ dy over the axes that were broadcast",
    "concatenate": "each input gets its own part of dy",
    "cos": "dx = −dy sin x",
    "cross_entropy": "dlogits = dy (softmax(logits) − onehot(target)) / count",
    "divide": "da = dy / b,  db = −dy a / b²",
    "dropout": "dx = dy mask / (1 − p), with the mask of the forward pass",
    "einsum": "da: the same sum with dy in the place of a;  db likewise",
    "embedding": "dtable[v] = Σ dy over the places where ids = v",
    "exp": "dx = dy y",
    "gelu": "dx = dy (Φ(x) + x φ(x)), φ the normal density, Φ its integral",
    "getitem": "dx = 0 but for dx[index] += dy",
    "layer_norm": """
        x̂ = (x − mean x) / σ,  g = dy weight
        dx = (g − mean g − x̂ mean(g x̂)) / σ
        dweight = Σ dy x̂,  dbias = Σ dy""",
    "linear": """
        dz = dy activation′(z),  z = x weightᵀ + bias
        dx = dz @ weight,  dweight = dzᵀ @ x,  dbias = Σ dz""",
    "linear_attend": """
        q, k = features,  S = kᵀ v,  s = Σ k,  d = q · s + ε,  g = dy / d,  h = −Σ g y
        dq = g Sᵀ + h s,  dk = v (qᵀ g)ᵀ + Σ h q,  dv = k (qᵀ g)""",
    "log": "dx = dy / x",
    "log_softmax": "dx = dy − softmax(x) Σ dy",
    "matmul": "da = dy @ bᵀ,  db = aᵀ @ dy",
    "max": "dx = dy where x = y, shared evenly among equals",
    "maximum": "da = dy where a > b,  db = dy where b > a,  half each where equal",
    "mean": "dx = dy / count",
    "minimum": "da = dy where a < b,  db = dy where b < a,  half each where equal",
    "multiply": "da = dy b,  db = dy a",
    "negative": "dx = −dy",
    "pad": "dx = dy without its border",
    "power": "da = dy b aᵇ⁻¹,  db = dy y log a",
    "relu": "dx = dy where x > 0, else 0",
    "reshape": "dx = dy, in the shape of x",
    "self_attend": """
        q, k, v = parts of qkv
        P = softmax(s q kᵀ + bias),  dP = dy vᵀ
        dS = P (dP − Σⱼ P dP),  where Σⱼ P dP = Σ dy y
        dqkv = (s dS k, s dSᵀ q, Pᵀ dy)""",
    "sigmoid": "dx = dy y (1 − y)",
    "silu": "dx = dy (σ + x σ (1 − σ)),  σ = sigmoid(x)",
    "sin": "dx = dy cos x",
    "softmax": "dx = y (dy − Σ dy y)",
    "sqrt": "dx = dy / (2 y)",
    "stack": "each input gets its own slice of dy",
    "subtract": "da = dy,  db = −dy",
    "sum": "dx = dy, spread over what was summed",
    "swapaxes": "dx = dy with the same two axes swapped",
    "tanh": "dx = dy (1 − y²)",
    "transpose": "dx = dy with its axes put back",
    "var": "dx = 2 dy (x − mean x) / (count − ddof)",
    "where": "da = dy where the condition holds,  db = dy where it does not",
}
