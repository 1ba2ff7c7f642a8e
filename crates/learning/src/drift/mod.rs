//! Whether what a model sees is still what it learned from: two samples of a number ([`numeric`]), of a category ([`categorical`]), or a stream
//! whose mean may change ([`adwin`]). [`watch`] puts them together for a model in use, [`standing`] says when somebody is to be told.
//!
//! Measures are those of the field, by the definitions of scipy, evidently and river, to 1e-9.

pub mod adwin;
pub mod categorical;
pub mod numeric;
pub mod standing;
pub mod watch;

pub use adwin::Adwin;
pub use standing::{Change, Standing};
pub use watch::{Seen, TooFew, Watched, watch};

use serde::{Deserialize, Serialize};

/// From where on a change is told, and from where on it is an alarm.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DriftOptions {
    /// Population stability index: the field's 0.1 and 0.25.
    pub psi_warn: f64,
    pub psi_alarm: f64,
    /// Jensen-Shannon distance, and Wasserstein distance in standard deviations of the reference: evidently's 0.1.
    pub js_warn: f64,
    pub wasserstein_warn: f64,
    /// A rate of labels that chance explains no more often than this is told.
    pub chi_square_p: f64,
    /// Confidence of ADWIN.
    pub adwin_delta: f64,
    pub alerts: AlertOptions,
}

/// From where on other measures than PSI raise a warning as an alert, too; 0: they are in the report alone, since among many features and few rows
/// some are always large.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AlertOptions {
    pub psi_evidently: f64,
    pub ks: f64,
    pub jensen_shannon: f64,
    pub wasserstein: f64,
    /// From this chance down.
    pub chi_square_p: f64,
}

impl AlertOptions {
    /// Whether one of the measures is as large, or a chance as small, as is asked.
    fn are_raised_by(&self, drift: &Drift) -> bool {
        let large = [
            (drift.psi_evidently, self.psi_evidently),
            (drift.ks, self.ks),
            (drift.jensen_shannon, self.jensen_shannon),
            (drift.wasserstein, self.wasserstein),
        ];
        large.into_iter().any(|(value, from)| from > 0.0 && value >= from)
            || drift.chi_square_p.is_some_and(|p| self.chi_square_p > 0.0 && p <= self.chi_square_p)
    }
}

impl Default for DriftOptions {
    fn default() -> Self {
        DriftOptions {
            psi_warn: 0.1,
            psi_alarm: 0.25,
            js_warn: 0.1,
            wasserstein_warn: 0.1,
            chi_square_p: 0.001,
            adwin_delta: 0.002,
            alerts: AlertOptions::default(),
        }
    }
}

impl DriftOptions {
    /// # Errors
    /// What is wrong with which key.
    pub fn check(&self) -> Result<(), String> {
        let positive = |value: f64| value > 0.0;
        if ![self.psi_warn, self.psi_alarm, self.js_warn, self.wasserstein_warn].into_iter().all(positive) {
            return Err("drift thresholds have to be above 0".to_owned());
        }
        if self.psi_alarm < self.psi_warn {
            return Err("psi_alarm is below psi_warn: an alarm has to come after the warning".to_owned());
        }
        let AlertOptions { psi_evidently, ks, jensen_shannon, wasserstein, chi_square_p } = self.alerts;
        let alerts = [psi_evidently, ks, jensen_shannon, wasserstein, chi_square_p];
        if !alerts.into_iter().all(|value| value >= 0.0) || chi_square_p >= 1.0 {
            return Err("alerts have to be 0 (none) or more, a chance below 1".to_owned());
        }
        for (key, value) in [("chi_square_p", self.chi_square_p), ("adwin_delta", self.adwin_delta)] {
            if !(value > 0.0 && value < 1.0) {
                return Err(format!("{key} has to lie between 0 and 1"));
            }
        }
        Ok(())
    }
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    Stable,
    Warn,
    Alarm,
}

/// What was found of a feature, or of the score.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Drift {
    pub name: String,
    /// Ours, by tenths of the reference: what decides.
    pub psi: f64,
    /// PSI as evidently computes it, of the values that are there.
    #[serde(default)]
    pub psi_evidently: f64,
    /// Kolmogorov and Smirnov's largest distance of the distributions.
    pub ks: f64,
    pub jensen_shannon: f64,
    pub wasserstein: f64,
    /// How probable so different a distribution is by chance (chi-square), of a category: what has few values.
    #[serde(default)]
    pub chi_square_p: Option<f64>,
    /// Parts without a value, of the reference and now.
    pub missing: [f64; 2],
    pub level: Level,
}

