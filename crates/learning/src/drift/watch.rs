//! A model in use: what it saw and said in a period, against the rows it learned from and against the period before.
//!
//! Features and scores are compared as samples, outcomes as far as they are known: their rate by the chi-square test as well, and the model's error
//! as a stream, since an error may grow where nothing else has moved.
//!
//! Invariant: a period with too few rows to tell anything is refused, not found stable.

use super::{Adwin, Drift, DriftOptions, Level, categorical, compare, compare_labels};
use crate::dataset::Dataset;
use crate::fit::{Learner, Model, ModelError};
use crate::split::Period;
use serde::{Deserialize, Serialize};

/// The names under which what is no feature is watched.
pub const SCORE: &str = "score";
pub const OUTCOME: &str = "outcome";
pub const ERROR: &str = "error";

/// What a model saw and said in a period; rows in the order of time.
#[derive(Debug, Clone)]
pub struct Seen {
    pub period: Period,
    /// One a feature of the model; NaN where there is no value.
    pub columns: Vec<Vec<f64>>,
    pub scores: Vec<f64>,
    /// The probability, or the number, that it said.
    pub said: Vec<f64>,
    /// What came of it, a label being one or nought; none where that is not known yet.
    pub outcomes: Vec<Option<f64>>,
    /// Whether outcomes are labels.
    pub is_class: bool,
}

/// Too few rows to tell anything.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} ({period}) has {rows} rows, at least {wanted} are needed to tell drift from chance")]
pub struct TooFew {
    pub what: &'static str,
    pub period: String,
    pub rows: usize,
    pub wanted: usize,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Watched {
    pub model: String,
    pub version: u64,
    pub options: DriftOptions,
    pub training: Told,
    /// None where there was no period before, or too little in it.
    pub previous: Option<Told>,
    pub current: Told,
    /// One of so many rows of the period and the one before was looked at, by the hash of its id.
    #[serde(default = "all")]
    pub one_of: u64,
    /// Features, score and outcome against the rows of learning, the most moved first; and against the period before.
    pub since_training: Vec<Drift>,
    pub since_previous: Vec<Drift>,
    /// How probable it is by chance that the rate of labels differs so much from that of learning; none of a model of a number.
    pub outcome_p: Option<f64>,
    pub streams: Vec<Stream>,
    pub level: Level,
}

/// A period in short.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Told {
    pub period: Period,
    pub rows: usize,
    /// Rows whose outcome is known, and its mean: of labels the rate.
    pub known: usize,
    pub outcome: Option<f64>,
    pub score: f64,
}

/// What ADWIN found in a stream of the previous and the current period.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Stream {
    /// [`SCORE`] or [`ERROR`].
    pub name: String,
    /// Changes of the mean within the current period.
    pub changes: u64,
    /// The mean before the current period, and since the last change.
    pub before: f64,
    pub now: f64,
    pub level: Level,
}

/// What an alert is about.
#[derive(Debug, Clone, PartialEq)]
pub struct Subject {
    pub name: String,
    pub level: Level,
    pub value: f64,
}

impl Seen {
    /// What `model` sees and says of the rows of a period. Outcomes of rows up to `known_until` are known.
    ///
    /// # Errors
    /// A feature that the dataset lacks, or has in another version.
    pub fn of(
        model: &Model,
        dataset: &Dataset,
        period: Period,
        known_until: i64,
    ) -> Result<Self, ModelError> {
        let known = &dataset.rows;
        let rows: Vec<usize> =
            (0..known.len()).filter(|&row| (period.from..period.to).contains(&known.time[row])).collect();
        let scores = model.score(dataset, &rows)?;
        let is_class = match model.learner {
            Learner::Regressed { .. } => false,
            Learner::Boosted { .. } | Learner::Imported(_) => true,
        };
        let outcome = |&row: &usize| {
            let outcome = if is_class { f64::from(u8::from(known.label[row])) } else { known.value[row] };
            (known.time[row] <= known_until).then_some(outcome)
        };
        let names: Vec<String> = model.features.iter().map(|feature| feature.name.clone()).collect();
        let columns = dataset.select(&names)?.columns;
        Ok(Seen {
            period,
            columns: columns.iter().map(|column| rows.iter().map(|&row| column[row]).collect()).collect(),
            said: scores.iter().map(|&score| model.probability(score)).collect(),
            outcomes: rows.iter().map(outcome).collect(),
            scores,
            is_class,
        })
    }

