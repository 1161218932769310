"""LightGBM's lambdarank on the rows that `selvedge demo --rows DIR` wrote: same features, same flyers, same folds.

For each fifth of the households it trains on the others' rows and ranks the fifth's test flyers. Prints NDCG@10 of both
and their ratio; with --json also writes them. Needs lightgbm and numpy; `cargo xtask lightgbm` installs both into
a directory of its own.
"""

import argparse
import json
import os

import lightgbm
import numpy

# Tuned for LightGBM on weeks 40 to 48 of the Complete Journey, as ours was.
PARAMETERS = {
    "objective": "lambdarank",
    "lambdarank_truncation_level": 10,
    "num_leaves": 15,
    "learning_rate": 0.07,
    "min_data_in_leaf": 100,
    "lambda_l2": 10,
    "feature_fraction": 0.4,
    "bagging_fraction": 0.8,
    "bagging_freq": 1,
    "seed": 1,
    "deterministic": True,
    "num_threads": os.cpu_count(),
    "verbosity": -1,
}
ROUNDS = 200
TOP = 10


def ndcg(labels, scores):
    """Binary gains, log2 discounts; equal scores keep the order of the flyer."""
    order = numpy.argsort(-scores, kind="stable")[:TOP]
    discounts = 1 / numpy.log2(numpy.arange(TOP) + 2)
    gained = (labels[order] * discounts[: len(order)]).sum()
    return gained / discounts[: min(TOP, int(labels.sum()))].sum()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rows", help="directory that `selvedge demo --rows` wrote")
    parser.add_argument("--json", help="file for the figures")
    arguments = parser.parse_args()

    with open(os.path.join(arguments.rows, "queries.json")) as file:
        described = json.load(file)
    features = described["features"]
    values = numpy.fromfile(os.path.join(arguments.rows, "values.f32"), dtype="<f4").reshape(-1, len(features))
    labels = numpy.fromfile(os.path.join(arguments.rows, "labels.u8"), dtype="u1")
    queries, start = [], 0
    for query in described["queries"]:
        queries.append((query, slice(start, start + query["rows"])))
        start += query["rows"]
    assert start == len(values) == len(labels), "the rows are cut short: run the demo again"

    ours, theirs = [], []
    for fold in range(5):
        train = [(q, at) for q, at in queries if not q["test"] and q["fold"] != fold]
        rows = numpy.concatenate([numpy.arange(at.start, at.stop) for _, at in train])
        data = lightgbm.Dataset(values[rows], labels[rows], group=[q["rows"] for q, _ in train], feature_name=features)
        booster = lightgbm.train(PARAMETERS, data, ROUNDS)
        unseen = [(q, at) for q, at in queries if q["test"] and q["fold"] == fold]
        theirs += [ndcg(labels[at], booster.predict(values[at])) for _, at in unseen]
        ours += [q["ndcg"] for q, _ in unseen]
        print(f"fold {fold}: {len(unseen)} flyers, selvedge {numpy.mean(ours[-len(unseen):]):.4f}, "
              f"lightgbm {numpy.mean(theirs[-len(unseen):]):.4f}", flush=True)
    ours, theirs = numpy.mean(ours), numpy.mean(theirs)
    print(f"NDCG@10 of unseen households: selvedge {ours:.4f}, lightgbm {lightgbm.__version__} {theirs:.4f}, "
          f"ratio {ours / theirs:.4f}")
    if arguments.json:
        command = "cargo xtask lightgbm"
        figures = [("ndcg10.unseen.selvedge", ours, "NDCG@10"), ("ndcg10.unseen.lightgbm", theirs, "NDCG@10"),
                   ("ndcg10.unseen.ratio_to_lightgbm", ours / theirs, "ratio")]
        with open(arguments.json, "w") as file:
            json.dump([{"name": n, "value": v, "unit": u, "command": command} for n, v, u in figures], file, indent=2)


main()
