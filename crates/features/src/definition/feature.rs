//! A feature after checking: whose it is, what it computes, over what, and who answers for it.

use super::filter::Filter;
use super::window::Window;
use crate::request::Request;
use serde::Deserialize;

/// How old a value may be where it is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub enum Freshness {
    #[serde(rename = "stream")]
    Stream,
    #[serde(rename = "5m")]
    FiveMinutes,
    #[serde(rename = "1h")]
    Hour,
    #[serde(rename = "nightly")]
    Nightly,
}

impl Freshness {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Freshness::Stream => "stream",
            Freshness::FiveMinutes => "5m",
            Freshness::Hour => "1h",
            Freshness::Nightly => "nightly",
        }
    }
}

/// What is computed of the events of a window. Columns are positions in the source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Aggregate {
    /// How many.
    Count,
    /// How many an hour of the window's length.
    Rate,
    Sum(usize),
    Mean(usize),
    Min(usize),
    Max(usize),
    /// Sample standard deviation (n - 1); nothing for fewer than two values.
    StdDev(usize),
    /// How many different values: see [`crate::aggregate::distinct`] for up to where this is exact.
    Distinct(usize),
    /// Shannon entropy of the values, in bits.
    Entropy(usize),
    /// Which part of the events also fulfils a condition.
    Share(Filter),
    /// Which part of the events has the value of the current one.
    ShareSame(usize),
    /// Which part of the labelled events is marked.
    RiskRate(usize),
    /// The value so many events before the end, from 1.
    Last(usize, usize),
    /// The value so many events after the beginning, from 1.
    First(usize, usize),
    /// Seconds since the last event before the current one.
    SinceLast,
    /// Seconds from the first event to the last.
    Duration,
    /// 1 where no event before has the value of the current one, else 0.
    IsNew(usize),
    /// The current value, divided by the mean of those before.
    ToMean(usize),
    /// The current value less the mean of those before, in standard deviations of them.
    ZScore(usize),
    /// Kilometres an hour from the last place before, to that of the current event: latitude, longitude.
    Speed(usize, usize),
}

/// How a value comes about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Compute {
    Window {
        source: String,
        filter: Filter,
        window: Window,
        aggregate: Aggregate,
    },
    /// One feature divided by another of the same entity.
    Ratio {
        of: String,
        to: String,
    },
    /// From the event that asks alone.
    Request {
        source: String,
        request: Request,
    },
}

/// A checked feature: one number a key and instant.
#[derive(Debug, Clone, PartialEq)]
pub struct Feature {
    pub name: String,
    pub entity: String,
    /// Raised whenever its meaning changes.
    pub version: u32,
    /// What its meaning hashes to: 16 hexadecimal digits.
    pub digest: String,
    pub owner: String,
    pub description: String,
    pub freshness: Freshness,
    /// What stands where there is no value; else NaN.
    pub default: Option<f64>,
    pub compute: Compute,
    /// The file that defines it, for messages.
    pub file: String,
}

impl Aggregate {
    /// Whether the current event is compared with those before it, so that it cannot be among them.
    #[must_use]
    pub fn compares_current(&self) -> bool {
        match self {
            Aggregate::SinceLast
            | Aggregate::IsNew(_)
            | Aggregate::ToMean(_)
            | Aggregate::ZScore(_)
            | Aggregate::Speed(..) => true,
            Aggregate::Count
            | Aggregate::Rate
            | Aggregate::Sum(_)
            | Aggregate::Mean(_)
            | Aggregate::Min(_)
            | Aggregate::Max(_)
            | Aggregate::StdDev(_)
            | Aggregate::Distinct(_)
            | Aggregate::Entropy(_)
            | Aggregate::Share(_)
            | Aggregate::ShareSame(_)
            | Aggregate::RiskRate(_)
            | Aggregate::Last(..)
            | Aggregate::First(..)
            | Aggregate::Duration => false,
        }
    }
}
