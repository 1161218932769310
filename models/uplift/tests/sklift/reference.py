"""What scikit-uplift, scikit-learn, Open Bandit Pipeline and plain numpy make of trials that this script draws.

    reference.py SKLIFT OBP OUT

SKLIFT is the directory of scikit-uplift 0.5.1, whose metrics need neither its plots nor its models; OBP is the unpacked source
distribution of obp 0.5.7. Writes JSON to OUT: scores, groups, responses and costs as Selvedge takes them with the measures of
them, and several arms with the doubly robust and self-normalised values of a policy, by obp's estimators and by formulas.
"""

import importlib
import importlib.util
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


def obp_estimators(source):
    """obp.ope.estimators, as the script beside the tests of the off-policy estimators has it."""
    path = Path(__file__).parents[3] / "train/tests/obp/reference.py"
    spec = importlib.util.spec_from_file_location("obp_reference", path)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    return script.estimators(source)


def aucc(y, score, treated, cost):
    """Du, Lee and Ghaffarizadeh 2019: prefix by prefix, ties whole; the area over that of the rectangle."""
    points = [(0.0, 0.0)]
    for level in np.unique(score)[::-1]:
        top = score >= level
        difference = lambda of: sum(
            sign * of[group].mean() * top.sum()
            for sign, group in ((1, top & (treated == 1)), (-1, top & (treated == 0)))
            if group.any()
        )
        points.append((difference(cost), difference(y)))
    x, gained = np.array(points).T
    # An arm that gains nothing in all spans no rectangle.
    return float(np.trapezoid(gained, x) / (x[-1] * gained[-1])) if gained[-1] > 0 else None


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
    # Half a unit to send, one and a half where it is redeemed.
    cost = treated * (0.5 + 1.5 * y)
    return {
        "costs": cost.tolist(),
        "scores": score.tolist(),
        "treated": [bool(t) for t in treated],
        "responded": [bool(r) for r in y],
        "measures": {
            "auuc_criteo": float(criteo(y, score, treated)),
            "uplift_auc": float(sklift.uplift_auc_score(y, score, treated)),
            "qini_auc": float(sklift.qini_auc_score(y, score, treated)),
            "aucc": aucc(y, score, treated, cost),
        },
    }


def valued(ope, draw, rows, arms):
    """Several arms with propensities by row; a policy that may leave a share to chance."""
    propensities = draw.dirichlet([4] + [3] * (arms - 1), size=rows)
    arm = np.array([draw.choice(arms, p=p / p.sum()) for p in propensities])
    truth = draw.uniform(0.1, 0.6, size=(rows, arms))
    y = (draw.random(rows) < truth[np.arange(rows), arm]).astype(int)
    predicted = np.clip(truth + draw.normal(scale=0.1, size=truth.shape), 0, 1).astype(np.float32)
    chosen, otherwise, share = draw.integers(arms, size=rows), draw.integers(arms, size=rows), draw.random(rows)
    policy = np.zeros((rows, arms))
    at = np.arange(rows)
    np.add.at(policy, (at, chosen), share)
    np.add.at(policy, (at, otherwise), 1 - share)
    nothing = np.zeros((rows, arms))
    nothing[:, 0] = 1
    predicted64 = predicted.astype(np.float64)

    def robust(policy):
        weight = policy[at, arm] / propensities[at, arm]
        return np.mean((policy * predicted64).sum(axis=1) + weight * (y - predicted64[at, arm]))

    def by_obp(estimator, policy):
        return estimator.estimate_policy_value(
            reward=y,
            action=arm,
            position=np.zeros(rows, dtype=int),
            pscore=propensities[at, arm],
            action_dist=policy[:, :, None],
            estimated_rewards_by_reg_model=predicted64[:, :, None],
        )

    weight = policy[at, arm] / propensities[at, arm]
    return {
        "arms": arms,
        "obp": {
            "gain": float(by_obp(ope.DoublyRobust(), policy) - by_obp(ope.DoublyRobust(), nothing)),
            "self_normalised": float(by_obp(ope.SelfNormalizedInverseProbabilityWeighting(), policy)),
        },
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


def main(source, obp, out):
    sklift, ope, draw = metrics(source), obp_estimators(obp), np.random.default_rng(1)
    # Rows, levels of the score per unit (0: no ties), share of the treated, how much the effect follows the score.
    settings = [(60, 0, 0.5, 1), (500, 2, 0.5, 1), (3000, 0, 0.3, 0.5), (3000, 4, 0.7, -0.5), (3000, 1, 0.5, 0)]
    cases = {
        "measured": [measured(sklift, draw, *setting) for setting in settings],
        "valued": [valued(ope, draw, *size) for size in ((50, 3), (2000, 3), (2000, 6))],
    }
    out.write_text(json.dumps(cases))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
