//! What fires: begins once a limit is broken for long enough, and ends once it is kept, with room, for long enough.

use crate::evaluate::Reading;
use crate::rules::{RULES, Rule};
use affluent_model::{Alert, AlertState};
use std::collections::{BTreeMap, BTreeSet};

/// Alerts at the same time at most, with those that are about to begin. Beyond, the first ones stand.
const ALERTS_MAX: usize = 2_000;

/// The alerts that fire, and those that are about to begin or to end.
#[derive(Debug)]
pub struct Standing {
    scale: f64,
    instance: String,
    /// By the rule of the alert, `NAME.LABELS.INSTANCE`.
    known: BTreeMap<String, State>,
}

#[derive(Debug)]
enum State {
    /// The limit is broken since then.
    Pending(i64),
    /// It is kept since then, if it is.
    Firing { alert: Alert, kept: Option<i64> },
}

impl Standing {
    /// Goes on from the alerts that fired when the process ended. `scale` is a factor on every waiting time.
    #[must_use]
    pub fn new(scale: f64, instance: &str, firing: Vec<Alert>) -> Self {
        let state = |alert: Alert| (alert.rule.clone(), State::Firing { alert, kept: None });
        Standing { scale, instance: instance.to_owned(), known: firing.into_iter().map(state).collect() }
    }

    /// What begins and what ends with these readings, which are all that there are at `now` (microseconds UTC). Of each alert beginning and
    /// end take turns.
    pub fn observe(&mut self, now: i64, readings: &[Reading]) -> Vec<Alert> {
        let (mut changes, mut seen) = (Vec::new(), BTreeSet::new());
        for reading in readings {
            let Some(rule) = RULES.iter().find(|rule| rule.name == reading.rule) else { continue };
            let key = key(reading, &self.instance);
            changes.extend(self.one(rule, &key, reading, now));
            seen.insert(key);
        }
        // What is not measured any more is well, such as a counter after a new start.
        let unseen = self.known.keys().filter(|key| !seen.contains(*key)).cloned();
        for key in unseen.collect::<Vec<String>>() {
            changes.extend(self.calm(&key, now));
        }
        changes
    }

    /// The alerts that fire.
    pub fn firing(&self) -> impl Iterator<Item = &Alert> {
        self.known.values().filter_map(|state| match state {
            State::Firing { alert, .. } => Some(alert),
            State::Pending(_) => None,
        })
    }

    fn one(&mut self, rule: &Rule, key: &str, reading: &Reading, now: i64) -> Option<Alert> {
        if !rule.limit.is_broken(reading.value) {
            if rule.limit.is_kept(reading.value) {
                return self.calm(key, now);
            }
            // In between: what fires goes on, and nothing begins.
            match self.known.get_mut(key) {
                Some(State::Firing { kept, .. }) => *kept = None,
                Some(State::Pending(_)) => drop(self.known.remove(key)),
                None => {}
            }
            return None;
        }
        let is_full = self.known.len() >= ALERTS_MAX;
        let since = match self.known.get_mut(key) {
            Some(State::Firing { alert, kept }) => {
                (alert.value, *kept) = (reading.value, None);
                return None;
            }
            Some(State::Pending(since)) => *since,
            None if is_full => return None,
            None => now,
        };
        if now - since < self.micros(rule.hold) {
            self.known.insert(key.to_owned(), State::Pending(since));
            return None;
        }
        let mut labels = reading.labels.clone();
        labels.insert("instance".to_owned(), self.instance.clone());
        labels.insert("alertname".to_owned(), rule.name.to_owned());
        let (severity, state, value) = (rule.severity, AlertState::Firing, reading.value);
        let alert = Alert { rule: key.to_owned(), severity, state, labels, value, since };
        self.known.insert(key.to_owned(), State::Firing { alert: alert.clone(), kept: None });
        Some(alert)
    }

    /// The limit is kept now.
    fn calm(&mut self, key: &str, now: i64) -> Option<Alert> {
        match self.known.get_mut(key)? {
            State::Pending(_) => {
                self.known.remove(key);
                None
            }
            State::Firing { alert, kept } => {
                let since = *kept.get_or_insert(now);
                let name = alert.labels.get("alertname").cloned().unwrap_or_default();
                let ended = Alert { state: AlertState::Resolved, ..alert.clone() };
                let rest = RULES.iter().find(|rule| rule.name == name).map_or(0, |rule| rule.rest);
                if now - since < self.micros(rest) {
                    return None;
                }
                self.known.remove(key);
                Some(ended)
            }
        }
    }

