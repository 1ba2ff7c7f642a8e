//! Gradient boosting by `perpetual`: several boosters, each without a part of the features, whose predictions are averaged. The library is
//! deterministic and stops by itself, sometimes early; on other features it stops elsewhere, and the average is better than the best.
//!
//! Histograms are fine (4,096 bins): fraud is rare, and coarse ones cost several points of average precision.
//!
//! Invariant: the same rows, features and options give the same boosters.

use super::FitError;
use super::trees::Trees;
use crate::dataset::Matrix;
use crate::shapley::Room;
use perpetual::booster::config::{BoosterIO, ImportanceMethod};
use perpetual::constraints::{Constraint, ConstraintMap};
use perpetual::objective::Objective;
use perpetual::{Matrix as Columns, PerpetualBooster};
use serde::{Deserialize, Serialize};

/// How boosters are fitted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BoostOptions {
    /// How long to learn: more finds finer patterns and takes longer; 0.3 to 2.
    pub budget: f32,
    /// Bins of a feature's histogram.
    pub max_bin: u16,
    /// Boosters that are averaged; of several, each learns without every so-manieth feature.
    pub boosters: usize,
    /// Whether the rarer class weighs more.
    pub class_weights: bool,
    /// Features with which the score may only rise, and those with which it may only fall.
    pub rising: Vec<String>,
    pub falling: Vec<String>,
    /// Memory of a fit, in GB (10^9 bytes). It bounds the size of trees, so that without a bound the machine's free memory would.
    pub memory_gb: f32,
    /// Threads of a fit; 0: all cores.
    pub threads: usize,
}

impl Default for BoostOptions {
    fn default() -> Self {
        BoostOptions {
            budget: 0.4,
            max_bin: 4096,
            boosters: 4,
            class_weights: true,
            rising: Vec::new(),
            falling: Vec::new(),
            memory_gb: 0.7,
            threads: 0,
        }
    }
}

impl BoostOptions {
    /// # Errors
    /// What is wrong with which key.
    pub fn check(&self) -> Result<(), String> {
        if !(self.budget > 0.0 && self.budget <= 3.0) {
            return Err(format!("budget is {}: take a number above 0, up to 3", self.budget));
        }
        if !(self.memory_gb >= 0.2 && self.memory_gb <= 1_000.0) {
            return Err(format!("memory_gb is {}: take 0.2 or more", self.memory_gb));
        }
        if self.max_bin < 2 {
            return Err(format!("max_bin is {}: at least 2 are needed", self.max_bin));
        }
        if !(1..=32).contains(&self.boosters) {
            return Err(format!("boosters is {}: take 1 to 32", self.boosters));
        }
        match self.rising.iter().find(|name| self.falling.contains(name)) {
            Some(name) => Err(format!("{name} is in rising and in falling: take one")),
            None => Ok(()),
        }
    }

    /// The features of each booster, by their places.
    fn parts(&self, features: usize) -> Vec<Vec<usize>> {
        let part = |nth: usize| {
            let kept = (0..features).filter(|feature| feature % self.boosters != nth);
            // One booster, or more than features, sees them all.
            if self.boosters == 1 { (0..features).collect() } else { kept.collect() }
        };
        (0..self.boosters).map(part).filter(|part: &Vec<usize>| !part.is_empty()).collect()
    }

    /// # Errors
    /// [`FitError::Constraint`] for a feature that there is not.
    fn check_constraints(&self, features: &[String]) -> Result<(), FitError> {
        match self.rising.iter().chain(&self.falling).find(|name| !features.contains(name)) {
            Some(name) => Err(FitError::Constraint(name.clone())),
            None => Ok(()),
        }
    }

    /// Those on the features of a booster.
    fn constraints(&self, features: &[&String]) -> Option<ConstraintMap> {
        let mut map = ConstraintMap::new();
        for (names, constraint) in
            [(&self.rising, Constraint::Positive), (&self.falling, Constraint::Negative)]
        {
            for name in names {
                if let Some(place) = features.iter().position(|feature| *feature == name) {
                    map.insert(place, constraint);
                }
            }
        }
        Some(map).filter(|map| !map.is_empty())
    }
}

