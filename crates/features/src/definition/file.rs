//! A view file: the features of one entity over one source, as they are written, and their checks.

use super::feature::{Aggregate, Compute, Feature, Freshness, View, Written};
use super::filter::Filter;
use super::source::Source;
use super::window::{Span, Window, parse_duration};
use super::{DefinitionError, REQUEST, keys, versions};
use crate::request::Request;
use serde::Deserialize;
use std::collections::BTreeMap;

#[derive(Deserialize)]
struct RawView {
    entity: String,
    source: String,
    owner: String,
    description: String,
    freshness: Freshness,
    features: Vec<toml::Table>,
}

const VIEW_KEYS: &[&str] = &["entity", "source", "owner", "description", "freshness", "features"];

#[derive(Deserialize)]
struct Raw {
    name: String,
    version: u32,
    description: String,
    owner: Option<String>,
    freshness: Option<Freshness>,
    aggregate: String,
    default: Option<f64>,
    column: Option<String>,
    columns: Option<Vec<String>>,
    filter: Option<String>,
    share: Option<String>,
    window: Option<String>,
    windows: Option<Vec<String>>,
    delay: Option<String>,
    current: Option<Current>,
    n: Option<usize>,
    of: Option<String>,
    to: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Current {
    Include,
    Exclude,
}

/// Keys that every feature may have.
const COMMON: &[&str] = &["name", "version", "description", "owner", "freshness", "aggregate", "default"];
/// Keys of features over a window.
const WINDOWED: &[&str] = &["window", "windows", "filter", "delay", "current"];
/// Each aggregate, and the keys it needs beside those.
const AGGREGATES: &[(&str, &[&str])] = &[
    ("count", &[]),
    ("rate", &[]),
    ("sum", &["column"]),
    ("mean", &["column"]),
    ("min", &["column"]),
    ("max", &["column"]),
    ("stddev", &["column"]),
    ("distinct", &["column"]),
    ("entropy", &["column"]),
    ("share", &["share"]),
    ("share_same", &["column"]),
    ("risk_rate", &["column"]),
    ("last", &["column", "n"]),
    ("first", &["column", "n"]),
    ("since_last", &[]),
    ("duration", &[]),
    ("is_new", &["column"]),
    ("to_mean", &["column"]),
    ("zscore", &["column"]),
    ("speed", &["columns"]),
];
/// How many last or first values a feature may have.
const NTH_MAX: usize = 64;

/// A view and its features: the view's name, its file for messages, and what stands in it.
pub(crate) fn parse_view(
    name: &str,
    file: &str,
    text: &str,
    sources: &BTreeMap<String, Source>,
) -> Result<(View, Vec<Feature>), DefinitionError> {
    let wrong = |message: String| DefinitionError::file(file, message);
    let table: toml::Table = text.parse().map_err(|e: toml::de::Error| wrong(e.to_string()))?;
    if let Some(message) = keys::unknown(&table, VIEW_KEYS) {
        return Err(wrong(message));
    }
    let RawView { entity, source, owner, description, freshness, features: written } =
        table.try_into().map_err(|e: toml::de::Error| wrong(e.message().to_owned()))?;
    let view = View { entity, source, owner, freshness, description, file: file.to_owned() };
    let source = sources.get(&view.source).ok_or_else(|| {
        let near = keys::nearest(&view.source, sources.keys().map(String::as_str));
        wrong(format!("there is no source {}{near}", view.source))
    })?;
    if view.entity != REQUEST && source.entity(&view.entity).is_none() {
        let known = source.entities.iter().map(|(entity, _)| entity.as_str()).chain([REQUEST]);
        let near = keys::nearest(&view.entity, known);
        return Err(wrong(format!("source {} has no entity {}{near}", source.name, view.entity)));
    }
    let mut features = Vec::new();
    for (nth, table) in written.into_iter().enumerate() {
        let feature = table
            .get("name")
            .and_then(|n| n.as_str())
            .map_or_else(|| format!("feature {}", nth + 1), str::to_owned);
        let built = Builder { name, view: &view, source }.features(table);
        features.extend(built.map_err(|message| wrong(format!("{feature}: {message}")))?);
    }
    Ok((view, features))
}

struct Builder<'a> {
    /// Of the view.
    name: &'a str,
    view: &'a View,
    source: &'a Source,
}

