"""Writes the ONNX models that the tests compile, and what onnxruntime answers for them.

    python -m venv venv && venv/bin/pip install onnx==1.19.0 onnxruntime numpy
    venv/bin/python models/compile/tests/onnx/export.py

Weights are random and seeded: the tests are about arithmetic, not about ranking. Each model has a `.onnx` and a `.json`
with its features, their kinds and `rows` of them with the scores; rerankers have such `lists`, because a score is one of its
list. Never run in CI; run it to add a model.
"""
import json
import pathlib

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

HERE = pathlib.Path(__file__).parent
ROWS = 20
LISTS = [33, 1, 7, 100]


class Graph:
    """Collects nodes; every method returns the name of a value."""

    def __init__(self, seed):
        self.random = np.random.default_rng(seed)
        self.nodes, self.weights, self.inputs, self.features = [], [], [], []
        self.version = 17

    def op(self, kind, *inputs, outputs=1, **attributes):
        names = [f"v{len(self.nodes)}_{at}" for at in range(outputs)]
        self.nodes.append(helper.make_node(kind, list(inputs), names, **attributes))
        return names[0] if outputs == 1 else names

    def const(self, array):
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def weight(self, *shape):
        scale = 1 / np.sqrt(shape[0])
        return self.const((self.random.standard_normal(shape) * scale).astype(np.float32))

    def input(self, name, width, shared=False, ids=None, shape=None):
        """`width` features `name_0`, ...; of width 1, the feature `name`."""
        ty = TensorProto.INT64 if ids else TensorProto.FLOAT
        self.inputs.append(helper.make_tensor_value_info(name, ty, shape or ["batch", width]))
        names = [name] if width == 1 else [f"{name}_{at}" for at in range(width)]
        self.features += [{"name": n, "shared": shared, "ids": ids} for n in names]
        return name

    def only_input(self, shared, batch=("batch",)):
        """One input of all features, where `shared` says of each whether it is the request's."""
        self.inputs.append(helper.make_tensor_value_info("x", TensorProto.FLOAT, [*batch, len(shared)]))
        self.features += [{"name": f"f{at}", "shared": bool(s), "ids": None} for at, s in enumerate(shared)]
        return "x"

    def dense(self, x, inputs, outputs, act=None):
        y = self.op("Gemm", x, self.weight(inputs, outputs), self.weight(outputs))
        return self.op(act, y) if act else y

    def mlp(self, x, *widths, act="Relu"):
        for at, (a, b) in enumerate(zip(widths, widths[1:])):
            x = self.dense(x, a, b, act if at + 2 < len(widths) else None)
        return x

    def embed(self, ids, rows, width):
        """[batch, 1] ids to [batch, width]."""
        e = self.op("Gather", self.weight(rows, width), ids, axis=0)
        return self.op("Reshape", e, self.const(np.array([-1, width], np.int64)))

    def ints(self, *values):
        return self.const(np.array(values, np.int64))

    def model(self, name, score, shape):
        self.nodes.append(helper.make_node("Identity", [score], ["score"]))
        out = helper.make_tensor_value_info("score", TensorProto.FLOAT, shape)
        graph = helper.make_graph(self.nodes, name, self.inputs, [out], self.weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.version)], ir_version=10 if self.version > 20 else 9)
        model.producer_name = "selvedge-fixtures"
        onnx.checker.check_model(model, full_check=True)
        (HERE / f"{name}.onnx").write_bytes(model.SerializeToString())
        return onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])

    def rows(self, number, seed, given):
        """`given` are values of features, one for all rows or one for each; the others are drawn."""
        random = np.random.default_rng(seed)
        columns = []
        for f in self.features:
            values = random.integers(0, f["ids"], number) if f["ids"] else random.standard_normal(number).round(3)
            values = np.full(number, values[0]) if f["shared"] else values
            columns.append(np.broadcast_to(given.get(f["name"], values), number))
        return np.stack(columns, 1).astype(np.float32)

    def scores(self, session, rows):
        """What onnxruntime says, as JSON has it. The axes that are not dynamic are those that the inputs declare."""
        feeds, at = {}, 0
        for i in self.inputs:
            dims = i.type.tensor_type.shape.dim
            dynamic = any(dim.dim_param for dim in dims)
            width = int(np.prod([dim.dim_value for dim in dims if not dim.dim_param]))
            ty = np.int64 if i.type.tensor_type.elem_type == TensorProto.INT64 else np.float32
            part = rows[:, at : at + width].astype(ty)
            shape = [len(rows) if dim.dim_param else dim.dim_value for dim in dims]
            feeds[i.name] = (part if dynamic else part[:1]).reshape(shape)
            at += width
        scores = session.run(["score"], feeds)[0].reshape(-1)
        assert len(scores) == len(rows) and np.isfinite(scores).all(), (scores, rows)
        assert len(rows) == 1 or scores.std() > 1e-4, scores
        return {"rows": [[float(v) for v in row] for row in rows], "scores": [float(s) for s in scores]}

    def save(self, name, score, **given):
        session = self.model(name, score, ["batch", 1])
        text = {"features": self.features, **self.scores(session, self.rows(ROWS, 7, given))}
        (HERE / f"{name}.json").write_text(json.dumps(text) + "\n")

    def save_lists(self, name, score, shape):
        session = self.model(name, score, shape)
        lists = [self.scores(session, self.rows(number, 20 + number, {})) for number in LISTS]
        text = {"features": self.features, **lists[0], "lists": lists[1:]}
        (HERE / f"{name}.json").write_text(json.dumps(text) + "\n")


