//! Metrics, drift and predictions are those of the Python libraries that define them.

use crate::payments::{dataset, manifest, options, protocol};
use crate::python::run;
use affluent_learning::dataset::Matrix;
use affluent_learning::drift::{Adwin, categorical, numeric};
use affluent_learning::evaluate::{Ranking, probability, value};
use affluent_learning::fit::Logistic;
use affluent_learning::registry::write_folder;
use affluent_learning::train::train;
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::{Value, json};

fn near(ours: f64, theirs: &Value, what: &str) {
    let theirs = theirs.as_f64().unwrap_or_else(|| panic!("{what}: {theirs}"));
    assert!((ours - theirs).abs() <= 1e-9 * theirs.abs().max(1.0), "{what}: {ours}, theirs is {theirs}");
}

const METRICS: &str = r"
import json, sys
import numpy as np
from scipy.stats import spearmanr
from sklearn import metrics as m
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
it = json.load(sys.stdin)
y, s, x = np.array(it['labels']), np.array(it['scores']), np.array(it['matrix']).T
w = np.array(it['weights'])
scaled = StandardScaler().fit_transform(x)
lr = LogisticRegression(C=1 / it['ridge'], tol=1e-12, max_iter=10000).fit(scaled, y)
print(json.dumps({
    'auc': m.roc_auc_score(y, s), 'ap': m.average_precision_score(y, s),
    'weighted_auc': m.roc_auc_score(y, s, sample_weight=w), 'weighted_ap': m.average_precision_score(y, s, sample_weight=w),
    'brier': m.brier_score_loss(y, s), 'log_loss': m.log_loss(y, s),
    'r2': m.r2_score(it['truth'], s), 'mae': m.mean_absolute_error(it['truth'], s), 'spearman': spearmanr(it['truth'], s)[0],
    'weights': lr.coef_[0].tolist(), 'intercept': lr.intercept_[0]}))
";

#[test]
fn metrics_and_the_baseline_are_those_of_scikit_learn() {
    let mut rng = SmallRng::seed_from_u64(21);
    let count = 2_000;
    let labels: Vec<bool> = (0..count).map(|_| rng.random_bool(0.1)).collect();
    let of = |rng: &mut SmallRng, by: f64| -> Vec<f64> {
        labels.iter().map(|&label| rng.random::<f64>() * 2.0 + if label { by } else { 0.0 }).collect()
    };
    let columns = [of(&mut rng, 0.8), of(&mut rng, 0.1), of(&mut rng, -0.4)];
    // Many ties.
    let scores: Vec<f64> = columns[0].iter().map(|value| (value / 2.9 * 50.0).round() / 50.0).collect();
    let weights: Vec<f64> = (0..count).map(|_| f64::from(rng.random_range(0..4))).collect();
    let truth: Vec<f64> = columns[1].iter().map(|value| (value * 5.0).round()).collect();
    let input = json!({"labels": labels.iter().map(|&l| u8::from(l)).collect::<Vec<u8>>(), "scores": scores, "weights": weights,
        "truth": truth, "matrix": columns, "ridge": 2.0});
    let theirs = run(METRICS, &input);
    let ranking = Ranking::new(&scores);
    near(ranking.auc_roc(&labels, None), &theirs["auc"], "area");
    near(ranking.average_precision(&labels, None), &theirs["ap"], "average precision");
    near(ranking.auc_roc(&labels, Some(&weights)), &theirs["weighted_auc"], "weighted area");
    near(ranking.average_precision(&labels, Some(&weights)), &theirs["weighted_ap"], "weighted precision");
    near(probability::brier(&scores, &labels), &theirs["brier"], "Brier score");
    near(probability::log_loss(&scores, &labels), &theirs["log_loss"], "log loss");
    let of_values = value::evaluate(&scores, &truth);
    near(of_values.r2, &theirs["r2"], "R²");
    near(of_values.mae, &theirs["mae"], "absolute error");
    near(of_values.rank_correlation, &theirs["spearman"], "rank correlation");

    let matrix = Matrix { values: columns.concat(), rows: count, columns: 3 };
    let fitted = Logistic::fit(&matrix, &labels, 2.0).unwrap();
    // Their solver stops a little before the minimum.
    let close = |ours: f64, theirs: &Value| {
        assert!((ours - theirs.as_f64().unwrap()).abs() < 1e-5, "{ours}, {theirs}")
    };
    fitted
        .weights()
        .iter()
        .zip(theirs["weights"].as_array().unwrap())
        .for_each(|(ours, theirs)| close(*ours, theirs));
    close(fitted.intercept(), &theirs["intercept"]);
}

const DRIFT: &str = r"
import json, sys
import numpy as np
from scipy import stats
from scipy.spatial.distance import jensenshannon
from river.drift import ADWIN
it = json.load(sys.stdin)
def binned(a, b):  # evidently's get_binned_data
    if len(np.unique(a)) > 20:
        edges = np.histogram_bin_edges(np.concatenate([a, b]), bins='sturges')
        return np.histogram(a, edges)[0] / len(a), np.histogram(b, edges)[0] / len(b)
    keys = sorted(set(a) | set(b))
    return np.array([np.mean(a == k) for k in keys]), np.array([np.mean(b == k) for k in keys])
def filled(p):
    least = p[p > 0].min()
    return np.where(p == 0, least / 10**6 if least <= 0.0001 else 0.0001, p)