    #[must_use]
    pub fn rows(&self) -> usize {
        self.scores.len()
    }

    fn known(&self) -> Vec<f64> {
        self.outcomes.iter().copied().flatten().collect()
    }

    /// How far from what came the model was, row by row.
    fn errors(&self) -> Vec<f64> {
        let pairs = self.said.iter().zip(&self.outcomes);
        pairs.filter_map(|(said, outcome)| Some((said - (*outcome)?).abs())).collect()
    }

    fn told(&self) -> Told {
        let known = self.known();
        Told {
            period: self.period,
            rows: self.rows(),
            known: known.len(),
            outcome: (!known.is_empty()).then(|| mean(&known)),
            score: mean(&self.scores),
        }
    }
}

/// Compares. `training` is what the model saw and said of the rows it learned from; all three have the model's features in its order. A `previous` period with
/// too few rows is left out.
///
/// # Errors
/// [`TooFew`]: the training rows, or those of the period.
pub fn watch(
    model: &Model,
    version: u64,
    (training, previous, current): (&Seen, Option<&Seen>, &Seen),
    rows_min: usize,
    options: &DriftOptions,
) -> Result<Watched, TooFew> {
    for (what, seen) in [("the training period", training), ("the period", current)] {
        if seen.rows() < rows_min {
            let period = seen.period.to_string();
            return Err(TooFew { what, period, rows: seen.rows(), wanted: rows_min });
        }
    }
    let previous = previous.filter(|seen| seen.rows() >= rows_min);
    let names: Vec<&str> = model.features.iter().map(|feature| feature.name.as_str()).collect();
    let mut since_training = drifts(&names, training, current, rows_min, options);
    let since_previous =
        previous.map(|before| drifts(&names, before, current, rows_min, options)).unwrap_or_default();
    let outcome_p = outcome_chance(training, current, rows_min);
    if outcome_p.is_some_and(|p| p <= options.chi_square_p) {
        let outcome = since_training.iter_mut().filter(|drift| drift.name == OUTCOME);
        outcome.for_each(|drift| drift.level = drift.level.max(Level::Warn));
    }
    let streams = match previous {
        Some(before) => streams(before, current, options.adwin_delta),
        None => Vec::new(),
    };
    let mut watched = Watched {
        model: model.name.clone(),
        version,
        options: *options,
        training: training.told(),
        previous: previous.map(Seen::told),
        current: current.told(),
        one_of: all(),
        since_training,
        since_previous,
        outcome_p,
        streams,
        level: Level::Stable,
    };
    let levels = watched.since_training.iter().chain(&watched.since_previous).map(|drift| drift.level);
    let level = levels.chain(watched.streams.iter().map(|stream| stream.level)).max();
    watched.level = level.unwrap_or(Level::Stable);
    Ok(watched)
}

/// Features, score, and outcome where enough of it is known; the most moved first.
fn drifts(names: &[&str], before: &Seen, now: &Seen, rows_min: usize, options: &DriftOptions) -> Vec<Drift> {
    let features = names.iter().zip(before.columns.iter().zip(&now.columns));
    let mut found: Vec<Drift> =
        features.map(|(name, (before, now))| compare(name, before, now, options)).collect();
    found.push(compare(SCORE, &before.scores, &now.scores, options));
    let of_outcomes = if before.is_class { compare_labels } else { compare };
    let (before, now) = (before.known(), now.known());
    if before.len() >= rows_min && now.len() >= rows_min {
        found.push(of_outcomes(OUTCOME, &before, &now, options));
    }
    found.sort_by(|a, b| b.psi.total_cmp(&a.psi));
    found
}

/// The chance that the rates of labels differ as much.
fn outcome_chance(training: &Seen, current: &Seen, rows_min: usize) -> Option<f64> {
    let labels = |seen: &Seen| seen.known().iter().map(|&outcome| outcome > 0.5).collect::<Vec<bool>>();
    let (before, now) = (labels(training), labels(current));
    let enough = training.is_class && before.len() >= rows_min && now.len() >= rows_min;
    enough.then(|| categorical::chi_square(&before, &now).p_value)
}