def mlp():
    g = Graph(1)
    x = g.only_input([at % 3 == 0 for at in range(24)])
    g.save("mlp", g.op("Sigmoid", g.mlp(x, 24, 32, 16, 1)))


def normalised():
    """Batch norm before and after a layer, as trained networks have it."""
    g = Graph(2)
    x = g.only_input([False] * 6 + [True] * 6)
    norm = lambda x, n: g.op(
        "BatchNormalization", x, *[g.const(g.random.uniform(0.5, 1.5, n).astype(np.float32)) for _ in range(4)]
    )
    x = g.op("Relu", norm(g.dense(norm(x, 12), 12, 16), 16))
    g.save("normalised", g.dense(x, 16, 1))


def dlrm():
    g = Graph(3)
    bottom = g.mlp(g.input("dense", 5), 5, 16, 8)
    bottom = g.op("Relu", bottom)
    parts = [bottom]
    for name, shared in [("user", True), ("segment", True), ("product", False), ("brand", False)]:
        parts.append(g.embed(g.input(name, 1, shared, 50), 50, 8))
    stacked = g.op("Reshape", g.op("Concat", *parts, axis=1), g.const(np.array([-1, 5, 8], np.int64)))
    products = g.op("MatMul", stacked, g.op("Transpose", stacked, perm=[0, 2, 1]))
    flat = g.op("Reshape", products, g.const(np.array([-1, 25], np.int64)))
    pairs = [a * 5 + b for a in range(5) for b in range(a)]
    pairs = g.op("Gather", flat, g.const(np.array(pairs, np.int64)), axis=1)
    g.save("dlrm", g.op("Sigmoid", g.mlp(g.op("Concat", bottom, pairs, axis=1), 18, 16, 1)))


def deepfm():
    g = Graph(4)
    fields = [("user", True), ("hour", True), ("product", False), ("shop", False)]
    inputs = [g.input(name, 1, shared, 30) for name, shared in fields]
    embedded = [g.embed(i, 30, 6) for i in inputs]
    first = [g.embed(i, 30, 1) for i in inputs]
    cat = g.op("Concat", *embedded, axis=1)
    stacked = g.op("Reshape", cat, g.const(np.array([0, 4, 6], np.int64)))
    axis = g.const(np.array([1], np.int64))
    total = g.op("ReduceSum", stacked, axis, keepdims=0)
    squares = g.op("ReduceSum", g.op("Mul", stacked, stacked), axis, keepdims=0)
    second = g.op("Sub", g.op("Mul", total, total), squares)
    second = g.op("ReduceSum", second, axis, keepdims=1)
    second = g.op("Mul", second, g.const(np.float32(0.5)))
    linear = g.op("ReduceSum", g.op("Concat", *first, axis=1), axis, keepdims=1)
    deep = g.mlp(cat, 24, 16, 8, 1)
    g.save("deepfm", g.op("Sigmoid", g.op("Add", g.op("Add", linear, second), deep)))


def dcn():
    """Deep and cross network, version 2: x0 * (W x + b) + x."""
    g = Graph(5)
    x0 = x = g.only_input([True] * 7 + [False] * 9)
    for _ in range(3):
        x = g.op("Add", g.op("Mul", x0, g.dense(x, 16, 16)), x)
    deep = g.op("Relu", g.mlp(x0, 16, 24, 12))
    g.save("dcn", g.dense(g.op("Concat", x, deep, axis=1), 28, 1))


def two_tower():
    g = Graph(6)
    user = g.mlp(g.input("user", 8, True), 8, 16, 8, act="Tanh")
    item = g.mlp(g.input("item", 10), 10, 16, 8, act="LeakyRelu")
    unit = lambda x: g.op("Div", x, g.op("Sqrt", g.op("ReduceSum", g.op("Mul", x, x), g.const(np.array([1])), keepdims=1)))
    g.save("two_tower", g.op("ReduceSum", g.op("Mul", unit(user), unit(item)), g.const(np.array([1])), keepdims=1))


