"""One engine with a native library on one workload: `drive.py ENGINE WORKLOAD`, questions and answers as in `drive.mjs`.

The libraries' C interfaces are called where there is one, with arguments made before: their Python layers cost more than a
small model. What is left of Python is about a microsecond a call.
"""

import ctypes
import json
import os
import pathlib
import statistics
import sys
import time

BEGAN = time.perf_counter()

# As in harness.mjs.
SLOWEST_S = 1
GROUP_S = 0.001


def resident():
    """Bytes of memory of this process."""
    pages = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


MEMORY = resident()
import numpy as np  # noqa: E402, its own cost is not the engine's start


class Workload:
    def __init__(self, folder):
        self.path = pathlib.Path(folder)
        self.about = json.loads((self.path / "workload.json").read_text())
        self.width = len(self.about["columns"])
        # How long does it take to start? Then one input is enough.
        if os.environ.get("ONCE"):
            self.about |= {"rows": [100], "sets": 1}

    def rows_of(self, rows):
        """[set][row][column]."""
        values = np.fromfile(self.path / f"inputs-{rows}.f32", "<f4")
        return values.reshape(-1, rows, self.width)[: self.about["sets"]]

    def model(self, *names):
        """The first of these files that is there."""
        for name in names:
            if (self.path / name).exists():
                return str(self.path / name)
        if (self.path / "weights.json").exists():
            raise RuntimeError("the library has no networks")
        raise RuntimeError(f"there is no {names[0]}: the library was not there when models were made")

    def each(self, make):
        """[rows][set] of what `make` does with [row][column]."""
        return {rows: [make(one) for one in self.rows_of(rows)] for rows in self.about["rows"]}


def onnxruntime(workload):
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    session = ort.InferenceSession(workload.model("model-int8.onnx", "model.onnx"), options, providers=["CPUExecutionProvider"])

    def bind(one):
        binding, scores, at = session.io_binding(), np.empty((len(one), 1), np.float32), 0
        for given in workload.about["inputs"]:
            part = np.ascontiguousarray(one[:, at : at + given["width"]].astype(np.int64 if given["ids"] else np.float32))
            at += given["width"]
            binding.bind_ortvalue_input(given["name"], ort.OrtValue.ortvalue_from_numpy(part))
        value = ort.OrtValue.ortvalue_from_numpy(scores)
        binding.bind_ortvalue_output("score", value)
        return binding, value

    bound = workload.each(bind)

    def call(rows, at):
        binding, value = bound[rows][at]
        session.run_with_iobinding(binding)
        return value

    read = lambda value: value.numpy().reshape(-1)
    return ort.__version__, "one thread, all graph optimisations, inputs and outputs bound before", call, read


def lightgbm(workload):
    model = workload.model("model.txt")
    import lightgbm as library

    lib = ctypes.cdll.LoadLibrary(library.libpath._find_lib_path()[0])
    booster, trees = ctypes.c_void_p(), ctypes.c_int()
    lib.LGBM_BoosterCreateFromModelfile(model.encode(), ctypes.byref(trees), ctypes.byref(booster))
    fast = ctypes.c_void_p()
    raw, single, settings = 1, 0, b"num_threads=1"
    lib.LGBM_BoosterPredictForMatSingleRowFastInit(
        booster, raw, 0, -1, single, workload.width, settings, ctypes.byref(fast)
    )
    length = ctypes.c_int64()

    def prepared(one):
        one, scores = np.ascontiguousarray(one), np.empty(len(one))
        data, out = (ctypes.c_void_p(array.ctypes.data) for array in (one, scores))
        if len(one) == 1:
            arguments = (fast, data, ctypes.byref(length), out)
            return lib.LGBM_BoosterPredictForMatSingleRowFast, arguments, (one, scores)
        shape = (ctypes.c_int32(len(one)), workload.width, 1)
        arguments = (booster, data, single, *shape, raw, 0, -1, settings, ctypes.byref(length), out)
        return lib.LGBM_BoosterPredictForMat, arguments, (one, scores)

    calls = workload.each(prepared)

    def call(rows, at):
        function, arguments, (_, scores) = calls[rows][at]
        if function(*arguments):
            raise RuntimeError("LightGBM predicts nothing")
        return scores

    return library.__version__, "C interface, one thread, FastSingleRow for one row", call, None