/// The scores and the errors of both periods as they came. A score that moves is told; an error that grows is an alarm.
fn streams(before: &Seen, now: &Seen, delta: f64) -> Vec<Stream> {
    let all = [
        (SCORE, before.scores.clone(), now.scores.clone(), Level::Warn),
        (ERROR, before.errors(), now.errors(), Level::Alarm),
    ];
    let filled = all.into_iter().filter(|(_, before, now, _)| !before.is_empty() && !now.is_empty());
    filled
        .map(|(name, before, now, worst)| {
            let mut adwin = Adwin::new(delta);
            before.iter().for_each(|&value| {
                adwin.update(value);
            });
            let (mean_before, changes_before) = (adwin.mean(), adwin.changes());
            now.iter().for_each(|&value| {
                adwin.update(value);
            });
            let (changes, mean_now) = (adwin.changes() - changes_before, adwin.mean());
            let level = match (changes, name == ERROR && mean_now <= mean_before) {
                (0, _) => Level::Stable,
                // It errs less than it did.
                (_, true) => Level::Warn,
                (_, false) => worst,
            };
            Stream { name: name.to_owned(), changes, before: mean_before, now: mean_now, level }
        })
        .collect()
}

impl Watched {
    /// What an alert may be about: each feature, the score, the outcome and the error, at the level that their PSI, or ADWIN, gives them. Other measures warn
    /// where [`super::AlertOptions`] say so. The value is the PSI, of the error its mean.
    #[must_use]
    pub fn subjects(&self) -> Vec<Subject> {
        let mut found: Vec<Subject> = Vec::new();
        for drift in self.since_training.iter().chain(&self.since_previous) {
            let level = match drift.psi {
                psi if psi >= self.options.psi_alarm => Level::Alarm,
                psi if psi >= self.options.psi_warn => Level::Warn,
                _ if self.options.alerts.are_raised_by(drift) => Level::Warn,
                _ => Level::Stable,
            };
            match found.iter_mut().find(|subject| subject.name == drift.name) {
                Some(subject) => {
                    subject.level = subject.level.max(level);
                    subject.value = subject.value.max(drift.psi);
                }
                None => found.push(Subject { name: drift.name.clone(), level, value: drift.psi }),
            }
        }
        for Stream { name, level, now, .. } in &self.streams {
            match found.iter_mut().find(|subject| subject.name == *name) {
                Some(subject) => subject.level = subject.level.max(*level),
                None => found.push(Subject { name: name.clone(), level: *level, value: *now }),
            }
        }
        found
    }

    /// Each measure by feature and test, as the metric `drift_score` has them.
    #[must_use]
    pub fn scores(&self) -> Vec<(String, &'static str, f64)> {
        let mut all = Vec::new();
        for drift in &self.since_training {
            let measures = [
                ("psi", drift.psi),
                ("psi_evidently", drift.psi_evidently),
                ("ks", drift.ks),
                ("jensen_shannon", drift.jensen_shannon),
                ("wasserstein", drift.wasserstein),
            ];
            all.extend(measures.map(|(test, value)| (drift.name.clone(), test, value)));
            all.extend(drift.chi_square_p.map(|p| (drift.name.clone(), "chi_square", p)));
        }
        for drift in &self.since_previous {
            let measures = [
                ("psi_previous", drift.psi),
                ("psi_evidently_previous", drift.psi_evidently),
                ("ks_previous", drift.ks),
                ("jensen_shannon_previous", drift.jensen_shannon),
                ("wasserstein_previous", drift.wasserstein),
            ];
            all.extend(measures.map(|(test, value)| (drift.name.clone(), test, value)));
        }
        all.extend(self.streams.iter().map(|stream| (stream.name.clone(), "adwin", stream.changes as f64)));
        all
    }
}