impl Builder<'_> {
    /// One feature as written: several where it has several windows or values.
    fn features(&self, table: toml::Table) -> Result<Vec<Feature>, String> {
        let every: Vec<&str> = [COMMON, WINDOWED, &["column", "columns", "share", "n", "of", "to"]].concat();
        if let Some(message) = keys::unknown(&table, &every) {
            return Err(message);
        }
        let raw: Raw = table.clone().try_into().map_err(|e: toml::de::Error| e.message().to_owned())?;
        if !keys::is_name(&raw.name) {
            return Err("a name is lower case words joined by _".to_owned());
        }
        if raw.version == 0 {
            return Err("versions begin with 1".to_owned());
        }
        if raw.default.is_some_and(|value| !value.is_finite()) {
            return Err("default: expected a finite number".to_owned());
        }
        if self.view.entity == REQUEST {
            only(&table, &[COMMON, &["column", "columns"]].concat(), &raw.aggregate)?;
            let columns =
                self.columns(raw.column.as_ref().into_iter().chain(raw.columns.iter().flatten()))?;
            let request = Request::checked(&raw.aggregate, &columns)?;
            let compute = Compute::Request { source: self.source.name.clone(), request };
            return Ok(vec![self.feature(&raw, raw.name.clone(), compute)]);
        }
        if raw.aggregate == "ratio" {
            only(&table, &[COMMON, &["of", "to"]].concat(), "ratio")?;
            let (Some(of), Some(to)) = (raw.of.clone(), raw.to.clone()) else {
                return Err("ratio needs of and to".to_owned());
            };
            return Ok(vec![self.feature(&raw, raw.name.clone(), Compute::Ratio { of, to })]);
        }
        let Some((name, needs)) = AGGREGATES.iter().find(|(name, _)| *name == raw.aggregate) else {
            let known = AGGREGATES.iter().map(|(name, _)| *name).chain(["ratio"]);
            return Err(format!(
                "unknown aggregate {}{}",
                raw.aggregate,
                keys::nearest(&raw.aggregate, known)
            ));
        };
        only(&table, &[COMMON, WINDOWED, needs].concat(), name)?;
        if let Some(missing) = needs.iter().find(|key| **key != "n" && !table.contains_key(**key)) {
            return Err(format!("{name} needs {missing}"));
        }
        let spans: Vec<(&str, bool)> = match (&raw.window, &raw.windows) {
            (Some(window), None) => vec![(window.as_str(), false)],
            (None, Some(windows)) if !windows.is_empty() => {
                windows.iter().map(|w| (w.as_str(), true)).collect()
            }
            _ => return Err("expected window = \"7d\", or windows = [\"1h\", \"7d\"]".to_owned()),
        };
        let mut features = Vec::new();
        for (text, suffixed) in spans {
            let span = Span::parse(text)?;
            for nth in 1..=raw.n.unwrap_or(1) {
                let aggregate = self.aggregate(&raw, nth)?;
                let mut name = raw.name.clone();
                if suffixed {
                    name = format!("{name}_{}", text.replace(' ', "_"));
                }
                if raw.n.is_some() {
                    name = format!("{name}_{nth}");
                }
                let window = self.window(&raw, span, &aggregate)?;
                let filter = raw.filter.as_deref().map(|f| Filter::parse(f, self.source)).transpose();
                let filter = filter.map_err(|m| format!("filter: {m}"))?.unwrap_or(Filter::All);
                let source = self.source.name.clone();
                features.push(self.feature(
                    &raw,
                    name,
                    Compute::Window { source, filter, window, aggregate },
                ));
            }
        }
        Ok(features)
    }

    fn window(&self, raw: &Raw, span: Span, aggregate: &Aggregate) -> Result<Window, String> {
        let delay = raw.delay.as_deref().map_or(Ok(0), parse_duration).map_err(|m| format!("delay: {m}"))?;
        let compares = aggregate.compares_current();
        if compares && raw.current == Some(Current::Include) {
            return Err(
                "it compares the current event with those before: current cannot be \"include\"".to_owned()
            );
        }
        if delay > 0 && raw.current.is_some() {
            return Err("a delayed window never holds the current event: leave out current".to_owned());
        }
        let current = delay == 0 && !compares && raw.current != Some(Current::Exclude);
        if matches!(span, Span::Session(_)) && delay > 0 {
            return Err("a session has no delay".to_owned());
        }
        if matches!(aggregate, Aggregate::RiskRate(_)) && delay == 0 {
            return Err("risk_rate needs delay: how long after an event its label is known".to_owned());
        }
        let window = Window { span, delay, current };
        if matches!(aggregate, Aggregate::Rate) && window.hours().is_none() {
            return Err("rate needs a window of a fixed length".to_owned());
        }
        Ok(window)
    }

    fn aggregate(&self, raw: &Raw, nth: usize) -> Result<Aggregate, String> {
        let any = || {
            let name = raw.column.as_deref().ok_or("it needs column")?;
            self.source.column(name).map(|(index, _)| index)
        };
        let number = || {
            let name = raw.column.as_deref().ok_or("it needs column")?;
            let (index, kind) = self.source.column(name)?;
            if kind.is_number() { Ok(index) } else { Err(format!("column {name} is no number")) }
        };
        // Truth counts as 1 and 0.
        let value = || {
            let name = raw.column.as_deref().ok_or("it needs column")?;
            let (index, kind) = self.source.column(name)?;
            if kind == super::ColumnType::Text { Err(format!("column {name} is text")) } else { Ok(index) }
        };
        if raw.n.is_some_and(|n| n == 0 || n > NTH_MAX) {
            return Err(format!("n: expected 1 to {NTH_MAX}"));
        }
        Ok(match raw.aggregate.as_str() {
            "count" => Aggregate::Count,
            "rate" => Aggregate::Rate,
            "sum" => Aggregate::Sum(number()?),
            "mean" => Aggregate::Mean(number()?),
            "min" => Aggregate::Min(number()?),
            "max" => Aggregate::Max(number()?),
            "stddev" => Aggregate::StdDev(number()?),
            "distinct" => Aggregate::Distinct(any()?),
            "entropy" => Aggregate::Entropy(any()?),
            "share_same" => Aggregate::ShareSame(any()?),
            "is_new" => Aggregate::IsNew(any()?),
            "to_mean" => Aggregate::ToMean(number()?),
            "zscore" => Aggregate::ZScore(number()?),
            "last" => Aggregate::Last(value()?, nth),
            "first" => Aggregate::First(value()?, nth),
            "since_last" => Aggregate::SinceLast,
            "duration" => Aggregate::Duration,
            "share" => {
                let text = raw.share.as_deref().ok_or("share needs share, a condition")?;
                Aggregate::Share(Filter::parse(text, self.source).map_err(|m| format!("share: {m}"))?)
            }
            "risk_rate" => match self.source.column(raw.column.as_deref().ok_or("it needs column")?)? {
                (index, super::ColumnType::Bool) => Aggregate::RiskRate(index),
                _ => return Err("risk_rate needs a column of type bool".to_owned()),
            },
            "speed" => match self.columns(raw.columns.iter().flatten())?.as_slice() {
                [(lat, super::ColumnType::Degrees), (lon, super::ColumnType::Degrees)] => {
                    Aggregate::Speed(*lat, *lon)
                }
                _ => return Err("speed needs columns = [latitude, longitude] of type degrees".to_owned()),
            },
            other => return Err(format!("unknown aggregate {other}")),
        })
    }

    fn columns<'a>(
        &self,
        names: impl Iterator<Item = &'a String>,
    ) -> Result<Vec<(usize, super::ColumnType)>, String> {
        names.map(|name| self.source.column(name)).collect()
    }

    fn feature(&self, raw: &Raw, name: String, compute: Compute) -> Feature {
        let mut feature = Feature {
            name,
            entity: self.view.entity.clone(),
            version: raw.version,
            digest: String::new(),
            owner: raw.owner.clone().unwrap_or_else(|| self.view.owner.clone()),
            description: raw.description.clone(),
            freshness: raw.freshness.unwrap_or(self.view.freshness),
            default: raw.default,
            compute,
            written: Written { filter: raw.filter.clone(), share: raw.share.clone() },
            view: self.name.to_owned(),
            file: self.view.file.clone(),
        };
        feature.digest = versions::digest(&feature, self.source);
        feature
    }
}

/// Keys that have no meaning here are errors, not ignored.
fn only(table: &toml::Table, allowed: &[&str], aggregate: &str) -> Result<(), String> {
    match table.keys().find(|key| !allowed.contains(&key.as_str())) {
        None => Ok(()),
        Some(key) => Err(format!("{aggregate} has no {key}")),
    }
}
