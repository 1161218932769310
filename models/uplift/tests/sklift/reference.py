"""What scikit-uplift, scikit-learn and plain numpy make of trials that this script draws.

    reference.py SKLIFT OUT

SKLIFT is the directory of scikit-uplift 0.5.1, whose metrics need neither its plots nor its models. Writes a JSON list of
cases to OUT: scores, groups and responses as Selvedge takes them with the measures of them, and three arms with the doubly
robust and self-normalised values of a policy.
"""

import importlib
import json
import sys
import types
from pathlib import Path

import numpy as np
from sklearn.metrics import roc_auc_score


def metrics(source):
    """sklift.metrics.metrics, without the parts of sklift that need matplotlib and requests."""
    for name in ("sklift", "sklift.metrics"):
        package = types.ModuleType(name)
        package.__path__ = [str(source / name.replace(".", "/"))]
        sys.modules[name] = package
    return importlib.import_module("sklift.metrics.metrics")


def criteo(y, score, treated):
    """Betlei, Diemert and Amini 2021: from the two groups' areas under the ROC curve."""
    part = lambda mean, auc: mean * (1 - mean) * auc + mean**2 / 2
    group = lambda of: part(y[of].mean(), roc_auc_score(y[of], score[of]))
    return group(treated == 1) - group(treated == 0)


def measured(sklift, draw, rows, levels, share, effect):
    x = draw.normal(size=rows)
    treated = (draw.random(rows) < share).astype(int)
    p = 1 / (1 + np.exp(1.5 - 0.4 * x - effect * treated * x))
    y = (draw.random(rows) < p).astype(int)
    score = x + draw.normal(size=rows)
    if levels:
        score = np.round(score * levels) / levels
    return {
        "scores": score.tolist(),
        "treated": [bool(t) for t in treated],
        "responded": [bool(r) for r in y],
        "measures": {
            "auuc_criteo": float(criteo(y, score, treated)),
            "uplift_auc": float(sklift.uplift_auc_score(y, score, treated)),
            "qini_auc": float(sklift.qini_auc_score(y, score, treated)),
        },
    }


def valued(draw, rows):
    """Three arms with propensities by row; a policy that may leave a share to chance."""
    propensities = draw.dirichlet([4, 3, 3], size=rows)
    arm = np.array([draw.choice(3, p=p / p.sum()) for p in propensities])
    truth = draw.uniform(0.1, 0.6, size=(rows, 3))
    y = (draw.random(rows) < truth[np.arange(rows), arm]).astype(int)
    predicted = np.clip(truth + draw.normal(scale=0.1, size=truth.shape), 0, 1).astype(np.float32)
    chosen, otherwise, share = draw.integers(3, size=rows), draw.integers(3, size=rows), draw.random(rows)
    policy = np.zeros((rows, 3))
    at = np.arange(rows)
    np.add.at(policy, (at, chosen), share)
    np.add.at(policy, (at, otherwise), 1 - share)
    nothing = np.zeros((rows, 3))
    nothing[:, 0] = 1
    predicted64 = predicted.astype(np.float64)

    def robust(policy):
        weight = policy[at, arm] / propensities[at, arm]
        return np.mean((policy * predicted64).sum(axis=1) + weight * (y - predicted64[at, arm]))

    weight = policy[at, arm] / propensities[at, arm]
    return {
        "propensities": propensities.ravel().tolist(),
        "arm": arm.tolist(),
        "outcome": y.tolist(),
        "predicted": predicted64.ravel().tolist(),
        "chosen": chosen.tolist(),
        "otherwise": otherwise.tolist(),
        "share": share.tolist(),
        "gain": float(robust(policy) - robust(nothing)),
        "self_normalised": float((weight * y).sum() / weight.sum()),
    }


def main(source, out):
    sklift, draw = metrics(source), np.random.default_rng(1)
    # Rows, levels of the score per unit (0: no ties), share of the treated, how much the effect follows the score.
    settings = [(60, 0, 0.5, 1), (500, 2, 0.5, 1), (3000, 0, 0.3, 0.5), (3000, 4, 0.7, -0.5), (3000, 1, 0.5, 0)]
    cases = {
        "measured": [measured(sklift, draw, *setting) for setting in settings],
        "valued": [valued(draw, rows) for rows in (50, 2000)],
    }
    out.write_text(json.dumps(cases))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
