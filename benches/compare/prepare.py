"""Makes the models, inputs and expected outputs of `cargo xtask bench compare`, the same every time.

    python3 prepare.py DIRECTORY

A folder per workload:

    workload.json          inputs, rows, how much of an output may differ
    inputs-ROWS.f32        [set][row][column], the columns of all inputs side by side
    expected-ROWS.f32      [set][row], by the library that the model comes from
    expected-PEER-ROWS.f32 likewise, where a peer has a model of its own
    features.toml          our declaration of the inputs, with model.toml
    sample.jsonl           requests that weights are made bytes by, where they are
    model.onnx, ...        the model in the format of each peer

Weights of networks are random: time does not depend on them. Trees are trained, since their shapes matter. A library that
is not there leaves out its files, and whoever needs them says so. Needs numpy and onnx.
"""

import importlib
import json
import pathlib
import sys
import zipfile

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

ROWS = [1, 100, 500]
# Inputs that calls take in turn, so that no engine sees the same values twice in a row.
SETS = 8
# What f32 arithmetic in another order may differ by, as a part of the spread of the expected outputs.
FLOATS = 1e-4
# Eight bits for a weight and for a value: the worst of all outputs of onnxruntime's own quantisation differs by 0.44.
EIGHT_BITS = 0.6


def library(name):
    """A library, or None where it is not installed."""
    try:
        return importlib.import_module(name)
    except Exception as error:  # a broken installation is as good as none
        print(f"without {name}: {error}", file=sys.stderr)
        return None


def session(model):
    """onnxruntime on one thread."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


class Workload:
    """A folder, filled piece by piece."""

    def __init__(self, root, name, inputs, shared, flops=0):
        """`inputs` are (name, width, ids); the first `shared` columns are the request's."""
        self.path = root / name
        self.path.mkdir(parents=True, exist_ok=True)
        self.inputs, self.shared = inputs, shared
        self.about = {
            "name": name,
            "inputs": [{"name": n, "width": w, "ids": ids > 0} for n, w, ids in inputs],
            "columns": self.columns(),
            "shared": shared,
            "rows": ROWS,
            "sets": SETS,
            "flops": flops,
        }

    def columns(self):
        """Names of the columns, as features."""
        names = [[n] if w == 1 else [f"{n}_{at}" for at in range(w)] for n, w, _ in self.inputs]
        return sum(names, [])

    def values(self, random, rows):
        """[set][row][column]."""
        parts = []
        for _, width, ids in self.inputs:
            shape = (SETS, rows, width)
            parts.append(random.integers(0, ids, shape) if ids else random.standard_normal(shape))
        values = np.concatenate(parts, axis=2).astype("<f4")
        values[:, :, : self.shared] = values[:, :1, : self.shared]
        return values

    def write(self, expect, tolerance, seed=5):
        """Inputs, and what `expect` makes of [row][column]; also by peers, if `expect` is by peer."""
        random = np.random.default_rng(seed)
        by_peer = expect if isinstance(expect, dict) else {"": expect}
        spread = 0
        for rows in ROWS:
            values = self.values(random, rows)
            values.tofile(self.path / f"inputs-{rows}.f32")
            for peer, scores in by_peer.items():
                expected = np.stack([np.asarray(scores(one)).reshape(rows) for one in values]).astype("<f4")
                name = f"expected-{peer}-{rows}.f32" if peer else f"expected-{rows}.f32"
                expected.tofile(self.path / name)
                if not peer:
                    spread = float(expected.std())
        self.about["tolerance"] = tolerance * spread
        (self.path / "workload.json").write_text(json.dumps(self.about) + "\n")
        self.declare()

    def sample(self, random, requests, rows):
        """Requests by which our compiler makes weights bytes; what is lost is in its report."""
        with (self.path / "model.toml").open("a") as declared:
            declared.write('[quantise]\nweights = "int8"\nmax_loss = 0.001\n')
        with (self.path / "sample.jsonl").open("w") as lines:
            for _ in range(requests):
                values = self.values(random, rows)[0]
                fields = [dict(zip(self.columns(), map(float, row))) for row in values]
                candidates = [{"id": str(at), **row} for at, row in enumerate(fields)]
                lines.write(json.dumps({"time": "2026-03-10T12:00:00Z", "candidates": candidates}) + "\n")

    def declare(self):
        """Our declarations."""
        columns = self.columns()
        scope = lambda at: "context" if at < self.shared else "item"
        fields = {"item": "", "context": ""}
        for at, name in enumerate(columns):
            fields[scope(at)] += f'{name} = "number"\n'
        text = f"version = 1\n[fields.item]\n{fields['item']}[fields.context]\n{fields['context']}"
        for at, name in enumerate(columns):
            text += f'[[feature]]\nname = "{name}"\nkind = "number"\nfield = "{scope(at)}.{name}"\n'
        (self.path / "features.toml").write_text(text)
        (self.path / "model.toml").write_text(
            'version = 1\n[model]\nname = "compare"\nkind = "linear"\nobjective = "logistic"\n'
            'features = "features.toml"\n'
        )