def mmoe():
    g = Graph(7)
    x = g.only_input([at < 6 for at in range(14)])
    experts = [g.op("Relu", g.mlp(x, 14, 12, 8)) for _ in range(3)]
    stacked = g.op("Concat", *[g.op("Unsqueeze", e, g.const(np.array([1]))) for e in experts], axis=1)
    tasks = []
    for _ in range(2):
        gate = g.op("Softmax", g.dense(x, 14, 3), axis=1)
        mixed = g.op("MatMul", g.op("Unsqueeze", gate, g.const(np.array([1]))), stacked)
        mixed = g.op("Squeeze", mixed, g.const(np.array([1])))
        tasks.append(g.op("Sigmoid", g.mlp(mixed, 8, 6, 1)))
    g.save("mmoe", g.op("Mul", *tasks))


def attention(g, q, k, v, width, dim):
    """Scaled dot products of [batch, n, dim]."""
    scores = g.op("MatMul", q, g.op("Transpose", k, perm=[0, 2, 1]))
    scores = g.op("Div", scores, g.const(np.float32(np.sqrt(dim))))
    return g.op("MatMul", g.op("Softmax", scores, axis=2), v)


def din():
    """Deep interest network: each candidate attends to the user's history, through a small network."""
    g = Graph(8)
    items, length, dim = 40, 6, 8
    table = g.weight(items, dim)
    history = g.op("Gather", table, g.input("history", length, True, items), axis=0)
    item = g.op("Gather", table, g.input("product", 1, False, items), axis=0)
    q = g.op("Expand", item, g.const(np.array([1, length, dim], np.int64)))
    parts = g.op("Concat", q, history, g.op("Sub", q, history), g.op("Mul", q, history), axis=2)
    hidden = g.op("Sigmoid", g.op("Add", g.op("MatMul", parts, g.weight(4 * dim, 12)), g.weight(12)))
    score = g.op("Add", g.op("MatMul", hidden, g.weight(12, 1)), g.weight(1))
    pooled = g.op("MatMul", g.op("Transpose", score, perm=[0, 2, 1]), history)
    pooled = g.op("Squeeze", pooled, g.const(np.array([1])))
    flat = g.op("Squeeze", item, g.const(np.array([1])))
    g.save("din", g.op("Sigmoid", g.mlp(g.op("Concat", pooled, flat, axis=1), 16, 20, 10, 1, act="Sigmoid")))


def padded():
    """Attention over the last four items where id 0 is no item: padding has no weight."""
    g = Graph(15)
    items, length, dim = 21, 4, 8
    table = g.weight(items, dim)
    ids = g.input("history", length, True, items)
    history = g.op("Gather", table, ids, axis=0)
    item = g.op("Gather", table, g.input("product", 1, False, items), axis=0)
    scores = g.op("MatMul", item, g.op("Transpose", history, perm=[0, 2, 1]))
    is_padding = g.op("Unsqueeze", g.op("Equal", ids, g.const(np.int64(0))), g.const(np.array([1])))
    weights = g.op("Softmax", g.op("Where", is_padding, g.const(np.float32(-1e9)), scores), axis=2)
    pooled, flat = (g.op("Squeeze", x, g.const(np.array([1]))) for x in [g.op("MatMul", weights, history), item])
    g.save("padded", g.op("Sigmoid", g.mlp(g.op("Concat", pooled, flat, axis=1), 2 * dim, 12, 1)))


def recent():
    """Deep interest network over a user's last six items: 0 is no item, and places behind the length have no weight. The numbers
    of its rows are those of a user with four events."""
    g = Graph(16)
    buckets, length, dim = 40, 6, 8
    table = g.weight(buckets + 1, dim)
    ids, count = g.input("history", length, True, buckets + 1), g.input("history_length", 1, True, length)
    history = g.op("Gather", table, ids, axis=0)
    item = g.op("Gather", table, g.input("product", 1, False, buckets + 1), axis=0)
    q = g.op("Expand", item, g.const(np.array([1, length, dim], np.int64)))
    parts = g.op("Concat", q, history, g.op("Sub", q, history), g.op("Mul", q, history), axis=2)
    hidden = g.op("Sigmoid", g.op("Add", g.op("MatMul", parts, g.weight(4 * dim, 12)), g.weight(12)))
    score = g.op("Add", g.op("MatMul", hidden, g.weight(12, 1)), g.weight(1))
    is_there = g.op("Less", g.const(np.arange(length, dtype=np.int64).reshape(1, length)), count)
    is_there = g.op("Unsqueeze", is_there, g.const(np.array([2])))
    score = g.op("Where", is_there, score, g.const(np.float32(0)))
    pooled = g.op("MatMul", g.op("Transpose", score, perm=[0, 2, 1]), history)
    pooled, flat = (g.op("Squeeze", x, g.const(np.array([1]))) for x in [pooled, item])
    both = g.op("Concat", pooled, flat, g.op("Mul", pooled, flat), axis=1)
    score = g.op("Sigmoid", g.mlp(both, 3 * dim, 20, 10, 1, act="Sigmoid"))
    history = {f"history_{at}": number for at, number in enumerate([12, 31, 7, 31, 0, 0])}
    products = g.random.permutation(buckets)[:ROWS] + 1
    g.save("recent", score, **history, history_length=4, product=products)