def xgboost(workload):
    model = workload.model("xgboost.ubj")
    import xgboost as library

    lib = library.core._LIB
    booster = library.Booster({"nthread": 1}, model_file=model)
    settings = {"type": 1, "training": False, "iteration_begin": 0, "iteration_end": 0, "missing": float("nan")}
    text = json.dumps(settings | {"strict_shape": False, "cache_id": 0}).encode()

    def prepared(one):
        one = np.ascontiguousarray(one)
        return library.core.array_interface(one), one

    inputs = workload.each(prepared)
    shape, dimensions, result = ctypes.POINTER(ctypes.c_uint64)(), ctypes.c_uint64(), ctypes.POINTER(ctypes.c_float)()
    out = (ctypes.byref(shape), ctypes.byref(dimensions), ctypes.byref(result))

    def call(rows, at):
        array, _ = inputs[rows][at]
        if lib.XGBoosterPredictFromDense(booster.handle, array, text, None, *out):
            raise RuntimeError("XGBoost predicts nothing")
        return rows

    read = lambda rows: np.ctypeslib.as_array(result, (rows,)).copy()
    return library.__version__, "C interface (inplace prediction), one thread", call, read


def catboost(workload):
    model = workload.model("catboost.cbm")
    import catboost as library

    booster = library.CatBoost()
    booster.load_model(model)
    # Columns side by side are what it reads without a copy.
    inputs = workload.each(np.asfortranarray)
    call = lambda rows, at: booster.predict(inputs[rows][at], thread_count=1)
    return library.__version__, "Python interface, which has no other, one thread, oblivious trees", call, None


def lleaves(workload):
    model = workload.model("model.txt")
    import importlib.metadata

    import lleaves as library

    compiled = library.Model(model_file=model)
    # Compiling takes minutes for many trees; it is kept beside the model.
    compiled.compile(cache=model + ".lleaves", raw_score=True)

    def prepared(one):
        one, scores = np.ascontiguousarray(one, np.float64), np.empty(len(one))
        pointers = [array.ctypes.data_as(ctypes.POINTER(ctypes.c_double)) for array in (one, scores)]
        return (*pointers, ctypes.c_int(0), ctypes.c_int(len(one))), (one, scores)

    calls = workload.each(prepared)

    def call(rows, at):
        arguments, (_, scores) = calls[rows][at]
        compiled._c_entry_func(*arguments)
        return scores

    return importlib.metadata.version("lleaves"), "compiled function called directly, one thread, f64 inputs", call, None


class Driver:
    def __init__(self, call, read, sets):
        self.call, self.read, self.sets, self.calls = call, read or np.asarray, sets, {}

    def check(self, rows, sets=None):
        outputs = []
        for at in range(sets or self.sets):
            began = time.perf_counter()
            scores = self.call(rows, at)
            took = time.perf_counter() - began
            if took > SLOWEST_S:
                return {"slow_ms": took * 1_000}
            outputs.append([float(score) for score in np.asarray(self.read(scores)).reshape(-1)])
        return {"outputs": outputs}

    def group(self, rows, calls):
        call, sets = self.call, self.sets
        began = time.perf_counter()
        for at in range(calls):
            call(rows, at % sets)
        return time.perf_counter() - began

    def time(self, rows, millis):
        calls = self.calls.get(rows, 1)
        while rows not in self.calls:
            if self.group(rows, calls) >= GROUP_S:
                self.calls[rows] = calls
            else:
                calls *= 2
        samples, end = [], time.perf_counter() + millis / 1_000
        while not samples or time.perf_counter() < end:
            samples.append(self.group(rows, calls) / calls)
        return {"us": statistics.median(samples) * 1e6, "calls": calls * len(samples)}


def say(answer):
    print(json.dumps(answer), flush=True)


ENGINES = {"onnxruntime-native": onnxruntime, "lightgbm": lightgbm, "xgboost": xgboost, "catboost": catboost, "lleaves": lleaves}


def main():
    name, folder = sys.argv[1:]
    try:
        workload = Workload(folder)
        version, settings, call, read = ENGINES[name](workload)
        driver = Driver(call, read, workload.about["sets"])
        first = driver.check(min(100, max(workload.about["rows"])), sets=1)
        spent = {"first_ms": (time.perf_counter() - BEGAN) * 1_000, "memory_bytes": resident() - MEMORY}
        say({"version": version, "settings": settings, "files": []} | spent | {k: v for k, v in first.items() if k == "slow_ms"})
        for line in sys.stdin:
            asked = json.loads(line)
            say(driver.check(asked["check"]) if "check" in asked else driver.time(asked["time"], asked["millis"]))
    except Exception as error:
        say({"error": str(error).splitlines()[0] if str(error) else type(error).__name__})


main()