class Network:
    """Collects nodes of an ONNX graph, and weights by name for those who build the network themselves."""

    def __init__(self, seed):
        self.random = np.random.default_rng(seed)
        self.nodes, self.constants, self.weights = [], [], {}

    def op(self, kind, *inputs, **attributes):
        name = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def constant(self, array):
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def weight(self, name, *shape):
        array = (self.random.standard_normal(shape) / np.sqrt(shape[0])).astype(np.float32)
        self.weights[name] = {"shape": list(shape), "values": [float(v) for v in array.ravel()]}
        self.constants.append(numpy_helper.from_array(array, name))
        return name

    def dense(self, x, name, inputs, outputs, function=None):
        y = self.op("Gemm", x, self.weight(f"{name}_w", inputs, outputs), self.weight(f"{name}_b", outputs))
        return self.op(function, y) if function else y

    def save(self, workload, score):
        self.nodes.append(helper.make_node("Identity", [score], ["score"]))
        ty = lambda ids: TensorProto.INT64 if ids else TensorProto.FLOAT
        inputs = [helper.make_tensor_value_info(n, ty(ids), ["batch", w]) for n, w, ids in workload.inputs]
        out = helper.make_tensor_value_info("score", TensorProto.FLOAT, ["batch", 1])
        graph = helper.make_graph(self.nodes, workload.path.name, inputs, [out], self.constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
        onnx.checker.check_model(model, full_check=True)
        (workload.path / "model.onnx").write_bytes(model.SerializeToString())
        (workload.path / "weights.json").write_text(json.dumps(self.weights))
        run = session(model.SerializeToString())

        def scores(rows):
            feeds, at = {}, 0
            for name, width, ids in workload.inputs:
                feeds[name] = rows[:, at : at + width].astype(np.int64 if ids else np.float32)
                at += width
            return run.run(["score"], feeds)[0]

        return scores


def mlp(root, name, shared=0):
    """64-128-64-1, relu."""
    flops = 2 * (64 * 128 + 128 * 64 + 64)
    workload = Workload(root, name, [("x", 64, 0)], shared, flops)
    net = Network(1)
    x = net.dense("x", "a", 64, 128, "Relu")
    x = net.dense(x, "b", 128, 64, "Relu")
    return workload, net.save(workload, net.dense(x, "c", 64, 1))


def mlp_int8(root):
    """The same, and beside it a model with 8-bit weights and values, calibrated on inputs of the same kind."""
    workload, scores = mlp(root, "mlp-int8")
    from onnxruntime import quantization

    class Samples(quantization.CalibrationDataReader):
        def __init__(self):
            random = np.random.default_rng(11)
            self.left = iter([{"x": random.standard_normal((64, 64)).astype(np.float32)} for _ in range(16)])

        def get_next(self):
            return next(self.left, None)

    quantization.quantize_static(
        str(workload.path / "model.onnx"),
        str(workload.path / "model-int8.onnx"),
        Samples(),
        quant_format=quantization.QuantFormat.QDQ,
        per_channel=True,
        activation_type=quantization.QuantType.QUInt8,
        weight_type=quantization.QuantType.QInt8,
    )
    workload.write(scores, EIGHT_BITS)
    workload.sample(np.random.default_rng(13), 40, 50)


def din(root):
    """Every candidate attends to a history of 50 through a network of 80-40-1; 80-40-1 on top. Ids in, one score out."""
    items, length, dim = 1000, 50, 32
    attention = length * (4 * dim * 80 + 80 * 40 + 40 + dim)
    flops = 2 * (attention + 2 * dim * 80 + 80 * 40 + 40)
    workload = Workload(root, "din", [("history", length, items), ("product", 1, items)], length, flops)
    net = Network(8)
    table = net.weight("table", items, dim)
    history = net.op("Gather", table, "history", axis=0)
    item = net.op("Gather", table, "product", axis=0)
    query = net.op("Expand", item, net.constant(np.array([1, length, dim], np.int64)))
    both = [net.op("Sub", query, history), net.op("Mul", query, history)]
    x = net.op("Concat", query, history, *both, axis=2)
    for layer, (inputs, outputs, function) in {"a": (4 * dim, 80, "Relu"), "b": (80, 40, "Relu"), "c": (40, 1, None)}.items():
        x = net.op("MatMul", x, net.weight(f"{layer}_w", inputs, outputs))
        x = net.op("Add", x, net.weight(f"{layer}_b", outputs))
        x = net.op(function, x) if function else x
    pooled = net.op("MatMul", net.op("Transpose", x, perm=[0, 2, 1]), history)
    axis = net.constant(np.array([1], np.int64))
    x = net.op("Concat", net.op("Squeeze", pooled, axis), net.op("Squeeze", item, axis), axis=1)
    x = net.dense(x, "d", 2 * dim, 80, "Relu")
    x = net.dense(x, "e", 80, 40, "Relu")
    workload.write(net.save(workload, net.dense(x, "f", 40, 1)), FLOATS)


FEATURES, LEAVES, TRAINED = 50, 31, 20_000


def rows_to_learn():
    random = np.random.default_rng(3)
    x = random.standard_normal((TRAINED, FEATURES)).astype(np.float32)
    waves = np.sin(2 * x[:, :10]).sum(1) + (x[:, 10:20] * x[:, 20:30]).sum(1) + np.abs(x[:, 30:40]).sum(1)
    return x, (waves + x[:, 40:].sum(1) + random.standard_normal(TRAINED)).astype(np.float32)


def trees(root, name, count):
    """`count` trees of 31 leaves over 50 features."""
    import lightgbm

    x, y = rows_to_learn()
    workload = Workload(root, name, [("x", FEATURES, 0)], 0)
    settings = {"num_leaves": LEAVES, "learning_rate": 0.05, "seed": 1, "deterministic": True, "verbosity": -1}
    booster = lightgbm.train(settings | {"num_threads": 1}, lightgbm.Dataset(x, y), count)
    booster.save_model(workload.path / "model.txt")
    # What lleaves has made of another model.
    (workload.path / "model.txt.lleaves").unlink(missing_ok=True)
    (workload.path / "model.onnx").write_bytes(as_onnx(booster).SerializeToString())
    expect = {"": lambda rows: booster.predict(rows, num_threads=1)}
    for add in [xgboost_trees, catboost_trees, ydf_trees]:
        expect |= add(workload.path, x, y, count)
    workload.write(expect, FLOATS)


def xgboost_trees(path, x, y, count):
    xgboost = library("xgboost")
    if not xgboost:
        return {}
    settings = {"grow_policy": "lossguide", "max_leaves": LEAVES, "max_depth": 0, "eta": 0.05, "seed": 1, "nthread": 1}
    booster = xgboost.train(settings | {"tree_method": "hist"}, xgboost.DMatrix(x, y), count)
    booster.save_model(path / "xgboost.ubj")
    return {"xgboost": lambda rows: booster.predict(xgboost.DMatrix(rows), output_margin=True)}


def catboost_trees(path, x, y, count):
    """Oblivious trees of 32 leaves: what CatBoost is fastest with."""
    catboost = library("catboost")
    if not catboost:
        return {}
    model = catboost.CatBoostRegressor(
        iterations=count, depth=5, learning_rate=0.05, random_seed=1, thread_count=1, verbose=False, allow_writing_files=False
    )
    model.fit(x, y)
    model.save_model(str(path / "catboost.cbm"))
    return {"catboost": lambda rows: model.predict(rows)}


def ydf_trees(path, x, y, count):
    ydf = library("ydf")
    if not ydf:
        return {}
    ydf.verbose(0)
    learner = ydf.GradientBoostedTreesLearner(
        label="y",
        task=ydf.Task.REGRESSION,
        num_trees=count,
        growing_strategy="BEST_FIRST_GLOBAL",
        max_num_nodes=LEAVES,
        max_depth=-1,
        shrinkage=0.05,
        early_stopping="NONE",
        validation_ratio=0.0,
        num_threads=1,
        random_seed=1,
        pure_serving_model=True,
    )
    named = lambda rows: {f"f{at}": rows[:, at] for at in range(FEATURES)}
    model = learner.train(named(x) | {"y": y})
    model.save(str(path / "ydf"))
    with zipfile.ZipFile(path / "ydf.zip", "w") as packed:
        for file in sorted((path / "ydf").iterdir()):
            packed.write(file, file.name)
    return {"ydf-inference": lambda rows: model.predict(named(rows))}


def threshold(value):
    """The largest float32 not above a threshold of LightGBM, so that `x <= value` is the same for all float32."""
    if 0 <= value <= 1e-35:
        return np.float32(1e-35)
    nearest = np.float32(value)
    return nearest if float(nearest) <= value else np.nextafter(nearest, np.float32(-np.inf))


def as_onnx(booster):
    """The trees as one TreeEnsembleRegressor."""
    nodes = {key: [] for key in ["treeids", "nodeids", "featureids", "modes", "values", "truenodeids", "falsenodeids"]}
    targets = {key: [] for key in ["treeids", "nodeids", "ids", "weights"]}

    def node(tree, **given):
        at = sum(1 for t in nodes["treeids"] if t == tree)
        for key, value in {"treeids": tree, "nodeids": at, **given}.items():
            nodes[key].append(value)
        return at, len(nodes["treeids"]) - 1

    def add(tree, part):
        if "leaf_value" in part:
            at, _ = node(tree, featureids=0, modes="LEAF", values=0.0, truenodeids=0, falsenodeids=0)
            for key, value in {"treeids": tree, "nodeids": at, "ids": 0, "weights": part["leaf_value"]}.items():
                targets[key].append(value)
            return at
        feature, limit = part["split_feature"], float(threshold(part["threshold"]))
        at, place = node(tree, featureids=feature, modes="BRANCH_LEQ", values=limit, truenodeids=0, falsenodeids=0)
        nodes["truenodeids"][place] = add(tree, part["left_child"])
        nodes["falsenodeids"][place] = add(tree, part["right_child"])
        return at

    for tree, part in enumerate(booster.dump_model()["tree_info"]):
        add(tree, part["tree_structure"])
    attributes = {f"nodes_{key}": value for key, value in nodes.items()}
    attributes |= {f"target_{key}": value for key, value in targets.items()}
    regressor = helper.make_node(
        "TreeEnsembleRegressor", ["x"], ["score"], domain="ai.onnx.ml", n_targets=1, post_transform="NONE", **attributes
    )
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", FEATURES])
    out = helper.make_tensor_value_info("score", TensorProto.FLOAT, ["batch", 1])
    graph = helper.make_graph([regressor], "trees", [x], [out])
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def plain(root, name, shared=0):
    workload, scores = mlp(root, name, shared)
    workload.write(scores, FLOATS)


def main():
    root = pathlib.Path(sys.argv[1])
    workloads = {
        "mlp": lambda: plain(root, "mlp"),
        "mlp-int8": lambda: mlp_int8(root),
        "mlp-shared": lambda: plain(root, "mlp-shared", 32),
        "din": lambda: din(root),
        "lgb100": lambda: trees(root, "lgb100", 100),
        "lgb500": lambda: trees(root, "lgb500", 500),
    }
    for name, make in workloads.items():
        try:
            make()
        except ImportError as error:
            print(f"without the workload {name}: {error}", file=sys.stderr)


main()