/// Compares a number's values with those of the reference. Missing values are a bin of their own.
///
/// PSI decides, as it does not grow with the number of rows the way tests do; the distances warn.
#[must_use]
pub fn compare(name: &str, reference: &[f64], current: &[f64], options: &DriftOptions) -> Drift {
    compare_by(numeric::psi(reference, current), name, reference, current, options)
}

/// The same of labels, ones and noughts, however rare the ones are.
#[must_use]
pub fn compare_labels(name: &str, reference: &[f64], current: &[f64], options: &DriftOptions) -> Drift {
    compare_by(numeric::psi_of_values(reference, current), name, reference, current, options)
}

fn compare_by(psi: f64, name: &str, reference: &[f64], current: &[f64], options: &DriftOptions) -> Drift {
    let part = |values: &[f64]| {
        values.iter().filter(|value| value.is_nan()).count() as f64 / values.len().max(1) as f64
    };
    let present =
        |values: &[f64]| values.iter().copied().filter(|value| !value.is_nan()).collect::<Vec<f64>>();
    let (before, now) = (present(reference), present(current));
    let (psi_evidently, ks, jensen_shannon, wasserstein) = if before.is_empty() || now.is_empty() {
        // All of it went missing, or came: as different as can be.
        let all = if before.is_empty() == now.is_empty() { 0.0 } else { 1.0 };
        (all, all, all, all)
    } else {
        (
            numeric::psi_histogram(&before, &now),
            numeric::kolmogorov_smirnov(&before, &now),
            numeric::jensen_shannon(&before, &now),
            numeric::wasserstein_normalised(&before, &now),
        )
    };
    let warned = psi >= options.psi_warn
        || jensen_shannon >= options.js_warn
        || wasserstein >= options.wasserstein_warn;
    let level = match (psi >= options.psi_alarm, warned) {
        (true, _) => Level::Alarm,
        (false, true) => Level::Warn,
        (false, false) => Level::Stable,
    };
    Drift {
        name: name.to_owned(),
        psi,
        psi_evidently,
        ks,
        jensen_shannon,
        wasserstein,
        chi_square_p: categorical::chance_of_values(&before, &now),
        missing: [part(reference), part(current)],
        level,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::rngs::SmallRng;
    use rand::{Rng as _, SeedableRng as _};

    #[test]
    fn a_shifted_amount_raises_the_alarm_and_an_unshifted_one_does_not() {
        let mut rng = SmallRng::seed_from_u64(4);
        let mut amounts = |by: f64| -> Vec<f64> {
            (0..20_000).map(|_| by * 5_000.0 * -f64::ln(1.0 - rng.random::<f64>())).collect()
        };
        let (reference, same, shifted) = (amounts(1.0), amounts(1.0), amounts(2.0));
        let options = DriftOptions::default();
        assert_eq!(compare("amount", &reference, &same, &options).level, Level::Stable);
        let found = compare("amount", &reference, &shifted, &options);
        assert_eq!(found.level, Level::Alarm, "{found:?}");
        assert!(found.psi_evidently > 0.1 && found.chi_square_p.is_none(), "{found:?}");
    }

    #[test]
    fn values_that_went_missing_raise_the_alarm() {
        let reference: Vec<f64> = (0..1_000).map(f64::from).collect();
        let current = vec![f64::NAN; 500];
        let found = compare("a", &reference, &current, &DriftOptions::default());
        assert_eq!((found.level, found.missing), (Level::Alarm, [0.0, 1.0]));
        let both = compare("a", &current, &current, &DriftOptions::default());
        assert_eq!((both.level, both.psi), (Level::Stable, 0.0));
    }

    #[test]
    fn other_measures_alert_where_they_are_asked_to() {
        let kinds =
            |part: usize| (0..1_000).map(|n| f64::from(u8::from(n % part == 0))).collect::<Vec<f64>>();
        let options = DriftOptions::default();
        let found = compare("kind", &kinds(4), &kinds(5), &options);
        assert!(found.chi_square_p.is_some_and(|p| p < 0.001) && found.psi < 0.1, "{found:?}");
        assert!(!options.alerts.are_raised_by(&found));
        let by_chance = AlertOptions { chi_square_p: 0.001, ..AlertOptions::default() };
        let by_distance = AlertOptions { ks: 0.04, ..AlertOptions::default() };
        assert!(by_chance.are_raised_by(&found) && by_distance.are_raised_by(&found));
        assert!(!AlertOptions { ks: 0.06, ..by_distance }.are_raised_by(&found));
        let wrong = DriftOptions { alerts: AlertOptions { ks: -1.0, ..by_chance }, ..options };
        assert!(wrong.check().unwrap_err().contains("alerts"));
    }
}