fn all() -> u64 {
    1
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::FeatureVersion;
    use crate::fit::Imported;
    use rand::rngs::SmallRng;
    use rand::{Rng as _, SeedableRng as _};

    /// A model that says 2 above 0.5 of its one feature, and -1 below.
    fn model() -> Model {
        let text = "tree\nversion=v4\nnum_tree_per_iteration=1\nobjective=regression\nfeature_names=amount\n\nTree=0\nnum_leaves=2\n\
                    num_cat=0\nsplit_feature=0\nthreshold=0.5\ndecision_type=2\nleft_child=-1\nright_child=-2\nleaf_value=-1 2\n\nend of trees\n";
        let features = vec![FeatureVersion { name: "amount".to_owned(), version: 1 }];
        Imported::read(text).unwrap().into_model("fraud", features, None).unwrap()
    }

    /// `rows` rows whose amounts are stretched, and of which a part is labelled.
    fn seen(seed: u64, rows: usize, stretched: f64, labelled: f64) -> Seen {
        let mut rng = SmallRng::seed_from_u64(seed);
        let amounts: Vec<f64> = (0..rows).map(|_| stretched * rng.random::<f64>()).collect();
        let labels = (0..rows).map(|_| Some(f64::from(u8::from(rng.random_bool(labelled))))).collect();
        Seen {
            period: Period { from: 0, to: 1 },
            scores: amounts.clone(),
            said: vec![0.1; rows],
            columns: vec![amounts],
            outcomes: labels,
            is_class: true,
        }
    }

    fn watched(now: &Seen) -> Watched {
        let (training, before) = (seen(1, 4_000, 1.0, 0.1), seen(2, 2_000, 1.0, 0.1));
        watch(&model(), 3, (&training, Some(&before), now), 200, &DriftOptions::default()).unwrap()
    }

    #[test]
    fn what_stays_is_stable_and_what_moves_is_told_of_which() {
        let same = watched(&seen(3, 2_000, 1.0, 0.1));
        assert_eq!(same.level, Level::Stable, "{same:?}");
        assert!(same.subjects().iter().all(|subject| subject.level == Level::Stable));
        let moved = watched(&seen(3, 2_000, 2.0, 0.1));
        assert_eq!(moved.level, Level::Alarm);
        let alarmed = moved.subjects().into_iter().filter(|subject| subject.level == Level::Alarm);
        let mut names: Vec<String> = alarmed.map(|subject| subject.name).collect();
        names.sort();
        assert_eq!(names, ["amount", "score"]);
        assert!(moved.streams.iter().any(|stream| stream.name == SCORE && stream.changes > 0));
        // A stream of scores that moves warns by itself.
        let mut streamed = moved.clone();
        (streamed.since_training, streamed.since_previous) = (Vec::new(), Vec::new());
        let levels: Vec<(String, Level)> =
            streamed.subjects().into_iter().map(|subject| (subject.name, subject.level)).collect();
        assert!(levels.contains(&(SCORE.to_owned(), Level::Warn)), "{levels:?}");
        let tests = moved.scores();
        for test in [
            "psi",
            "psi_evidently",
            "ks",
            "jensen_shannon",
            "wasserstein",
            "psi_previous",
            "chi_square",
            "adwin",
        ] {
            assert!(tests.iter().any(|(_, of, _)| *of == test), "{test}");
        }
    }

    #[test]
    fn labels_and_errors_are_watched_as_far_as_they_are_known() {
        let more = watched(&seen(3, 2_000, 1.0, 0.4));
        let outcome = more.since_training.iter().find(|drift| drift.name == OUTCOME).unwrap();
        assert_eq!(outcome.level, Level::Alarm, "{outcome:?}");
        assert!(more.outcome_p.unwrap() < 1e-9);
        let error = more.streams.iter().find(|stream| stream.name == ERROR).unwrap();
        assert_eq!(error.level, Level::Alarm, "{error:?}");
        let mut young = seen(3, 2_000, 1.0, 0.4);
        young.outcomes = vec![None; 2_000];
        let unknown = watched(&young);
        assert_eq!((unknown.level, unknown.outcome_p, unknown.current.outcome), (Level::Stable, None, None));
    }

    #[test]
    fn a_period_with_few_rows_tells_nothing() {
        let (training, few) = (seen(1, 4_000, 1.0, 0.1), seen(2, 199, 1.0, 0.1));
        let options = DriftOptions::default();
        let error = watch(&model(), 1, (&training, None, &few), 200, &options).unwrap_err();
        assert_eq!((error.what, error.rows), ("the period", 199));
        // A period before it that is too short is left out.
        let found = watch(&model(), 1, (&training, Some(&few), &training), 200, &options).unwrap();
        assert!(found.previous.is_none() && found.since_previous.is_empty() && found.streams.is_empty());
    }
}
