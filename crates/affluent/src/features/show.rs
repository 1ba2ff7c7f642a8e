//! `affluent features show`: a feature, a view or a source, what it is made of, and what it costs to keep.

use super::{form, refused, unknown};
use crate::cli::Format;
use crate::output::{self, Exit};
use affluent_features::definition::{Compute, Feature, Source, View, duration_text};
use affluent_features::plan::Kept;
use affluent_features::{Definitions, Plan};
use serde_json::{Map, Value as Json, json};
use std::collections::BTreeSet;

/// Options of `affluent features show`.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct ShowArgs {
    /// A feature, a view (its file without .toml) or a source; `affluent features list` names them
    name: String,
}

/// Prints everything of this name.
///
/// # Errors
/// There is no such feature, view or source.
pub(super) fn run(args: &ShowArgs, definitions: &Definitions, format: Format) -> anyhow::Result<Exit> {
    let name = args.name.as_str();
    let (feature, view, source) =
        (definitions.feature(name), definitions.views.get(name), definitions.sources.get(name));
    if feature.is_none() && view.is_none() && source.is_none() {
        let features = definitions.features.iter().map(|feature| &feature.name);
        let known = features.chain(definitions.views.keys()).chain(definitions.sources.keys());
        return Err(unknown("feature, view or source", name, known.map(String::as_str)));
    }
    let (mut text, mut json) = (Vec::new(), Map::new());
    if let Some(feature) = feature {
        let kept = kept(definitions, &[feature])?;
        text.push(feature_text(definitions, feature, &kept));
        json.insert("feature".to_owned(), feature_json(definitions, feature, &kept));
    }
    if let Some(view) = view {
        let features: Vec<&Feature> =
            definitions.features.iter().filter(|feature| feature.view == name).collect();
        let kept = kept(definitions, &features)?;
        text.push(view_text(definitions, (name, view), &features, &kept));
        json.insert("view".to_owned(), view_json(definitions, (name, view), &features, &kept));
    }
    if let Some(source) = source {
        let features: Vec<&Feature> = definitions
            .features
            .iter()
            .filter(|feature| definitions.sources_of(feature).contains(&name))
            .collect();
        let mut kept = kept(definitions, &features)?;
        kept.retain(|kept| kept.source == name);
        text.push(source_text(source, &features, &kept));
        json.insert("source".to_owned(), source_json(source, &features, &kept));
    }
    match format {
        Format::Text => output::print(&text.join("\n")),
        Format::Json => output::print_json(&json)?,
    }
    Ok(Exit::Done)
}

/// What these features keep, the parts of ratios included.
fn kept(definitions: &Definitions, features: &[&Feature]) -> anyhow::Result<Vec<Kept>> {
    let names: Vec<&str> = features.iter().map(|feature| feature.name.as_str()).collect();
    let selected = definitions.select(&names).map_err(refused)?;
    Ok(Plan::new(&selected).map_err(refused)?.kept())
}

/// The features that a feature is made of.
fn parts(feature: &Feature) -> Vec<&str> {
    match &feature.compute {
        Compute::Ratio { of, to } => vec![of, to],
        Compute::Window { .. } | Compute::Request { .. } => Vec::new(),
    }
}

/// The features that are made of a feature.
fn made_of<'a>(definitions: &'a Definitions, feature: &Feature) -> Vec<&'a str> {
    let ratios = definitions.features.iter().filter(|ratio| parts(ratio).contains(&feature.name.as_str()));
    ratios.map(|ratio| ratio.name.as_str()).collect()
}

/// Source and column of everything that these features read, with the parts of ratios.
fn reads(definitions: &Definitions, features: &[&Feature]) -> BTreeSet<(String, String)> {
    let parts =
        features.iter().flat_map(|feature| parts(feature)).filter_map(|part| definitions.feature(part));
    let every = features.iter().copied().chain(parts);
    every
        .flat_map(|feature| {
            let source = form::sources(definitions, feature);
            form::reads(definitions, feature).into_iter().map(move |column| (source.clone(), column))
        })
        .collect()
}

fn reads_text(reads: &BTreeSet<(String, String)>) -> String {
    let columns: Vec<String> = reads.iter().map(|(source, column)| format!("{source}.{column}")).collect();
    if columns.is_empty() { "no column: only time and key".to_owned() } else { columns.join(", ") }
}

fn reads_json(reads: &BTreeSet<(String, String)>) -> Json {
    reads.iter().map(|(source, column)| json!({"source": source, "column": column})).collect()
}

