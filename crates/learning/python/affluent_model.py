"""Loads a model of Affluent for `mlflow.pyfunc`: the same boosters, calibration and threshold, by the PyPI package of the same library
(perpetual; XGBoost or LightGBM for a model that comes from there).

Predictions equal the binary's: features in, a frame of `score`, `probability` and `alert` out; of a model of a number, `value`.
"""

import json
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
        if self.stored["format"] != 1:
            raise ValueError(f"model.json has form {self.stored['format']}, known is 1: take a newer affluent_model.py")
        self.features = [feature["name"] for feature in self.stored["features"]]
        ((kind, stored),) = self.stored["learner"].items()
        self.kind = kind
        self.learner = {"boosted": Boosted, "regressed": Regressed, "imported": Imported}[kind](folder, stored)

    def predict(self, frame, params=None):
        missing = [name for name in self.features if name not in frame.columns]
        if missing:
            raise ValueError(f"features that the model needs are missing: {', '.join(missing)}")
        values = frame[self.features].to_numpy(dtype=float)
        scores = self.learner.predict(values)
        if self.kind == "regressed":
            return pd.DataFrame({"value": scores}, index=frame.index)
        threshold = self.stored["threshold"]
        alert = np.zeros(len(scores), bool) if threshold is None else scores >= threshold
        probability = _calibrated(self.stored["calibration"], scores)
        return pd.DataFrame({"score": scores, "probability": probability, "alert": alert}, index=frame.index)


def _load_pyfunc(path):
    return Model(Path(path))
