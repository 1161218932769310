"""Makes cases of published ONNX models: seeded inputs, and what onnxruntime answers.

    python models/compile/tests/onnx/published.py CASES PACKAGE...

A PACKAGE is a directory with `.onnx` files anywhere below; a case is `CASES/PACKAGE/MODEL/` with `model.onnx` and
`test_data_set_0/`, as the node tests of ONNX's backend have them. `cargo xtask coverage` runs it.
"""
import pathlib
import shutil
import sys

import numpy as np
import onnxruntime
from onnx import numpy_helper

# What stands for dynamic dimensions, by input: the smallest picture that text detectors take, a window of sound, a state.
# It is one where nothing is said.
SHAPES = {"x": [1, 3, 32, 64], "input": [1, 576], "state": [2, 1, 128]}


def shape_of(given):
    wanted = SHAPES.get(given.name, [1] * len(given.shape))
    return [dim if isinstance(dim, int) else other for dim, other in zip(given.shape, wanted)]


def values(random, given):
    shape, kind = shape_of(given), given.type
    # A rate that the model branches on.
    if given.name == "sr":
        return np.array(16000, np.int64).reshape(shape)
    if "int" in kind:
        return random.integers(0, 100, shape).astype(np.int32 if "32" in kind else np.int64)
    return random.standard_normal(shape).astype(np.float16 if "16" in kind else np.float32)


def case(path, directory):
    random = np.random.default_rng(1)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    feeds = {given.name: values(random, given) for given in session.get_inputs()}
    answers = session.run(None, feeds)
    data = directory / "test_data_set_0"
    data.mkdir(parents=True)
    shutil.copy(path, directory / "model.onnx")
    for prefix, arrays in [("input", feeds.values()), ("output", answers)]:
        for at, array in enumerate(arrays):
            (data / f"{prefix}_{at}.pb").write_bytes(numpy_helper.from_array(np.asarray(array)).SerializeToString())


def main(cases, *packages):
    shutil.rmtree(cases, ignore_errors=True)
    for package in packages:
        for path in sorted(package.rglob("*.onnx")):
            case(path, cases / package.name / path.stem)


main(*map(pathlib.Path, sys.argv[1:]))
