"""Loads a model of Affluent for `mlflow.pyfunc`: the same boosters, calibration and threshold, by the PyPI package of the same library
(perpetual; XGBoost or LightGBM for a model that comes from there).

Predictions equal the binary's: features in, a frame of `score`, `probability` and `alert` out; of a model of a number, `value`.
"""

import hashlib
import json
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd


def _log_odds(scores):
    scores = np.clip(scores, 1e-9, 1 - 1e-9)
    return np.log(scores / (1 - scores))


def _logistic(values):
    return 1 / (1 + np.exp(-values))


def _calibrated(calibration, scores):
    if calibration is None:
        return scores
    if "platt" in calibration:
        curve = calibration["platt"]
        return _logistic(curve["slope"] * _log_odds(scores) + curve["offset"])
    curve = calibration["isotonic"]
    return np.interp(scores, curve["scores"], curve["probabilities"])


def _text(value):
    """The name that a number is, as Rust writes it; none of one that is missing."""
    if not np.isfinite(value):
        return None
    text = format(Decimal(repr(float(value))), "f")
    return text[:-2] if text.endswith(".0") else text


def _hash(text):
    """The first 64 bits of SHA-256, mixed by the finaliser of SplitMix64."""
    bits = 2**64 - 1
    mixed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
    if mixed == 2**63:  # Stands for nothing.
        mixed += 1
    mixed = (mixed + 0x9E3779B97F4A7C15) & bits
    mixed = ((mixed ^ mixed >> 30) * 0xBF58476D1CE4E5B9) & bits
    mixed = ((mixed ^ mixed >> 27) * 0x94D049BB133111EB) & bits
    return mixed ^ mixed >> 31


def _number(transform, values):
    kind, fitted = transform["kind"], transform.get("fitted")
    if kind == "linear":
        return np.nan_to_num((values - fitted["centre"]) / fitted["scale"], nan=0.0, posinf=np.inf, neginf=-np.inf)
    if kind == "log1p":
        return np.nan_to_num(np.copysign(np.log1p(np.abs(values)), values), nan=0.0, posinf=np.inf, neginf=-np.inf)
    edges = np.array(fitted["values"])
    if len(edges) < 2:
        return np.full(len(values), 0.5)
    below, not_above = np.searchsorted(edges, values, "left"), np.searchsorted(edges, values, "right")
    last = len(edges) - 1
    low, high = edges[np.clip(below - 1, 0, last)], edges[np.clip(below, 0, last)]
    with np.errstate(divide="ignore", invalid="ignore"):
        between = below - 1 + (values - low) / (high - low)
    ranks = np.where(below < not_above, (below + not_above - 1) / 2, between) / last
    ranks = np.where(below == len(edges), 1.0, ranks)
    ranks = np.where(not_above == 0, 0.0, ranks)
    return np.where(np.isnan(values), 0.5, ranks)


def _category(transform, values):
    kind, fitted = transform["kind"], transform["fitted"]
    if kind == "one_hot":
        places = {text: place for place, text in enumerate(fitted["texts"])}
        columns = np.zeros((len(values), len(places) + 1))
        for row, text in enumerate(map(_text, values)):
            if text is not None:
                columns[row, places.get(text, len(places))] = 1.0
        return columns
    columns = np.zeros((len(values), fitted["places"]))
    for row, text in enumerate(map(_text, values)):
        if text is not None:
            mixed = _hash(text)
            columns[row, (mixed >> 1) % fitted["places"]] = 1.0 if mixed & 1 else -1.0
    return columns


def _target(table, values):
    mean = table["positive"] / table["rows"] if table["rows"] else np.nan
    smoothing = table["smoothing"]

    def one(text):
        rows, positive = table["texts"].get(text, (0, 0))
        weight = rows + smoothing
        return (positive + smoothing * mean) / weight if weight else mean

    return np.array([one(text) for text in map(_text, values)])


def _transformed(transforms, values):
    """The columns that the learner takes, from those of the features."""
    if not transforms:
        return values
    columns = []
    for place, transform in enumerate(transforms):
        column = values[:, place]
        if transform is None:
            columns.append(column)
            continue
        ((kind, fitted),) = transform.items()
        columns.append({"number": _number, "category": _category, "target": _target}[kind](fitted, column))
    return np.column_stack(columns)


class Boosted:
    """Boosters and a logistic regression, as Affluent learns them."""

    def __init__(self, folder, stored):
        from perpetual import PerpetualBooster

        self.stored = stored
        self.boosters = [
            (PerpetualBooster.load_booster(str(folder / booster["file"])), booster["columns"])
            for booster in stored["boosters"]
        ]

    def _one(self, booster, values):
        flat = np.ascontiguousarray(values.T).ravel()
        kind = {"flat_data": flat, "rows": values.shape[0], "cols": values.shape[1], "parallel": False}
        if self.stored["target"] == "class":
            return np.asarray(booster.booster.predict_proba(**kind, calibrated=False))
        return np.asarray(booster.booster.predict(**kind))

    def _sum(self, values):
        linear = self.stored["linear"]
        standard = np.nan_to_num((values - np.array(linear["centres"])) / np.array(linear["scales"]), nan=0.0)
        return standard @ np.array(linear["weights"]) + linear["intercept"]

    def _linear(self, values):
        return _logistic(self._sum(values))

    def predict(self, values):
        boosted = np.mean([self._one(booster, values[:, columns]) for booster, columns in self.boosters], axis=0)
        share = self.stored["boost_share"]
        return _logistic(share * _log_odds(boosted) + (1 - share) * _log_odds(self._linear(values)))


class Regressed(Boosted):
    """Boosters and a ridge regression, which say a number."""

    def predict(self, values):
        boosted = np.mean([self._one(booster, values[:, columns]) for booster, columns in self.boosters], axis=0)
        share = self.stored["boost_share"]
        return share * boosted + (1 - share) * self._sum(values)


class Imported:
    """A model of another library, as it was."""

    def __init__(self, folder, stored):
        file = str(folder / stored["file"])
        if stored["origin"] == "xgboost":
            import xgboost

            booster = xgboost.Booster(model_file=file)
            names = booster.feature_names
            self.predict = lambda values: booster.predict(xgboost.DMatrix(values, feature_names=names)).astype(float)
        else:
            import lightgbm

            self.predict = lightgbm.Booster(model_file=file).predict


class Model:
    def __init__(self, folder):
        self.stored = json.loads((folder / "model.json").read_text())
        if self.stored["format"] not in (1, 2):
            raise ValueError(f"model.json has form {self.stored['format']}, known are 1 and 2: take a newer affluent_model.py")
        self.features = [feature["name"] for feature in self.stored["features"]]
        ((kind, stored),) = self.stored["learner"].items()
        self.kind = kind
        self.learner = {"boosted": Boosted, "regressed": Regressed, "imported": Imported}[kind](folder, stored)

    def predict(self, frame, params=None):
        missing = [name for name in self.features if name not in frame.columns]
        if missing:
            raise ValueError(f"features that the model needs are missing: {', '.join(missing)}")
        values = frame[self.features].to_numpy(dtype=float)
        scores = self.learner.predict(_transformed(self.stored.get("transforms"), values))
        if self.kind == "regressed":
            return pd.DataFrame({"value": scores}, index=frame.index)
        threshold = self.stored["threshold"]
        alert = np.zeros(len(scores), bool) if threshold is None else scores >= threshold
        probability = _calibrated(self.stored["calibration"], scores)
        return pd.DataFrame({"score": scores, "probability": probability, "alert": alert}, index=frame.index)


def _load_pyfunc(path):
    return Model(Path(path))