/// Name and value, a line each, however the author broke them; what is empty is left out.
fn lines(title: (&str, &str), rows: Vec<(&str, String)>) -> String {
    let rows = rows.into_iter().filter(|(_, value)| !value.trim().is_empty());
    output::table(&[title.0, title.1], rows.map(|(name, value)| vec![name.to_owned(), one_line(&value)]))
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A line for each thing kept, the first with a title.
fn kept_rows(kept: &[Kept]) -> Vec<(&'static str, String)> {
    let title = |nth: usize| if nth == 0 { "keeps" } else { "" };
    kept.iter().enumerate().map(|(nth, kept)| (title(nth), form::kept_text(kept))).collect()
}

fn feature_text(definitions: &Definitions, feature: &Feature, kept: &[Kept]) -> String {
    let window = match &feature.compute {
        Compute::Window { window, .. } if !window.current && window.delay == 0 => {
            format!("{}, without the current event", form::windows(definitions, feature))
        }
        Compute::Window { .. } | Compute::Ratio { .. } | Compute::Request { .. } => {
            form::windows(definitions, feature)
        }
    };
    let default = feature.default.map_or_else(|| "none (NaN)".to_owned(), |default| default.to_string());
    let mut rows = vec![
        ("description", feature.description.clone()),
        ("entity", feature.entity.clone()),
        ("source", form::sources(definitions, feature)),
        ("aggregate", form::aggregate(definitions, feature)),
        ("share", feature.written.share.clone().unwrap_or_default()),
        ("of / to", parts(feature).join(" / ")),
        ("window", window),
        ("filter", feature.written.filter.clone().unwrap_or_default()),
        ("default", default),
        ("freshness", feature.freshness.as_str().to_owned()),
        ("version", format!("{} ({})", feature.version, feature.digest)),
        ("owner", feature.owner.clone()),
        ("view", format!("{}, {}", feature.view, feature.file)),
        ("used by", made_of(definitions, feature).join(", ")),
        ("reads", reads_text(&reads(definitions, &[feature]))),
    ];
    rows.extend(kept_rows(kept));
    lines(("feature", &feature.name), rows)
}

fn feature_json(definitions: &Definitions, feature: &Feature, kept: &[Kept]) -> Json {
    let mut json = form::feature_json(definitions, feature);
    if let Json::Object(json) = &mut json {
        json.insert("depends_on".to_owned(), json!(parts(feature)));
        json.insert("used_by".to_owned(), json!(made_of(definitions, feature)));
        json.insert("reads".to_owned(), reads_json(&reads(definitions, &[feature])));
        json.insert("keeps".to_owned(), kept.iter().map(form::kept_json).collect());
    }
    json
}

fn view_text(definitions: &Definitions, of: (&str, &View), features: &[&Feature], kept: &[Kept]) -> String {
    let (name, view) = of;
    let mut rows = vec![
        ("description", view.description.clone()),
        ("entity", view.entity.clone()),
        ("source", view.source.clone()),
        ("freshness", view.freshness.as_str().to_owned()),
        ("owner", view.owner.clone()),
        ("file", view.file.clone()),
        ("reads", reads_text(&reads(definitions, features))),
    ];
    rows.extend(kept_rows(kept));
    let row = |feature: &&Feature| {
        let (aggregate, window) =
            (form::aggregate(definitions, feature), form::windows(definitions, feature));
        vec![feature.name.clone(), aggregate, window, feature.description.clone()]
    };
    let table = output::table(&["feature", "aggregate", "window", ""], features.iter().map(row));
    format!("{}\n{table}", lines(("view", name), rows))
}

fn view_json(definitions: &Definitions, of: (&str, &View), features: &[&Feature], kept: &[Kept]) -> Json {
    let (name, view) = of;
    json!({
        "name": name,
        "description": view.description,
        "entity": view.entity,
        "source": view.source,
        "freshness": view.freshness.as_str(),
        "owner": view.owner,
        "file": view.file,
        "features": names(features),
        "reads": reads_json(&reads(definitions, features)),
        "keeps": kept.iter().map(form::kept_json).collect::<Json>(),
    })
}

fn source_text(source: &Source, features: &[&Feature], kept: &[Kept]) -> String {
    let entities = source.entities.iter().map(|(entity, column)| format!("{entity} by {column}"));
    let columns = source.columns.iter().map(|column| format!("{} {}", column.name, column.kind.to_text()));
    let derived = source.derived.iter().map(|(name, derived)| format!("{name} = {derived}"));
    let corrections = if source.corrections { "a higher version of an event replaces it" } else { "" };
    let mut rows = vec![
        ("description", source.description.clone()),
        ("event time", source.event_time.clone()),
        ("arrival time", source.arrival_time.clone()),
        ("id", source.id.clone()),
        ("lateness", duration_text(source.lateness)),
        ("corrections", corrections.to_owned()),
        ("topic", source.topic.clone().unwrap_or_default()),
        ("entities", entities.collect::<Vec<_>>().join(", ")),
        ("columns", columns.collect::<Vec<_>>().join(", ")),
        ("derived", derived.collect::<Vec<_>>().join(", ")),
        ("not in the topic", source.lake_columns.join(", ")),
        ("file", source.file.clone()),
        ("features", features.len().to_string()),
    ];
    rows.extend(kept_rows(kept));
    let query = source.query.as_ref().map(|query| format!("\n{}\n", query.trim())).unwrap_or_default();
    lines(("source", &source.name), rows) + &query
}

fn source_json(source: &Source, features: &[&Feature], kept: &[Kept]) -> Json {
    let entity = |(entity, column): &(String, String)| (entity.clone(), json!(column));
    let columns = source.columns.iter().map(|column| (column.name.clone(), json!(column.kind.to_text())));
    let derived = source.derived.iter().map(|(name, derived)| (name.clone(), json!(derived.to_string())));
    json!({
        "name": source.name,
        "description": source.description,
        "event_time": source.event_time,
        "arrival_time": source.arrival_time,
        "id": source.id,
        "lateness_s": source.lateness / 1_000_000,
        "corrections": source.corrections,
        "topic": source.topic,
        "query": source.query,
        "entities": source.entities.iter().map(entity).collect::<Map<_, _>>(),
        "columns": columns.collect::<Map<_, _>>(),
        "derived": derived.collect::<Map<_, _>>(),
        "lake_columns": source.lake_columns,
        "file": source.file,
        "features": names(features),
        "keeps": kept.iter().map(form::kept_json).collect::<Json>(),
    })
}

fn names(features: &[&Feature]) -> Vec<String> {
    features.iter().map(|feature| feature.name.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The shown value of a line.
    fn line<'a>(text: &'a str, name: &str) -> Option<&'a str> {
        text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim)
    }

    #[test]
    fn a_ratio_shows_its_parts_and_what_both_keep() {
        let definitions = Definitions::load(None).unwrap();
        let feature = definitions.feature("terminal_fraud_rate_1d").unwrap();
        let kept = kept(&definitions, &[feature]).unwrap();
        let text = feature_text(&definitions, feature, &kept);
        assert_eq!(
            line(&text, "of / to"),
            Some("terminal_fraud_1d / terminal_payments_delayed_1d"),
            "{text}"
        );
        assert_eq!(kept.len(), 2, "of the labels and of the payments: {text}");
        assert_eq!(line(&text, "filter"), None, "what is not said is left out: {text}");
        let part = definitions.feature("terminal_fraud_1d").unwrap();
        assert_eq!(made_of(&definitions, part), ["terminal_fraud_rate_1d"]);
    }

    #[test]
    fn a_feature_reads_the_columns_of_its_conditions_too() {
        let definitions = Definitions::load(None).unwrap();
        for feature in &definitions.features {
            if let Some(filter) = &feature.written.filter {
                let reads = reads_text(&reads(&definitions, &[feature]));
                let column = filter.trim_start_matches("not ").trim_start_matches('(');
                let column = column.split(' ').next().unwrap();
                let clock = ["hour", "weekday"].contains(&column);
                assert!(
                    clock || reads.contains(&format!(".{column}")),
                    "{}: {filter}: {reads}",
                    feature.name
                );
            }
        }
        let count = definitions.feature("card_customer_payments_1d").unwrap();
        assert_eq!(reads_text(&reads(&definitions, &[count])), "no column: only time and key");
    }

    #[test]
    fn views_and_sources_name_their_features() {
        let definitions = Definitions::load(None).unwrap();
        let view = &definitions.views["card_customers"];
        let features: Vec<&Feature> =
            definitions.features.iter().filter(|feature| feature.view == "card_customers").collect();
        let kept = kept(&definitions, &features).unwrap();
        let text = view_text(&definitions, ("card_customers", view), &features, &kept);
        let mean = line(&text, "card_customer_amount_mean_7d").unwrap();
        let cells: Vec<&str> = mean.split_whitespace().take(2).collect();
        assert_eq!(cells, ["mean(amount)", "7d"], "{text}");
        assert_eq!(line(&text, "reads"), Some("card_transactions.amount, card_transactions.fraud"), "{text}");
        let source = &definitions.sources["card_transactions"];
        let json = source_json(source, &features, &kept);
        assert_eq!(json["columns"]["amount"], "money");
        assert_eq!(json["entities"]["card_customer"], "customer_id");
        assert_eq!(json["keeps"][0]["columns"], json!(["amount"]));
    }
}
