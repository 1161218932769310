"""The estimates that Open Bandit Pipeline's own estimators make of its own sample logs.

    reference.py SOURCE OUT

SOURCE is the unpacked source distribution of obp 0.5.7. Writes a JSON list of cases to OUT; each has the draws, as Selvedge
takes them, and the estimates.
"""

import csv
import importlib
import json
import sys
import types
from pathlib import Path

import numpy as np


def estimators(source):
    """obp.ope.estimators, without the parts of obp that need PyTorch: the estimators do not."""
    torch = types.ModuleType("torch")
    torch.tensor = torch.Tensor = type("Tensor", (), {})
    sys.modules["torch"] = torch
    for name in ("obp", "obp.ope"):
        package = types.ModuleType(name)
        package.__path__ = [str(source / name.replace(".", "/"))]
        sys.modules[name] = package
    return importlib.import_module("obp.ope.estimators")


def read(source, policy, campaign):
    with (source / "obp/dataset/obd" / policy / campaign / f"{campaign}.csv").open() as file:
        rows = list(csv.DictReader(file))
    column = lambda name, kind: np.array([kind(row[name]) for row in rows])
    _, position = np.unique(column("position", int), return_inverse=True)
    return {
        "action": column("item_id", int),
        "position": position,
        "reward": column("click", int),
        "pscore": column("propensity_score", float),
    }


def shares(log, actions, positions, smoothing):
    """How often each action was shown in each position, smoothed: the policy that is evaluated."""
    counts = np.full((actions, positions), smoothing)
    np.add.at(counts, (log["action"], log["position"]), 1.0)
    return counts / counts.sum(axis=0)


def click_rates(log, actions, positions):
    """The reward model: clicks per showing, shrunk towards the mean."""
    mean, weight = log["reward"].mean(), 20.0
    clicks, shown = np.full((actions, positions), mean * weight), np.full((actions, positions), weight)
    np.add.at(clicks, (log["action"], log["position"]), log["reward"])
    np.add.at(shown, (log["action"], log["position"]), 1.0)
    return clicks / shown


def case(ope, name, log, policy, rates, clip):
    rounds = len(log["reward"])
    given = {
        "reward": log["reward"],
        "action": log["action"],
        "position": log["position"],
        "pscore": log["pscore"],
        "action_dist": np.tile(policy, (rounds, 1, 1)),
        "estimated_rewards_by_reg_model": np.tile(rates, (rounds, 1, 1)),
    }
    named = {
        "ips": ope.InverseProbabilityWeighting(),
        "clipped_ips": ope.InverseProbabilityWeighting(lambda_=clip),
        "snips": ope.SelfNormalizedInverseProbabilityWeighting(),
        "direct": ope.DirectMethod(),
        "doubly_robust": ope.DoublyRobust(),
    }
    at = (log["action"], log["position"])
    expected = (policy * rates).sum(axis=0)
    return {
        "name": name,
        "clip": clip,
        "estimates": {key: float(estimator.estimate_policy_value(**given)) for key, estimator in named.items()},
        "draws": {
            "reward": log["reward"].tolist(),
            "logged": log["pscore"].tolist(),
            "target": policy[at].tolist(),
            "predicted": rates[at].tolist(),
            "expected": expected[log["position"]].tolist(),
        },
    }


def main(source, out):
    ope = estimators(source)
    cases = []
    for campaign in ("all", "men", "women"):
        logs = {policy: read(source, policy, campaign) for policy in ("random", "bts")}
        actions = 1 + max(log["action"].max() for log in logs.values())
        positions = 1 + max(log["position"].max() for log in logs.values())
        for logged, target in (("random", "bts"), ("bts", "random")):
            policy = shares(logs[target], actions, positions, 1.0)
            rates = click_rates(logs[target], actions, positions)
            cases.append(case(ope, f"{campaign}, {target} from the log of {logged}", logs[logged], policy, rates, 2.0))
    out.write_text(json.dumps(cases))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