def layer_norm(g, x, dim):
    ones = g.random.uniform(0.5, 1.5, dim).astype(np.float32)
    return g.op("LayerNormalization", x, g.const(ones), g.weight(dim), axis=-1)


def encoder():
    """Two layers of self-attention over words, then a dense score."""
    g = Graph(9)
    words, length, dim = 60, 5, 8
    x = g.op("Gather", g.weight(words, dim), g.input("word", length, False, words), axis=0)
    x = g.op("Add", x, g.weight(length, dim))
    for _ in range(2):
        q, k, v = (g.op("MatMul", x, g.weight(dim, dim)) for _ in range(3))
        mixed = g.op("MatMul", attention(g, q, k, v, length, dim), g.weight(dim, dim))
        x = layer_norm(g, g.op("Add", x, mixed), dim)
        wide = g.op("Add", g.op("MatMul", x, g.weight(dim, 16)), g.weight(16))
        half = g.op("Erf", g.op("Mul", wide, g.const(np.float32(1 / np.sqrt(2)))))
        wide = g.op("Mul", g.op("Mul", wide, g.op("Add", half, g.const(np.float32(1)))), g.const(np.float32(0.5)))
        x = layer_norm(g, g.op("Add", x, g.op("MatMul", wide, g.weight(16, dim))), dim)
    pooled = g.op("ReduceMean", x, axes=[1], keepdims=0)
    price = g.input("price", 1)
    g.save("encoder", g.dense(g.op("Concat", pooled, price, axis=1), 9, 1))


def caser():
    """Convolutional sequence embedding: filters over places and over dimensions of the last items, and the greatest over time."""
    g = Graph(11)
    items, length, dim = 50, 7, 8
    table = g.weight(items, dim)
    image = g.op("Gather", table, g.input("history", length, True, items), axis=0)
    image = g.op("Unsqueeze", image, g.const(np.array([1])))
    parts = []
    for height in [2, 3]:
        across = g.op("Conv", image, g.weight(6, 1, height, dim), g.weight(6), kernel_shape=[height, dim])
        across = g.op("Relu", across)
        greatest = g.op("MaxPool", across, kernel_shape=[length - height + 1, 1])
        parts.append(g.op("Flatten", greatest))
    down = g.op("Conv", image, g.weight(4, 1, length, 1), g.weight(4), kernel_shape=[length, 1])
    parts.append(g.op("Flatten", down))
    user = g.dense(g.op("Concat", *parts, axis=1), 12 + 4 * dim, dim, "Relu")
    item = g.embed(g.input("product", 1, False, items), items, dim)
    g.save("caser", g.dense(g.op("Concat", user, item, g.op("Mul", user, item), axis=1), 3 * dim, 1))


def cnn():
    """A text network over the words of a title: padded, dilated, strided and grouped convolutions, and both kinds of pooling."""
    g = Graph(12)
    words, length, dim = 60, 9, 8
    x = g.op("Gather", g.weight(words, dim), g.input("word", length, False, words), axis=0)
    x = g.op("Transpose", x, perm=[0, 2, 1])
    x = g.op("Relu", g.op("Conv", x, g.weight(12, dim, 3), g.weight(12), kernel_shape=[3], pads=[1, 1]))
    x = g.op("AveragePool", x, kernel_shape=[3], strides=[2], pads=[1, 1], count_include_pad=0)
    x = g.op("Tanh", g.op("Conv", x, g.weight(6, 6, 2), g.weight(6), kernel_shape=[2], group=2, dilations=[2]))
    own = g.op("Conv", x, g.weight(6, 1, 3), kernel_shape=[3], group=6, pads=[1, 1], strides=[2])
    x = g.op("MaxPool", x, kernel_shape=[2], pads=[1, 0])
    pooled = [g.op("Flatten", g.op(kind, y)) for kind, y in [("GlobalMaxPool", x), ("GlobalAveragePool", own)]]
    g.save("cnn", g.dense(g.op("Concat", *pooled, axis=1), 12, 1))


def recurrent(g, kind, x, inputs, hidden, gates, **attributes):
    """All states of a recurrent operator over [batch, time, inputs], as [batch, time, hidden]."""
    x = g.op("Transpose", x, perm=[1, 0, 2])
    directions = 2 if attributes.get("direction") == "bidirectional" else 1
    weights = [g.const((g.random.standard_normal(shape) / 3).astype(np.float32)) for shape in
               [(directions, gates * hidden, inputs), (directions, gates * hidden, hidden), (directions, 2 * gates * hidden)]]
    states = g.op(kind, x, *weights, outputs=2, hidden_size=hidden, **attributes)[0]
    states = g.op("Transpose", states, perm=[2, 0, 1, 3])
    return g.op("Reshape", states, g.const(np.array([0, 0, -1], np.int64)))