/// What is learned: probabilities of one or a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// Of being labelled.
    Class,
    /// A number.
    Value,
}

/// A booster, and which columns of the matrix it takes.
#[derive(Clone)]
struct Member {
    booster: PerpetualBooster,
    columns: Vec<usize>,
    /// The same trees, laid out for single rows.
    trees: Trees,
}

impl Member {
    fn new(booster: PerpetualBooster, columns: Vec<usize>) -> Result<Self, FitError> {
        let trees = Trees::of(&booster, &columns)?;
        Ok(Member { booster, columns, trees })
    }
}

/// Boosters whose predictions are averaged.
#[derive(Clone)]
pub struct Ensemble {
    members: Vec<Member>,
    target: Target,
}

impl std::fmt::Debug for Ensemble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ensemble").field("trees", &self.trees()).field("target", &self.target).finish()
    }
}

impl Ensemble {
    /// Learns the probability of a label, or a number.
    ///
    /// # Errors
    /// [`FitError::Boost`] by what the library says, [`FitError::Constraint`].
    pub fn fit(
        features: &[String],
        matrix: &Matrix,
        target: &[f64],
        kind: Target,
        options: &BoostOptions,
    ) -> Result<Self, FitError> {
        options.check_constraints(features)?;
        let objective = match kind {
            Target::Class => Objective::LogLoss,
            Target::Value => Objective::SquaredLoss,
        };
        let one = |columns: Vec<usize>| {
            let names: Vec<&String> = columns.iter().map(|&column| &features[column]).collect();
            let part = matrix.part(&columns);
            let mut booster = PerpetualBooster::default()
                .set_objective(objective.clone())
                .set_budget(options.budget)
                .set_max_bin(options.max_bin)
                .set_monotone_constraints(options.constraints(&names))
                .set_num_threads(Some(options.threads).filter(|&threads| threads > 0))
                .set_memory_limit(Some(options.memory_gb));
            booster.cfg.auto_class_weights = options.class_weights;
            let fitted = booster.fit(&view(&part), target, None, None);
            fitted.map_err(|error| FitError::Boost(error.to_string()))?;
            describe(&mut booster, &names, kind);
            Member::new(booster, columns)
        };
        let members =
            options.parts(features.len()).into_iter().map(one).collect::<Result<Vec<_>, FitError>>()?;
        Ok(Ensemble { members, target: kind })
    }

    /// The prediction of each row: a probability, or a number.
    #[must_use]
    pub fn predict(&self, matrix: &Matrix) -> Vec<f64> {
        let mut sum = vec![0.0; matrix.rows];
        for Member { booster, columns, .. } in &self.members {
            let part = matrix.part(columns);
            let parallel = matrix.rows > PARALLEL_ROWS;
            let one = match self.target {
                Target::Class => booster.predict_proba(&view(&part), parallel, false),
                Target::Value => booster.predict(&view(&part), parallel),
            };
            sum.iter_mut().zip(one).for_each(|(sum, value)| *sum += value);
        }
        let count = self.members.len() as f64;
        sum.into_iter().map(|sum| sum / count).collect()
    }

    /// The prediction of one row, with the bits of [`Ensemble::predict`]. Probabilities take microseconds.
    ///
    /// # Panics
    /// If the row is shorter than the boosters' features.
    #[must_use]
    pub fn predict_row(&self, row: &[f64]) -> f64 {
        match self.target {
            Target::Class => {
                let sum = self.members.iter().fold(0.0, |sum, member| sum + member.trees.predict(row));
                sum / self.members.len() as f64
            }
            Target::Value => {
                let matrix = Matrix { values: row.to_vec(), rows: 1, columns: row.len() };
                self.predict(&matrix).into_iter().sum()
            }
        }
    }

    /// Adds to each feature what it contributes to the mean of the boosters' log odds, times `share`; what stands before any is known is returned,
    /// times `share`.
    pub(super) fn explain(&self, row: &[f64], share: f64, contributions: &mut [f64]) -> f64 {
        let (share, mut room) = (share / self.members.len() as f64, Room::default());
        self.members.iter().map(|member| member.trees.explain(row, share, &mut room, contributions)).sum()
    }