answer = []
for a, b in it['samples']:
    a, b = np.array(a), np.array(b)
    p, q = binned(a, b)
    fp, fq = filled(p), filled(q)
    answer.append({'ks': stats.ks_2samp(a, b).statistic, 'js': jensenshannon(p, q), 'psi': np.sum((fp - fq) * np.log(fp / fq)),
        'wasserstein': stats.wasserstein_distance(a, b) / max(np.std(a), 0.001)})
a, b = it['categories']
keys = sorted(set(a) | set(b))
chi = stats.chisquare([b.count(k) for k in keys], [a.count(k) * len(b) / len(a) for k in keys])
adwin, at = ADWIN(delta=it['delta']), []
for n, x in enumerate(it['stream']):
    adwin.update(x)
    if adwin.drift_detected: at.append(n)
print(json.dumps({'samples': answer, 'chi': [chi.statistic, chi.pvalue], 'adwin': at}))
";

#[test]
fn drift_is_that_of_scipy_evidently_and_river() {
    let mut rng = SmallRng::seed_from_u64(5);
    let mut sample = |count: usize, by: f64, steps: f64| -> Vec<f64> {
        (0..count).map(|_| ((rng.random::<f64>() - 1.0).abs().ln() * -by * steps).round() / steps).collect()
    };
    let samples = [
        (sample(900, 1.0, 1e6), sample(700, 1.0, 1e6)),
        (sample(900, 1.0, 1e6), sample(700, 1.6, 1e6)),
        (sample(500, 5.0, 100.0), sample(2_000, 4.0, 100.0)),
        (sample(500, 1.0, 2.0), sample(400, 1.5, 2.0)),
        // Apart altogether, and one value against many.
        (sample(300, 1.0, 1e6), sample(300, 1.0, 1e6).into_iter().map(|value| value + 60.0).collect()),
        (vec![3.0; 50], sample(200, 1.0, 1.0)),
    ];
    let categories: Vec<Vec<u8>> =
        [300, 500].into_iter().map(|count| (0..count).map(|_| rng.random_range(0..6)).collect()).collect();
    let stream: Vec<f64> = (0..6_000)
        .map(|n| {
            rng.random::<f64>()
                + if n > 4_000 {
                    0.1
                } else if n > 2_000 {
                    0.4
                } else {
                    0.0
                }
        })
        .collect();
    let input = json!({"samples": samples, "categories": categories, "stream": stream, "delta": 0.002});
    let theirs = run(DRIFT, &input);
    for (nth, (a, b)) in samples.iter().enumerate() {
        let theirs = &theirs["samples"][nth];
        near(numeric::kolmogorov_smirnov(a, b), &theirs["ks"], "Kolmogorov-Smirnov");
        near(numeric::jensen_shannon(a, b), &theirs["js"], "Jensen-Shannon");
        near(numeric::psi_histogram(a, b), &theirs["psi"], "PSI");
        near(numeric::wasserstein_normalised(a, b), &theirs["wasserstein"], "Wasserstein");
    }
    let chi = categorical::chi_square(&categories[0], &categories[1]);
    near(chi.statistic, &theirs["chi"][0], "chi-square");
    near(chi.p_value, &theirs["chi"][1], "its chance");
    // Theirs begins anew after a change.
    let (mut adwin, mut at) = (Adwin::new(0.002), Vec::new());
    for (n, &x) in stream.iter().enumerate() {
        if adwin.update(x) {
            at.push(json!(n));
            adwin = Adwin::new(0.002);
        }
    }
    assert!(at.len() >= 2);
    assert_eq!(json!(at), theirs["adwin"]);
}

/// Loads a version's folder as MLflow does, and predicts.
pub(crate) const LOADED: &str = r"
import json, sys
import pandas as pd
it = json.load(sys.stdin)
sys.path.insert(0, it['folder'] + '/code')
import affluent_model
frame = pd.DataFrame({name: pd.Series(values, dtype=float) for name, values in it['columns'].items()})
print(affluent_model._load_pyfunc(it['folder'] + '/data').predict(frame).to_json(orient='split', double_precision=15))
";

#[test]
fn python_predicts_the_same() {
    let dataset = dataset(50);
    let trained = train("fraud", &dataset, manifest(&dataset), protocol(), &options(), None, None).unwrap();
    let folder = tempfile::tempdir().unwrap();
    write_folder(&trained, folder.path()).unwrap();
    let rows: Vec<usize> = (0..1_000).collect();
    let columns: serde_json::Map<String, Value> = (dataset.features.iter().zip(&dataset.columns))
        .map(|(feature, column)| (feature.name.clone(), json!(column[..rows.len()])))
        .collect();
    let theirs = run(LOADED, &json!({"folder": folder.path(), "columns": columns}));
    let scores = trained.model.score(&dataset, &rows).unwrap();
    let threshold = trained.model.threshold.unwrap();
    for (row, score) in scores.into_iter().enumerate() {
        let line = &theirs["data"][row];
        let (theirs, probability) = (line[0].as_f64().unwrap(), line[1].as_f64().unwrap());
        assert!((score - theirs).abs() < 1e-6, "row {row}: {score}, theirs is {theirs}");
        assert!((trained.model.probability(score) - probability).abs() < 1e-6, "row {row}");
        assert_eq!(line[2], score >= threshold, "row {row}");
    }
}
