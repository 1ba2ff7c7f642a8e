//! `affluent features list`.

use super::{form, unknown};
use crate::cli::Format;
use crate::output::{self, Exit};
use affluent_features::Definitions;
use affluent_features::definition::{Feature, REQUEST};

/// Options of `affluent features list`.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct ListArgs {
    /// Those of this entity: customer, merchant, terminal, …; request for those of the event itself
    #[arg(long, value_name = "ENTITY")]
    entity: Option<String>,
    /// Those computed from this source
    #[arg(long, value_name = "SOURCE")]
    source: Option<String>,
    /// Those that are to be this fresh
    #[arg(long, value_name = "FRESHNESS", value_parser = ["stream", "5m", "1h", "nightly"])]
    freshness: Option<String>,
}

/// Prints the features, a line each.
///
/// # Errors
/// No such entity or source.
pub(super) fn run(args: &ListArgs, definitions: &Definitions, format: Format) -> anyhow::Result<Exit> {
    let features = chosen(args, definitions)?;
    match format {
        Format::Json => {
            let features: Vec<_> =
                features.iter().map(|feature| form::feature_json(definitions, feature)).collect();
            output::print_json(&features)?;
        }
        Format::Text => {
            let row = |feature: &&Feature| {
                vec![
                    feature.name.clone(),
                    feature.entity.clone(),
                    form::sources(definitions, feature),
                    form::aggregate(definitions, feature),
                    form::windows(definitions, feature),
                    feature.freshness.as_str().to_owned(),
                    feature.version.to_string(),
                    feature.owner.clone(),
                ]
            };
            let headers =
                ["feature", "entity", "source", "aggregate", "window", "freshness", "version", "owner"];
            output::print(&output::table(&headers, features.iter().map(row)));
        }
    }
    Ok(Exit::Done)
}

/// Those that are asked for, in the order of their files.
fn chosen<'a>(args: &ListArgs, definitions: &'a Definitions) -> anyhow::Result<Vec<&'a Feature>> {
    if let Some(entity) = &args.entity {
        let of_sources = definitions.sources.values().flat_map(|source| &source.entities);
        let known = of_sources.map(|(entity, _)| entity.as_str()).chain([REQUEST]);
        if !known.clone().any(|known| known == entity) {
            return Err(unknown("entity", entity, known));
        }
    }
    if let Some(source) = args.source.as_ref().filter(|source| !definitions.sources.contains_key(*source)) {
        return Err(unknown("source", source, definitions.sources.keys().map(String::as_str)));
    }
    let is = |wanted: &Option<String>, found: &str| wanted.as_ref().is_none_or(|wanted| wanted == found);
    let asked = |feature: &&Feature| {
        is(&args.entity, &feature.entity)
            && is(&args.freshness, feature.freshness.as_str())
            && args.source.as_deref().is_none_or(|source| definitions.sources_of(feature).contains(&source))
    };
    Ok(definitions.features.iter().filter(asked).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_narrow_and_wrong_names_are_told() {
        let definitions = Definitions::load(None).unwrap();
        let names = |entity: Option<&str>, source: Option<&str>, freshness: Option<&str>| {
            let own = |text: Option<&str>| text.map(str::to_owned);
            let args = ListArgs { entity: own(entity), source: own(source), freshness: own(freshness) };
            let found = chosen(&args, &definitions).map_err(|error| error.to_string())?;
            Ok::<_, String>(found.iter().map(|feature| feature.name.clone()).collect::<Vec<_>>())
        };
        assert_eq!(names(None, None, None).unwrap().len(), definitions.features.len());
        let labels = names(Some("terminal"), Some("fraud_labels"), None).unwrap();
        // A ratio over two sources is found by either.
        assert!(labels.contains(&"terminal_fraud_1d".to_owned()), "{labels:?}");
        assert!(labels.contains(&"terminal_fraud_rate_1d".to_owned()), "{labels:?}");
        assert!(names(Some("request"), None, Some("nightly")).unwrap().is_empty());
        assert!(names(Some("custmer"), None, None).unwrap_err().contains("did you mean customer?"));
        assert!(names(None, Some("transaction"), None).unwrap_err().contains("did you mean transactions?"));
    }
}