    /// How much of the gain of all splits is each feature's, over all boosters; adds up to 1.
    #[must_use]
    pub fn importance(&self, features: usize) -> Vec<f64> {
        let mut sum = vec![0.0; features];
        for Member { booster, columns, .. } in &self.members {
            for (place, gain) in booster.calculate_feature_importance(ImportanceMethod::TotalGain, true) {
                sum[columns[place]] += f64::from(gain);
            }
        }
        let all: f64 = sum.iter().sum();
        sum.into_iter().map(|gain| if all > 0.0 { gain / all } else { 0.0 }).collect()
    }

    #[must_use]
    pub fn target(&self) -> Target {
        self.target
    }

    /// Trees over all boosters.
    #[must_use]
    pub fn trees(&self) -> usize {
        self.members.iter().map(|member| member.booster.trees.len()).sum()
    }

    /// Each booster as the JSON that the Python package of the same library reads too, and the columns that it takes.
    ///
    /// # Errors
    /// [`FitError::Boost`]: it has no JSON form.
    pub fn to_json(&self) -> Result<Vec<(String, Vec<usize>)>, FitError> {
        let dump = |member: &Member| match member.booster.json_dump() {
            Ok(text) => Ok((text, member.columns.clone())),
            Err(error) => Err(FitError::Boost(error.to_string())),
        };
        self.members.iter().map(dump).collect()
    }

    /// Reads what [`Ensemble::to_json`] wrote.
    ///
    /// # Errors
    /// [`FitError::Boost`]: it is something else.
    pub fn from_json(stored: Vec<(String, Vec<usize>)>, target: Target) -> Result<Self, FitError> {
        let load = |(text, columns): (String, Vec<usize>)| match PerpetualBooster::from_json(&text) {
            Ok(booster) => Member::new(booster, columns),
            Err(error) => Err(FitError::Boost(error.to_string())),
        };
        Ok(Ensemble { members: stored.into_iter().map(load).collect::<Result<_, _>>()?, target })
    }
}

/// From so many rows on they are predicted by several threads.
const PARALLEL_ROWS: usize = 1_000;

fn view(matrix: &Matrix) -> Columns<'_, f64> {
    Columns::new(&matrix.values, matrix.rows, matrix.columns)
}

/// What the Python package wants to know of a booster.
fn describe(booster: &mut PerpetualBooster, features: &[&String], kind: Target) {
    let names = serde_json::json!(features).to_string();
    booster.insert_metadata("feature_names_in_".to_owned(), names);
    booster.insert_metadata("n_features_".to_owned(), features.len().to_string());
    booster.insert_metadata("cat_mapping".to_owned(), "{}".to_owned());
    let classes = match kind {
        Target::Class => "[0.0, 1.0]",
        Target::Value => "[]",
    };
    booster.insert_metadata("classes_".to_owned(), classes.to_owned());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_booster_lacks_other_features() {
        let parts = |boosters, features| BoostOptions { boosters, ..BoostOptions::default() }.parts(features);
        assert_eq!(parts(1, 2), [[0, 1]]);
        assert_eq!(parts(2, 3), [vec![1], vec![0, 2]]);
        assert_eq!(parts(3, 1), [[0], [0]], "one feature is left out by the first alone");
    }

    #[test]
    fn options_are_checked() {
        let wrong = |options: BoostOptions| options.check().unwrap_err();
        let default = BoostOptions::default;
        default().check().unwrap();
        assert!(wrong(BoostOptions { budget: 0.0, ..default() }).contains("budget"));
        assert!(wrong(BoostOptions { max_bin: 1, ..default() }).contains("max_bin"));
        assert!(wrong(BoostOptions { boosters: 0, ..default() }).contains("boosters"));
        assert!(wrong(BoostOptions { memory_gb: 0.0, ..default() }).contains("memory_gb"));
        let both = vec!["a".to_owned()];
        assert!(wrong(BoostOptions { rising: both.clone(), falling: both, ..default() }).contains("a is in"));
    }
}