def dien():
    """Deep interest evolution network: a GRU over the history, and a GRU whose update gate is the candidate's attention, its turns
    written out as an exporter does."""
    g = Graph(13)
    items, length, dim = 40, 6, 8
    table = g.weight(items, dim)
    history = g.op("Gather", table, g.input("history", length, True, items), axis=0)
    interests = recurrent(g, "GRU", history, dim, dim, 3, linear_before_reset=1)
    item = g.op("Gather", table, g.input("product", 1, False, items), axis=0)
    scores = g.op("MatMul", g.op("MatMul", item, g.weight(dim, dim)), g.op("Transpose", interests, perm=[0, 2, 1]))
    attention = g.op("Transpose", g.op("Softmax", scores, axis=2), perm=[0, 2, 1])
    state = g.op("Mul", g.op("Squeeze", item, g.const(np.array([1]))), g.const(np.float32(0)))
    gates = [[g.weight(dim, dim), g.weight(dim, dim), g.weight(dim)] for _ in range(3)]
    for at in range(length):
        pick = lambda x: g.op("Squeeze", g.op("Slice", x, *[g.const(np.array([n])) for n in [at, at + 1, 1]]), g.const(np.array([1])))
        x, share = pick(interests), pick(attention)
        gate = lambda kind, by: g.op(kind, g.op("Add", g.op("Add", g.op("MatMul", x, by[0]), g.op("MatMul", state, by[1])), by[2]))
        update = g.op("Mul", gate("Sigmoid", gates[0]), share)
        reset = gate("Sigmoid", gates[1])
        inner = g.op("MatMul", g.op("Mul", reset, state), gates[2][1])
        inner = g.op("Tanh", g.op("Add", g.op("Add", g.op("MatMul", x, gates[2][0]), inner), gates[2][2]))
        kept = g.op("Mul", g.op("Sub", g.const(np.float32(1)), update), state)
        state = g.op("Add", kept, g.op("Mul", update, inner))
    flat = g.op("Squeeze", item, g.const(np.array([1])))
    g.save("dien", g.op("Sigmoid", g.mlp(g.op("Concat", state, flat, axis=1), 16, 20, 1, act="Sigmoid")))


def loops():
    """An LSTM and a GRU both ways, a plain RNN and a Scan over the words of a title."""
    g = Graph(14)
    words, length, dim, hidden = 60, 5, 6, 4
    x = g.op("Gather", g.weight(words, dim), g.input("word", length, False, words), axis=0)
    x = recurrent(g, "LSTM", x, dim, hidden, 4, direction="bidirectional")
    x = recurrent(g, "GRU", x, 2 * hidden, hidden, 3, direction="bidirectional")
    x = recurrent(g, "RNN", x, 2 * hidden, hidden, 1, direction="reverse")
    decay, turn = helper.make_tensor_value_info("decay", TensorProto.FLOAT, ["batch", hidden]), helper.make_tensor_value_info("turn", TensorProto.FLOAT, ["batch", hidden])
    out = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", hidden]) for name in ["next", "shown"]]
    body = [
        helper.make_node("Mul", ["decay", g.const(np.float32(0.5))], ["half"]),
        helper.make_node("Add", ["half", "turn"], ["next"]),
        helper.make_node("Tanh", ["next"], ["shown"]),
    ]
    body = helper.make_graph(body, "body", [decay, turn], out)
    first = g.op("Mul", g.op("ReduceMean", x, axes=[1], keepdims=0), g.const(np.float32(0)))
    last, shown = g.op("Scan", first, x, outputs=2, body=body, num_scan_inputs=1, scan_input_axes=[1], scan_output_axes=[1])
    shown = g.op("ReduceMax", shown, axes=[1], keepdims=0)
    g.save("loops", g.dense(g.op("Concat", last, shown, axis=1), 2 * hidden, 1))


def upsampled():
    """Transposed convolutions: one axis and two, whole and grouped, over each other, side by side and apart."""
    g = Graph(15)
    x = g.op("Reshape", g.only_input([at < 4 for at in range(16)]), g.const(np.array([0, 4, 4], np.int64)))
    x = g.op("ConvTranspose", x, g.weight(4, 3, 3), g.weight(3), strides=[2], pads=[1, 1], output_padding=[1])
    x = g.op("Reshape", g.op("Relu", x), g.const(np.array([0, 6, 2, 2], np.int64)))
    x = g.op("Tanh", g.op("ConvTranspose", x, g.weight(6, 2, 2, 2), g.weight(4), strides=[2, 2], group=2))
    x = g.op("ConvTranspose", x, g.weight(4, 1, 2, 3), strides=[3, 1], dilations=[1, 2], group=4)
    x = g.op("ConvTranspose", x, g.weight(4, 2, 3, 3), auto_pad="SAME_LOWER", strides=[2, 2])
    x = g.op("Reshape", x, g.const(np.array([0, -1], np.int64)))
    g.save("upsampled", g.dense(x, 2 * 22 * 16, 1))


