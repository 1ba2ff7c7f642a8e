//! When somebody is to be told that something drifts, and when that it is over. Pure.
//!
//! An alert fires at once and ends only after several runs in a row without a reason (hysteresis), so that what lies at a threshold does not come and
//! go with every run. One that grows worse is told again; one that becomes less bad stays as it is until it ends.

use super::Level;
use super::watch::Subject;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The alerts that stand, by what they are about; kept from run to run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Standing {
    alerts: BTreeMap<String, Stands>,
}

/// One that stands.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Stands {
    level: Level,
    /// Since when, microseconds.
    since: i64,
    /// Runs in a row that found nothing.
    calm: u32,
}

/// What has to be told.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    pub subject: String,
    pub level: Level,
    /// False: it is over.
    pub is_firing: bool,
    pub value: f64,
    /// Since when it fires, microseconds.
    pub since: i64,
}

impl Standing {
    /// Whether anything fires.
    #[must_use]
    pub fn is_calm(&self) -> bool {
        self.alerts.is_empty()
    }

    /// Takes in what a run found at `now`; an alert is over after `calm_runs` runs without a reason. What is told has been decided of this run's findings
    /// alone, so whoever could not tell it keeps the `Standing` from before and asks again.
    #[must_use]
    pub fn observe(&self, found: &[Subject], now: i64, calm_runs: u32) -> (Self, Vec<Change>) {
        let (mut next, mut changes) = (Standing::default(), Vec::new());
        for subject in found.iter().filter(|subject| subject.level > Level::Stable) {
            let before = self.alerts.get(&subject.name);
            let level = before.map_or(subject.level, |stands| stands.level.max(subject.level));
            let since = before.map_or(now, |stands| stands.since);
            next.alerts.insert(subject.name.clone(), Stands { level, since, calm: 0 });
            if before.is_none_or(|stands| subject.level > stands.level) {
                let (subject, value) = (subject.name.clone(), subject.value);
                changes.push(Change { subject, level, is_firing: true, value, since });
            }
        }
        for (name, stands) in &self.alerts {
            if next.alerts.contains_key(name) {
                continue;
            }
            let calm = stands.calm + 1;
            if calm < calm_runs {
                next.alerts.insert(name.clone(), Stands { calm, ..*stands });
                continue;
            }
            // What is not measured any more has no value.
            let value =
                found.iter().find(|subject| subject.name == *name).map_or(0.0, |subject| subject.value);
            let Stands { level, since, .. } = *stands;
            changes.push(Change { subject: name.clone(), level, is_firing: false, value, since });
        }
        (next, changes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(changes: &[Change]) -> Vec<(&str, Level, bool, i64)> {
        changes.iter().map(|c| (c.subject.as_str(), c.level, c.is_firing, c.since)).collect()
    }

    #[test]
    fn an_alert_fires_once_grows_worse_and_ends_after_two_calm_runs() {
        let mut standing = Standing::default();
        let mut run = |now: i64, level: Level| {
            let found = [Subject { name: "amount".to_owned(), level, value: 0.3 }];
            let (next, changes) = standing.observe(&found, now, 2);
            standing = next;
            (changes, standing.is_calm())
        };
        use Level::{Alarm, Stable, Warn};
        assert_eq!(run(1, Stable), (Vec::new(), true));
        assert_eq!(told(&run(2, Warn).0), [("amount", Warn, true, 2)]);
        assert!(run(3, Warn).0.is_empty());
        assert_eq!(told(&run(4, Alarm).0), [("amount", Alarm, true, 2)]);
        // Less bad is no news, and one calm run is none either.
        assert!(run(5, Warn).0.is_empty());
        assert!(run(6, Stable).0.is_empty());
        assert!(run(7, Warn).0.is_empty());
        assert!(run(8, Stable).0.is_empty());
        let (changes, calm) = run(9, Stable);
        assert_eq!((told(&changes), calm), (vec![("amount", Alarm, false, 2)], true));
        assert_eq!(told(&run(10, Warn).0), [("amount", Warn, true, 10)]);
    }

    #[test]
    fn what_is_not_measured_any_more_ends_and_what_stands_survives_being_stored() {
        let found = [Subject { name: "gone".to_owned(), level: Level::Alarm, value: 9.0 }];
        let (standing, _) = Standing::default().observe(&found, 1, 1);
        let text = serde_json::to_string(&standing).unwrap();
        let read: Standing = serde_json::from_str(&text).unwrap();
        assert_eq!(read, standing);
        let (none, changes) = read.observe(&[], 2, 1);
        assert_eq!(told(&changes), [("gone", Level::Alarm, false, 1)]);
        assert!(none.is_calm());
    }
}
