//! How a definition is shown: the few words of a line, and the same as JSON.

use affluent_features::Definitions;
use affluent_features::definition::{Compute, Feature, Source, Window, duration_text};
use affluent_features::plan::Kept;
use serde_json::{Value as Json, json};

/// `mean(amount)`, `last(amount, 2)`, `share`, `ratio`.
pub(crate) fn aggregate(definitions: &Definitions, feature: &Feature) -> String {
    let mut parts = columns(definitions, feature);
    parts.extend(nth(feature).map(|nth| nth.to_string()));
    let name = feature.compute.name();
    if parts.is_empty() { name.to_owned() } else { format!("{name}({})", parts.join(", ")) }
}

/// `7d`, `7d until 7d ago`, `session 30m`; of a ratio that of each part; nothing for the event itself.
pub(crate) fn windows(definitions: &Definitions, feature: &Feature) -> String {
    match &feature.compute {
        Compute::Window { window, .. } => window_text(window),
        Compute::Ratio { of, to } => {
            let parts = [of, to].into_iter().filter_map(|part| definitions.feature(part));
            let mut windows: Vec<String> = parts.map(|part| windows(definitions, part)).collect();
            windows.dedup();
            windows.join(" / ")
        }
        Compute::Request { .. } => String::new(),
    }
}

fn window_text(window: &Window) -> String {
    match window.delay {
        0 => window.span.to_string(),
        delay => format!("{} until {} ago", window.span, duration_text(delay)),
    }
}

/// `fraud_labels / transactions` for a ratio over two sources.
pub(crate) fn sources(definitions: &Definitions, feature: &Feature) -> String {
    definitions.sources_of(feature).join(" / ")
}

/// Columns that its values are computed of.
pub(super) fn columns(definitions: &Definitions, feature: &Feature) -> Vec<String> {
    named(definitions, feature, feature.compute.columns())
}

/// Every column that it reads, those of conditions too.
pub(super) fn reads(definitions: &Definitions, feature: &Feature) -> Vec<String> {
    named(definitions, feature, feature.compute.reads())
}

fn named(definitions: &Definitions, feature: &Feature, columns: Vec<usize>) -> Vec<String> {
    let source: Option<&Source> = match &feature.compute {
        Compute::Window { source, .. } | Compute::Request { source, .. } => definitions.sources.get(source),
        Compute::Ratio { .. } => None,
    };
    let name = |column: usize| source.map(|source| source.columns[column].name.clone());
    columns.into_iter().filter_map(name).collect()
}

fn nth(feature: &Feature) -> Option<usize> {
    match &feature.compute {
        Compute::Window { aggregate, .. } => aggregate.nth(),
        Compute::Ratio { .. } | Compute::Request { .. } => None,
    }
}

/// What a definition says, key by key; what it does not say is null.
pub(crate) fn feature_json(definitions: &Definitions, feature: &Feature) -> Json {
    let window = match &feature.compute {
        Compute::Window { window, .. } => json!({
            "span": window.span.to_string(),
            "delay": duration_text(window.delay),
            "current": window.current,
        }),
        Compute::Ratio { .. } | Compute::Request { .. } => Json::Null,
    };
    let (of, to) = match &feature.compute {
        Compute::Ratio { of, to } => (Some(of), Some(to)),
        Compute::Window { .. } | Compute::Request { .. } => (None, None),
    };
    json!({
        "name": feature.name,
        "description": feature.description,
        "entity": feature.entity,
        "sources": definitions.sources_of(feature),
        "aggregate": feature.compute.name(),
        "columns": columns(definitions, feature),
        "n": nth(feature),
        "share": feature.written.share,
        "of": of,
        "to": to,
        "window": window,
        "filter": feature.written.filter,
        "default": feature.default,
        "freshness": feature.freshness.as_str(),
        "version": feature.version,
        "digest": feature.digest,
        "owner": feature.owner,
        "view": feature.view,
        "file": feature.file,
    })
}

/// `customer over transactions: amount; 30d and 1h for late events, 32 bytes an event`.
pub(super) fn kept_text(kept: &Kept) -> String {
    let columns = if kept.columns.is_empty() { "no column".to_owned() } else { kept.columns.join(", ") };
    let (window, lateness) = (duration_text(kept.window), duration_text(kept.lateness));
    let bytes = kept.event_bytes;
    format!(
        "{} over {}: {columns}; {window} and {lateness} for late events, {bytes} bytes an event",
        kept.entity, kept.source
    )
}

/// The same for machines; lengths in seconds.
pub(super) fn kept_json(kept: &Kept) -> Json {
    json!({
        "entity": kept.entity,
        "source": kept.source,
        "columns": kept.columns,
        "window_s": kept.window / 1_000_000,
        "lateness_s": kept.lateness / 1_000_000,
        "event_bytes": kept.event_bytes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use affluent_features::Plan;

    #[test]
    fn a_line_says_what_is_computed_over_what() {
        let definitions = Definitions::load(None).unwrap();
        for (name, says) in [
            ("customer_payments_7d", ("count", "7d", "transactions")),
            ("customer_amount_mean_30d", ("mean(amount)", "30d", "transactions")),
            ("customer_payments_today", ("count", "day", "transactions")),
            ("visitor_session_clicks", ("count", "session 30m", "clickstream")),
            ("customer_velocity", ("ratio", "1h / 1d", "transactions")),
            ("card_terminal_fraud_rate_30d", ("risk_rate(fraud)", "30d until 7d ago", "card_transactions")),
            ("terminal_fraud_rate_1d", ("ratio", "1d until 7d ago", "fraud_labels / transactions")),
            ("payment_amount", ("value(amount)", "", "transactions")),
        ] {
            let feature = definitions.feature(name).unwrap();
            let shown = (
                aggregate(&definitions, feature),
                windows(&definitions, feature),
                sources(&definitions, feature),
            );
            assert_eq!((shown.0.as_str(), shown.1.as_str(), shown.2.as_str()), says, "{name}");
        }
    }

    #[test]
    fn json_has_the_same_keys_for_every_kind() {
        let definitions = Definitions::load(None).unwrap();
        let keys = |name: &str| {
            let json = feature_json(&definitions, definitions.feature(name).unwrap());
            json.as_object().unwrap().keys().cloned().collect::<Vec<_>>()
        };
        assert_eq!(keys("customer_velocity"), keys("payment_amount"));
        assert_eq!(keys("customer_velocity"), keys("customer_payments_7d"));
        let of = feature_json(&definitions, definitions.feature("card_terminal_fraud_rate_1d").unwrap());
        assert_eq!(of["window"], json!({"span": "1d", "delay": "7d", "current": false}));
    }

    #[test]
    fn what_is_kept_is_said_in_a_line() {
        let definitions =
            Definitions::load(None).unwrap().select(&["card_customer_amount_mean_30d"]).unwrap();
        let kept = Plan::new(&definitions).unwrap().kept();
        assert_eq!(
            kept_text(&kept[0]),
            "card_customer over card_transactions: amount; 30d and 1h for late events, 32 bytes an event"
        );
        assert_eq!(kept_json(&kept[0])["window_s"], 30 * 86_400);
    }
}