def looped():
    """A Loop as scripted models have it: its count is a shape, its turns change a state and are put together."""
    g = Graph(17)
    x = g.op("Reshape", g.only_input([at < 8 for at in range(16)]), g.const(np.array([0, 4, 4], np.int64)))
    turns = g.op("Gather", g.op("Shape", x), g.const(np.array(1, np.int64)))
    weights, first = g.weight(4, 4), g.op("ReduceMean", x, axes=[1], keepdims=0)
    x = g.op("Transpose", x, perm=[1, 0, 2])
    nodes = [
        helper.make_node("Gather", [x, "turn"], ["now"]),
        helper.make_node("MatMul", ["before", weights], ["turned"]),
        helper.make_node("Add", ["turned", "now"], ["sum"]),
        helper.make_node("Tanh", ["sum"], ["after"]),
        helper.make_node("Identity", ["going"], ["goes"]),
        helper.make_node("Sigmoid", ["after"], ["seen"]),
    ]
    value = helper.make_tensor_value_info
    given = [value("turn", TensorProto.INT64, []), value("going", TensorProto.BOOL, []), value("before", TensorProto.FLOAT, None)]
    made = [value("goes", TensorProto.BOOL, []), value("after", TensorProto.FLOAT, None), value("seen", TensorProto.FLOAT, None)]
    body = helper.make_graph(nodes, "turn", given, made)
    state, seen = g.op("Loop", turns, "", first, outputs=2, body=body)
    g.save("looped", g.dense(g.op("Concat", state, g.op("ReduceMax", seen, axes=[0], keepdims=0), axis=1), 8, 1))


def multi_query():
    """Attention of four heads of queries over one of keys, and a Dropout with a mask, as a trained model keeps it."""
    g = Graph(18)
    g.version = 23
    x = g.op("Reshape", g.only_input([at < 12 for at in range(32)]), g.const(np.array([0, 4, 8], np.int64)))
    q, k, v = (g.op("MatMul", x, g.weight(8, width)) for width in (16, 4, 4))
    y = g.op("Attention", q, k, v, q_num_heads=4, kv_num_heads=1)
    y, mask = g.op("Dropout", y, outputs=2)
    y = g.op("Where", mask, y, g.op("Neg", y))
    g.save("multi_query", g.dense(g.op("Reshape", y, g.const(np.array([0, 64], np.int64))), 64, 1))


def beside():
    """Weights in a file beside the model, as exporters have them above two gigabytes."""
    g = Graph(16)
    g.save("beside", g.mlp(g.only_input([False] * 6), 6, 8, 1))
    (HERE / "beside.onnx.data").unlink(missing_ok=True)
    model = onnx.load(HERE / "beside.onnx")
    where = {"save_as_external_data": True, "location": "beside.onnx.data", "size_threshold": 0}
    onnx.save_model(model, HERE / "beside.onnx", **where)


def block(g, x, dim, mixed):
    """What a transformer does after its attention."""
    x = layer_norm(g, g.op("Add", x, g.op("Add", g.op("MatMul", mixed, g.weight(dim, dim)), g.weight(dim))), dim)
    wide = g.op("Relu", g.op("Add", g.op("MatMul", x, g.weight(dim, 2 * dim)), g.weight(2 * dim)))
    return layer_norm(g, g.op("Add", x, g.op("Add", g.op("MatMul", wide, g.weight(2 * dim, dim)), g.weight(dim))), dim)


