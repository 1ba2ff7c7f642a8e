//! Which periods are learned from and judged, as the command line says or as the data allow. Pure.

use crate::output;
use affluent_features::definition::parse_duration;
use affluent_learning::DAY;
use affluent_learning::split::{Lengths, Period, Protocol, choose};
use anyhow::Context as _;

const SECOND: i64 = 1_000_000;
/// With fewer days there are parts of days.
const WHOLE_DAYS_MIN: i64 = 20;
/// Parts into which short histories are divided.
const PARTS: i64 = 60;

/// Days as they are written: all four, or none.
#[derive(Debug, Clone, Default, clap::Args)]
pub(super) struct PeriodArgs {
    /// First day of the rows for learning
    #[arg(long, value_name = "DAY", requires_all = ["train_to", "test_from", "test_to"])]
    train_from: Option<String>,
    /// Last day of the rows for learning
    #[arg(long, value_name = "DAY", requires_all = ["train_from", "test_from", "test_to"])]
    train_to: Option<String>,
    /// First day on which the model is judged: at least the label delay after the last day for learning
    #[arg(long, value_name = "DAY", requires_all = ["train_from", "train_to", "test_to"])]
    test_from: Option<String>,
    /// Last day on which the model is judged
    #[arg(long, value_name = "DAY", requires_all = ["train_from", "train_to", "test_from"])]
    test_to: Option<String>,
}

impl PeriodArgs {
    /// The periods that are written, with labels known `delay` later; none where none are.
    pub(super) fn protocol(&self, delay: i64) -> anyhow::Result<Option<Protocol>> {
        let wrong = |error: &dyn std::fmt::Display| output::usage(error.to_string());
        let (Some(train_from), Some(train_to), Some(test_from), Some(test_to)) =
            (&self.train_from, &self.train_to, &self.test_from, &self.test_to)
        else {
            return Ok(None);
        };
        let train = Period::days(train_from, train_to).map_err(|error| wrong(&error))?;
        let test = Period::days(test_from, test_to).map_err(|error| wrong(&error))?;
        let protocol = Protocol { train, test, delay };
        protocol.check().map_err(|error| wrong(&error))?;
        Ok(Some(protocol))
    }
}

/// A length of time; a number alone is days.
pub(super) fn duration(flag: &str, text: &str) -> anyhow::Result<i64> {
    let length = match text.parse::<i64>() {
        Ok(days) => days.checked_mul(DAY),
        Err(_) => parse_duration(text).ok(),
    };
    let length = length.filter(|&length| (0..=3_660 * DAY).contains(&length));
    length.ok_or_else(|| output::usage(format!("--{flag} {text}: write a length of time, such as 7d or 15m")))
}

/// The same in whole days, by which files are judged.
pub(super) fn whole_days(flag: &str, text: &str) -> anyhow::Result<i64> {
    let length = duration(flag, text).ok().filter(|length| length % DAY == 0 && *length <= 1_000 * DAY);
    length.ok_or_else(|| output::usage(format!("--{flag} {text}: write whole days, such as 7d")))
}

/// Periods of payments between `first` and `last`, known as of `as_of`. Where there are many days they are whole ones.
pub(super) fn of_payments(
    (first, as_of): (i64, i64),
    delay: i64,
    (train_max, test_max): (i64, i64),
) -> anyhow::Result<Protocol> {
    let known = as_of.saturating_sub(delay);
    let step = if known.saturating_sub(first) >= WHOLE_DAYS_MIN * DAY {
        DAY
    } else {
        whole(known.saturating_sub(first) / PARTS, SECOND).max(SECOND)
    };
    let span = Period { from: first, to: whole(known, step) };
    let protocol = choose(span, delay, Lengths { train_max, test_max, step });
    protocol.context("payments")
}

/// The instants at which customers are looked at, and their periods.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Looks {
    pub(super) protocol: Protocol,
    pub(super) step: i64,
    /// The first and the last instant that there can be.
    first: i64,
    last: i64,
}