    fn micros(&self, seconds: u32) -> i64 {
        (f64::from(seconds) * self.scale * 1e6) as i64
    }
}

/// `AffluentLagHigh.group.topic.affluent`: the rule as the topic has it, where processes are beside each other.
fn key(reading: &Reading, instance: &str) -> String {
    let labels = reading.labels.values().map(String::as_str);
    std::iter::once(reading.rule).chain(labels).chain([instance]).collect::<Vec<&str>>().join(".")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: i64 = 1_000_000;

    fn reading(rule: &'static str, value: f64) -> Reading {
        Reading { rule, labels: [("role".to_owned(), "cdc".to_owned())].into(), value }
    }

    /// What is told after each second's value; no value is not measured.
    fn told(
        standing: &mut Standing,
        rule: &'static str,
        looks: &[(i64, Option<f64>)],
    ) -> Vec<(i64, AlertState)> {
        let mut told = Vec::new();
        for (second, value) in looks {
            let readings: Vec<Reading> = value.iter().map(|value| reading(rule, *value)).collect();
            let changes = standing.observe(second * SECOND, &readings);
            told.extend(changes.into_iter().map(|alert| (*second, alert.state)));
        }
        told
    }

    #[test]
    fn an_alert_begins_after_its_time_and_ends_after_rest() {
        let mut standing = Standing::new(1.0, "a", Vec::new());
        let looks = [
            (0, 0.0),
            (100, 1.0),
            (399, 0.0),
            (400, 0.0),
            (699, 0.0),
            (700, 0.0),
            (710, 1.0),
            (769, 1.0),
            (770, 1.0),
        ];
        let found = told(&mut standing, "AffluentRoleNotReady", &looks.map(|(at, value)| (at, Some(value))));
        assert_eq!(found, [(699, AlertState::Firing), (770, AlertState::Resolved)]);
        assert_eq!(standing.firing().count(), 0);
    }

    #[test]
    fn near_its_limit_an_alert_neither_begins_nor_ends() {
        let mut standing = Standing::new(1.0, "a", Vec::new());
        let looks = [
            (0, 0.24),
            (100, 0.26),
            (200, 0.26),
            (300, 0.24),
            (900, 0.24),
            (901, 0.2),
            (960, 0.2),
            (961, 0.2),
        ];
        let found = told(&mut standing, "AffluentDrift", &looks.map(|(at, value)| (at, Some(value))));
        assert_eq!(found, [(200, AlertState::Firing), (961, AlertState::Resolved)]);
    }

    #[test]
    fn an_alert_outlives_its_process_and_ends_where_nothing_is_measured_any_more() {
        let mut standing = Standing::new(0.1, "a", Vec::new());
        assert_eq!(told(&mut standing, "AffluentDeadLetters", &[(0, Some(1.0))]), [(0, AlertState::Firing)]);
        let alert = standing.firing().next().unwrap().clone();
        assert_eq!(alert.rule, "AffluentDeadLetters.cdc.a");
        assert_eq!(
            (alert.labels["alertname"].as_str(), alert.labels["instance"].as_str()),
            ("AffluentDeadLetters", "a")
        );
        let mut standing = Standing::new(0.1, "a", vec![alert]);
        let found = told(
            &mut standing,
            "AffluentDeadLetters",
            &[(10, Some(1.0)), (20, None), (25, None), (26, None)],
        );
        assert_eq!(found, [(26, AlertState::Resolved)]);
    }

    proptest! {
        #[test]
        fn beginning_and_end_take_turns(values in prop::collection::vec((1_i64..90, prop::option::of(0.0_f64..2.0)), 0..200)) {
            let (mut now, mut standing, mut expected) = (0, Standing::new(1.0, "a", Vec::new()), AlertState::Firing);
            for (step, value) in values {
                now += step;
                let changes = told(&mut standing, "AffluentSlotRetention", &[(now, value)]);
                prop_assert!(changes.len() <= 1);
                for (_, state) in changes {
                    prop_assert_eq!(state, expected);
                    expected = match state {
                        AlertState::Firing => AlertState::Resolved,
                        AlertState::Resolved => AlertState::Firing,
                    };
                }
            }
        }
    }
}
