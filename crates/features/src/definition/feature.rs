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

/// A view: the features of one entity over one source, in one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    pub entity: String,
    pub source: String,
    /// Who answers for its features, and how fresh they are, where they do not say so themselves.
    pub owner: String,
    pub freshness: Freshness,
    pub description: String,
    /// The file that defines it, for messages.
    pub file: String,
}

/// What checking does not keep: conditions as their author wrote them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Written {
    pub filter: Option<String>,
    pub share: Option<String>,
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
    pub written: Written,
    /// The view it belongs to.
    pub view: String,
    /// The file that defines it, for messages.
    pub file: String,
}

impl Compute {
    /// The name of the aggregate, as it is written.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Compute::Window { aggregate, .. } => aggregate.name(),
            Compute::Ratio { .. } => "ratio",
            Compute::Request { request, .. } => request.name(),
        }
    }

    /// The columns that values are computed of, by their positions in the source; not those of conditions.
    #[must_use]
    pub fn columns(&self) -> Vec<usize> {
        match self {
            Compute::Window { aggregate, .. } => aggregate.columns(),
            Compute::Ratio { .. } => Vec::new(),
            Compute::Request { request, .. } => request.columns(),
        }
    }

    /// Every column that is read, those of conditions too, each once and in order.
    #[must_use]
    pub fn reads(&self) -> Vec<usize> {
        let mut columns = self.columns();
        if let Compute::Window { filter, aggregate, .. } = self {
            filter.columns(&mut columns);
            if let Aggregate::Share(share) = aggregate {
                share.columns(&mut columns);
            }
        }
        columns.sort_unstable();
        columns.dedup();
        columns
    }
}

impl Aggregate {
    /// The name of the aggregate, as it is written.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Aggregate::Count => "count",
            Aggregate::Rate => "rate",
            Aggregate::Sum(_) => "sum",
            Aggregate::Mean(_) => "mean",
            Aggregate::Min(_) => "min",
            Aggregate::Max(_) => "max",
            Aggregate::StdDev(_) => "stddev",
            Aggregate::Distinct(_) => "distinct",
            Aggregate::Entropy(_) => "entropy",
            Aggregate::Share(_) => "share",
            Aggregate::ShareSame(_) => "share_same",
            Aggregate::RiskRate(_) => "risk_rate",
            Aggregate::Last(..) => "last",
            Aggregate::First(..) => "first",
            Aggregate::SinceLast => "since_last",
            Aggregate::Duration => "duration",
            Aggregate::IsNew(_) => "is_new",
            Aggregate::ToMean(_) => "to_mean",
            Aggregate::ZScore(_) => "zscore",
            Aggregate::Speed(..) => "speed",
        }
    }

    /// The columns that values are computed of, by their positions in the source.
    #[must_use]
    pub fn columns(&self) -> Vec<usize> {
        match *self {
            Aggregate::Count
            | Aggregate::Rate
            | Aggregate::Share(_)
            | Aggregate::SinceLast
            | Aggregate::Duration => Vec::new(),
            Aggregate::Sum(column)
            | Aggregate::Mean(column)
            | Aggregate::Min(column)
            | Aggregate::Max(column)
            | Aggregate::StdDev(column)
            | Aggregate::Distinct(column)
            | Aggregate::Entropy(column)
            | Aggregate::ShareSame(column)
            | Aggregate::RiskRate(column)
            | Aggregate::Last(column, _)
            | Aggregate::First(column, _)
            | Aggregate::IsNew(column)
            | Aggregate::ToMean(column)
            | Aggregate::ZScore(column) => vec![column],
            Aggregate::Speed(latitude, longitude) => vec![latitude, longitude],
        }
    }

    /// Which of the last or first values it is, from 1.
    #[must_use]
    pub fn nth(&self) -> Option<usize> {
        if let Aggregate::Last(_, nth) | Aggregate::First(_, nth) = *self { Some(nth) } else { None }
    }

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