/// Looks at customers whose payments begin with `first` and are known as of `as_of`, `every` so often, or more often where there is little
/// history. What comes within `horizon` after a look is its label.
pub(super) fn of_customers(
    (first, as_of): (i64, i64),
    horizon: i64,
    every: i64,
    (train_max, test_max): (i64, i64),
    asked: Option<Protocol>,
) -> anyhow::Result<Looks> {
    let room = as_of.saturating_sub(horizon).saturating_sub(first);
    let step = every.min(whole(room / 12, SECOND)).max(SECOND);
    let (begin, last) = (whole(first, step) + step, whole(as_of.saturating_sub(horizon), step));
    let span = Period { from: begin, to: last + step };
    let protocol = match asked {
        Some(protocol) => protocol,
        None => choose(span, horizon, Lengths { train_max, test_max, step }).context("customers")?,
    };
    Ok(Looks { protocol, step, first: begin, last })
}

impl Looks {
    /// The instants of a span, at most `most`, the newest.
    pub(super) fn instants(&self, span: Period, most: usize) -> Vec<i64> {
        let from = self.first.max(whole(span.from + self.step - 1, self.step));
        let to = self.last.min(span.to - 1);
        let mut instants: Vec<i64> = Vec::new();
        let mut at = whole(to, self.step);
        while at >= from && instants.len() < most {
            instants.push(at);
            at -= self.step;
        }
        instants.reverse();
        instants
    }
}

/// The multiple of `step` at or before.
fn whole(time: i64, step: i64) -> i64 {
    time.div_euclid(step) * step
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: (i64, i64) = (180 * DAY, 28 * DAY);

    #[test]
    fn payments_of_months_are_judged_by_whole_days_and_those_of_minutes_by_less() {
        let days = of_payments((DAY / 2, 150 * DAY + DAY / 3), 30 * DAY, LONG).unwrap();
        assert_eq!(days.test, Period { from: 101 * DAY, to: 120 * DAY });
        assert!(days.train.from >= DAY / 2 && days.check().is_ok());
        let minutes = of_payments((0, 600 * SECOND), 60 * SECOND, LONG).unwrap();
        assert!(minutes.test.to <= 540 * SECOND && minutes.test.to - minutes.test.from < 120 * SECOND);
        assert!(of_payments((0, 60 * SECOND), 60 * SECOND, LONG).is_err());
    }

    #[test]
    fn customers_are_looked_at_while_their_label_can_be_known() {
        let looks = of_customers((0, 200 * DAY), 30 * DAY, 7 * DAY, LONG, None).unwrap();
        let instants = looks.instants(Period { from: 0, to: 500 * DAY }, 90);
        assert_eq!(
            (looks.step, instants.first(), instants.last()),
            (7 * DAY, Some(&(7 * DAY)), Some(&(168 * DAY)))
        );
        assert!(instants.iter().all(|at| at + 30 * DAY <= 200 * DAY));
        assert_eq!(looks.instants(Period { from: 0, to: 500 * DAY }, 3).len(), 3);
        let inside = looks.instants(looks.protocol.test, 90);
        assert!(!inside.is_empty() && inside.iter().all(|at| looks.protocol.test.from <= *at));
        // A demo of ten minutes.
        let short = of_customers((0, 600 * SECOND), 60 * SECOND, 7 * DAY, LONG, None).unwrap();
        assert!(short.step <= 45 * SECOND && short.instants(short.protocol.train, 90).len() > 1);
        assert!(of_customers((0, 100 * SECOND), 60 * SECOND, DAY, LONG, None).is_err());
    }

    #[test]
    fn lengths_are_days_where_nothing_else_is_said() {
        assert_eq!(duration("horizon", "7").unwrap(), 7 * DAY);
        assert_eq!(duration("horizon", "90s").unwrap(), 90 * SECOND);
        assert!(duration("horizon", "soon").unwrap_err().to_string().contains("--horizon soon"));
        assert!(whole_days("label-delay", "90s").unwrap_err().to_string().contains("whole days"));
    }
}