def exported_attention(g, x, dim, heads):
    """Attention among [1, n, dim] as PyTorch 2 exports nn.TransformerEncoderLayer: sequence first, shapes computed, and one root
    of the scale for queries and one for keys."""
    x = g.op("Transpose", x, perm=[1, 0, 2])
    shape = g.op("Shape", x)
    length = g.op("Gather", shape, g.ints(0), axis=0)
    packed = g.op("Add", g.op("MatMul", x, g.weight(dim, 3 * dim)), g.weight(3 * dim))
    packed = g.op("Reshape", packed, g.op("Concat", length, g.ints(1, 3, dim), axis=0))
    packed = g.op("Transpose", g.op("Unsqueeze", packed, g.ints(0)), perm=[3, 1, 2, 0, 4])
    packed = g.op("Squeeze", packed, g.ints(3))
    root = g.const(np.float32((dim // heads) ** -0.25))
    sides = []
    for at in range(3):
        side = g.op("Gather", packed, g.const(np.int64(at)), axis=0)
        side = g.op("Reshape", side, g.op("Concat", length, g.ints(heads, dim // heads), axis=0))
        side = g.op("Transpose", side, perm=[1, 0, 2])
        sides.append(g.op("Reshape", side, g.op("Concat", g.ints(1, heads), length, g.ints(dim // heads), axis=0)))
    q, k, v = sides
    turned = g.op("Transpose", k, perm=[0, 1, 3, 2])
    scores = g.op("MatMul", g.op("Mul", q, root), g.op("Mul", turned, root))
    out = g.op("MatMul", g.op("Softmax", scores, axis=-1), v)
    out = g.op("Reshape", g.op("Transpose", out, perm=[2, 0, 1, 3]), g.op("Concat", length, g.ints(dim), axis=0))
    out = g.op("Reshape", out, g.op("Concat", length, g.ints(1, dim), axis=0))
    return g.op("Transpose", out, perm=[1, 0, 2])


def written_attention(g, x, dim, heads):
    """The same as people write it: scores are divided, and a value is one of its head."""
    split = lambda x: g.op("Reshape", x, g.ints(0, 0, heads, dim // heads))
    q, k, v = (split(g.op("MatMul", x, g.weight(dim, dim))) for _ in range(3))
    scores = g.op("Einsum", q, k, equation="blhd,bmhd->bhlm")
    weights = g.op("Softmax", g.op("Div", scores, g.const(np.float32(np.sqrt(dim // heads)))), axis=3)
    return g.op("Reshape", g.op("Einsum", weights, v, equation="bhlm,bmhd->blhd"), g.ints(0, 0, dim))


def reranker():
    """Personalized re-ranking: two transformer blocks over the list; the last feature is the place in it."""
    g = Graph(16)
    dim = 16
    x = g.only_input([True] * 2 + [False] * 8, (1, "list"))
    x = g.op("Add", g.op("MatMul", x, g.weight(10, dim)), g.weight(dim))
    x = block(g, x, dim, exported_attention(g, x, dim, 2))
    x = block(g, x, dim, written_attention(g, x, dim, 4))
    g.save_lists("reranker", g.op("Squeeze", g.op("MatMul", x, g.weight(dim, 1)), g.ints(2)), [1, "list"])


def setrank():
    """Set ranking with induced attention: learnt points attend to the list, and the list to them; an item that is sold out is asked
    by nobody."""
    g = Graph(17)
    dim, points = 8, 3
    items = g.op("Gather", g.weight(30, dim), g.input("product", 1, ids=30, shape=[1, "list"]), axis=0)
    x = g.op("MatMul", g.input("item", 5, shape=[1, "list", 5]), g.weight(5, dim))
    user = g.op("Unsqueeze", g.dense(g.input("user", 3, True, shape=[1, 3]), 3, dim, "Tanh"), g.ints(1))
    x = g.op("Add", g.op("Add", x, items), user)
    sold_out = g.op("Transpose", g.op("Slice", x, g.ints(0), g.ints(1), g.ints(2)), perm=[0, 2, 1])
    mask = g.op("Where", g.op("Greater", sold_out, g.const(np.float32(1.5))), g.const(np.float32(-1e9)), g.const(np.float32(0)))
    induced = g.op("MatMul", g.weight(1, points, dim), g.op("Transpose", x, perm=[0, 2, 1]))
    induced = g.op("MatMul", g.op("Softmax", g.op("Add", induced, mask), axis=2), x)
    back = g.op("MatMul", x, g.op("Transpose", induced, perm=[0, 2, 1]))
    back = g.op("MatMul", g.op("Softmax", back, axis=2), induced)
    x = layer_norm(g, g.op("Add", x, back), dim)
    scores = g.op("Mul", g.op("MatMul", x, g.op("Transpose", x, perm=[0, 2, 1])), g.const(np.float32(0.5)))
    x = g.op("Add", x, g.op("MatMul", g.op("Softmax", g.op("Add", scores, mask), axis=2), x))
    g.save_lists("setrank", g.op("MatMul", x, g.weight(dim, 1)), [1, "list", 1])


def listwise():
    """Features against those of the list: mean, spread and extremes, and a softmax over the list at the end."""
    g = Graph(18)
    x = g.only_input([False] * 5 + [True])
    mean = g.op("ReduceMean", x, axes=[0], keepdims=1)
    off = g.op("Sub", x, mean)
    spread = g.op("Sqrt", g.op("Add", g.op("ReduceMean", g.op("Mul", off, off), axes=[0], keepdims=1), g.const(np.float32(0.01))))
    most = g.op("ReduceMax", x, axes=[0], keepdims=1)
    least = g.op("ReduceMin", x, axes=[0], keepdims=0)
    parts = g.op("Concat", x, g.op("Div", off, spread), g.op("Sub", x, most), g.op("Sub", x, least), axis=1)
    score = g.mlp(parts, 24, 16, 1)
    total = g.op("ReduceSum", g.op("Sigmoid", score), keepdims=0)
    g.save_lists("listwise", g.op("Mul", g.op("Softmax", score, axis=0), total), ["batch", 1])


def refused(name, build):
    """A model of three features that must be refused; it is not checked, because most of these are not valid."""
    g = Graph(10)
    score = build(g, g.only_input([False] * 3))
    g.nodes.append(helper.make_node("Identity", [score], ["score"]))
    out = helper.make_tensor_value_info("score", TensorProto.FLOAT, ["batch", 1])
    graph = helper.make_graph(g.nodes, name, g.inputs, [out], g.weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    (HERE / f"refused_{name}.onnx").write_bytes(model.SerializeToString())


def cyclic(g, x):
    g.nodes.append(helper.make_node("Add", [x, "b"], ["a"]))
    g.nodes.append(helper.make_node("Relu", ["a"], ["b"]))
    return g.dense("b", 3, 1)


def external(g, x):
    weights = numpy_helper.from_array(np.zeros((3, 1), np.float32), "outside")
    onnx.external_data_helper.set_external_data(weights, location="../../etc/weights.bin")
    weights.ClearField("raw_data")
    weights.data_location = TensorProto.EXTERNAL
    g.weights.append(weights)
    return g.op("MatMul", x, "outside")


def overflowing(g, x):
    weights = numpy_helper.from_array(np.zeros((3, 1), np.float32), "huge")
    weights.dims[:] = [1 << 40, 1 << 40]
    g.weights.append(weights)
    return g.op("MatMul", x, "huge")


def long_loop(g, x):
    x = g.op("Expand", g.op("Unsqueeze", x, g.const(np.array([1]))), g.const(np.array([1, 600, 3], np.int64)))
    states = recurrent(g, "GRU", x, 3, 2, 3, linear_before_reset=1)
    return g.dense(g.op("ReduceMean", states, axes=[1], keepdims=0), 2, 1)


def wide_window(g, x):
    x = g.op("Unsqueeze", x, g.const(np.array([1])))
    x = g.op("MaxPool", x, kernel_shape=[2], dilations=[1 << 40], pads=[1 << 39, 1 << 39])
    return g.dense(g.op("ReduceMax", x, axes=[1], keepdims=0), 3, 1)


def loop(goes, turns):
    """A Loop whose body says in `goes` whether it goes on, and whose count `turns` makes."""

    def build(g, x):
        nodes = [helper.make_node("Add", ["before", "before"], ["after"]), goes]
        value = helper.make_tensor_value_info
        given = [value("turn", TensorProto.INT64, []), value("going", TensorProto.BOOL, []), value("before", TensorProto.FLOAT, None)]
        made = [value("goes", TensorProto.BOOL, []), value("after", TensorProto.FLOAT, None)]
        body = helper.make_graph(nodes, "turn", given, made)
        return g.dense(g.op("Loop", turns(g, x), "", x, body=body), 3, 1)

    return build


def known(turns):
    return lambda g, x: g.const(np.array(turns, np.int64))


def computed(g, x):
    return g.op("Cast", g.op("ReduceMax", x, keepdims=0), to=TensorProto.INT64)


SAME = helper.make_node("Identity", ["going"], ["goes"])
FEWER = helper.make_node("Less", ["turn", "turn"], ["goes"])


def grouped_heads(g, x):
    x = g.op("Unsqueeze", x, g.const(np.array([1])))
    q, k = g.op("MatMul", x, g.weight(3, 8)), g.op("MatMul", x, g.weight(3, 4))
    y = g.op("Attention", q, k, k, q_num_heads=4, kv_num_heads=2)
    return g.dense(g.op("ReduceMean", y, axes=[1], keepdims=0), 8, 1)


def cut_away(g, x):
    x = g.op("Unsqueeze", x, g.const(np.array([1])))
    x = g.op("ConvTranspose", x, g.weight(1, 1, 2), pads=[1 << 19, 1 << 19])
    return g.dense(g.op("ReduceMax", x, axes=[1], keepdims=0), 3, 1)


REFUSED = {
    "open_loop": loop(SAME, computed),
    "ending_loop": loop(FEWER, known(3)),
    "endless_loop": loop(SAME, known(1 << 40)),
    "grouped_heads": grouped_heads,
    "cut_away": cut_away,
    "wide_window": wide_window,
    "long_loop": long_loop,
    "cyclic": cyclic,
    "external": external,
    "overflowing": overflowing,
    "not_a_number": lambda g, x: g.op("MatMul", x, g.const(np.full((3, 1), np.nan, np.float32))),
    "shapes": lambda g, x: g.op("MatMul", x, g.weight(4, 1)),
    "unknown_operator": lambda g, x: g.op("FancyRank", x),
    "unsupported_operator": lambda g, x: g.dense(g.op("Atan", x), 3, 1),
    "across_candidates": lambda g, x: g.dense(g.op("CumSum", x, g.const(np.int64(0))), 3, 1),
    "pairs_of_candidates": lambda g, x: g.op("MatMul", g.op("Relu", g.op("MatMul", x, g.op("Transpose", x, perm=[1, 0]))), g.dense(x, 3, 1)),
    "two_numbers": lambda g, x: g.dense(x, 3, 2),
}

for write in [
    mlp, normalised, dlrm, deepfm, dcn, two_tower, mmoe, din, encoder, caser, cnn, dien, loops, padded, upsampled, looped, multi_query,
    beside, recent, reranker, setrank, listwise,
]:
    write()
for name, build in REFUSED.items():
    refused(name, build)
