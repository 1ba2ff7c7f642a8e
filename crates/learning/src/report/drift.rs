//! What was found of a model in use, on one page: how far each feature, the score and the outcome have moved, with plots.

use super::chart::bars;
use super::{SHOWN, STYLE, escaped};
use crate::drift::watch::Told;
use crate::drift::{Drift, Level, Watched};
use std::fmt::Write as _;

/// The whole page.
#[must_use]
pub fn html(watched: &Watched) -> String {
    let title = format!("{} version {}: {}", watched.model, watched.version, watched.current.period);
    let mut page = String::new();
    let _ = write!(
        page,
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>{0}</title><style>{STYLE}</style><h1>{0}</h1><p class=\"sub\">Drift: {1}</p>",
        escaped(&title),
        word(watched.level)
    );
    page.push_str(&periods(watched));
    if watched.one_of > 1 {
        let _ = write!(page, "<p class=\"sub\">One of {} rows of late was looked at.</p>", watched.one_of);
    }
    page.push_str("<h2>Plots</h2><div class=\"plots\">");
    for (_, svg) in plots(watched) {
        let _ = write!(page, "<div>{svg}</div>");
    }
    page.push_str("</div>");
    page.push_str(&table("Against the rows it learned from", &watched.since_training));
    if !watched.since_previous.is_empty() {
        page.push_str(&table("Against the period before", &watched.since_previous));
    }
    page.push_str(&streams(watched));
    page.push_str("</html>\n");
    page
}

/// Each plot by its name.
#[must_use]
pub fn plots(watched: &Watched) -> Vec<(&'static str, String)> {
    let thresholds = [watched.options.psi_warn, watched.options.psi_alarm];
    let of = |drifts: &[Drift]| {
        drifts.iter().take(SHOWN).map(|drift| (drift.name.clone(), drift.psi)).collect::<Vec<(String, f64)>>()
    };
    let mut found =
        vec![("drift_training", bars("PSI since the training", &of(&watched.since_training), &thresholds))];
    if !watched.since_previous.is_empty() {
        let svg = bars("PSI since the period before", &of(&watched.since_previous), &thresholds);
        found.push(("drift_previous", svg));
    }
    found
}

fn word(level: Level) -> String {
    let (class, word) = match level {
        Level::Stable => ("ok", "stable"),
        Level::Warn => ("warn", "warning"),
        Level::Alarm => ("bad", "alarm"),
    };
    format!("<span class=\"{class}\">{word}</span>")
}

fn periods(watched: &Watched) -> String {
    let row = |name: &str, told: &Told| {
        let outcome = told.outcome.map_or_else(|| "not known yet".to_owned(), |value| format!("{value:.4}"));
        format!(
            "<tr><td>{name}</td><td>{}</td><td class=\"n\">{}</td><td class=\"n\">{:.4}</td><td class=\"n\">{}</td><td class=\"n\">{outcome}</td></tr>",
            escaped(&told.period.to_string()),
            told.rows,
            told.score,
            told.known
        )
    };
    let mut rows = row("learned from", &watched.training);
    if let Some(previous) = &watched.previous {
        rows += &row("before", previous);
    }
    rows += &row("now", &watched.current);
    let chance = watched.outcome_p.map_or_else(String::new, |p| {
        format!("<p class=\"sub\">By chance the rate of labels differs so much with a probability of {p:.2e} (chi-square).</p>")
    });
    format!(
        "<table><tr><th></th><th>period</th><th class=\"n\">rows</th><th class=\"n\">mean score</th><th class=\"n\">outcomes known</th>\
         <th class=\"n\">their mean</th></tr>{rows}</table>{chance}"
    )
}

fn table(title: &str, drifts: &[Drift]) -> String {
    let rows = drifts.iter().map(|drift| {
        format!(
            "<tr><td>{}</td><td>{}</td><td class=\"n\">{:.4}</td><td class=\"n\">{:.4}</td><td class=\"n\">{:.4}</td><td class=\"n\">{:.4}</td>\
             <td class=\"n\">{:.4}</td><td class=\"n\">{}</td><td class=\"n\">{:.1} % / {:.1} %</td></tr>",
            word(drift.level),
            escaped(&drift.name),
            drift.psi,
            drift.psi_evidently,
            drift.ks,
            drift.jensen_shannon,
            drift.wasserstein,
            drift.chi_square_p.map_or_else(String::new, |p| format!("{p:.2e}")),
            100.0 * drift.missing[0],
            100.0 * drift.missing[1]
        )
    });
    format!(
        "<h2>{title}</h2><table><tr><th></th><th>feature</th><th class=\"n\">PSI</th><th class=\"n\">PSI (evidently)</th><th class=\"n\">KS</th>\
         <th class=\"n\">Jensen-Shannon</th><th class=\"n\">Wasserstein</th><th class=\"n\">chi-square p</th><th class=\"n\">missing then / now</th></tr>{}</table>",
        rows.collect::<String>()
    )
}

fn streams(watched: &Watched) -> String {
    let rows = watched.streams.iter().map(|stream| {
        format!(
            "<tr><td>{}</td><td>{}</td><td class=\"n\">{}</td><td class=\"n\">{:.4}</td><td class=\"n\">{:.4}</td></tr>",
            word(stream.level),
            escaped(&stream.name),
            stream.changes,
            stream.before,
            stream.now
        )
    });
    format!(
        "<h2>Streams (ADWIN)</h2><table><tr><th></th><th></th><th class=\"n\">changes</th><th class=\"n\">mean before</th>\
         <th class=\"n\">mean now</th></tr>{}</table>",
        rows.collect::<String>()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drift::DriftOptions;
    use crate::split::Period;

    #[test]
    fn the_page_names_what_moved_as_text() {
        let told =
            Told { period: Period { from: 0, to: crate::DAY }, rows: 9, known: 0, outcome: None, score: 0.5 };
        let drift = Drift {
            name: "<amount>".to_owned(),
            psi: 0.5,
            psi_evidently: 0.4,
            ks: 0.1,
            jensen_shannon: 0.2,
            wasserstein: 0.3,
            chi_square_p: Some(0.02),
            missing: [0.0, 0.5],
            level: Level::Alarm,
        };
        let mut watched = Watched {
            model: "fraud".to_owned(),
            version: 3,
            options: DriftOptions::default(),
            training: told.clone(),
            previous: None,
            current: told,
            one_of: 4,
            since_training: vec![drift],
            since_previous: Vec::new(),
            outcome_p: None,
            streams: Vec::new(),
            level: Level::Alarm,
        };
        let page = html(&watched);
        assert!(
            page.contains("fraud version 3")
                && page.contains("&lt;amount&gt;")
                && page.contains("not known yet")
        );
        assert!(
            page.contains("One of 4 rows") && page.contains("2.00e-2") && page.contains("PSI (evidently)")
        );
        assert!(!page.contains("<amount>") && !page.contains("Against the period before"));
        assert_eq!(plots(&watched).len(), 1);
        watched.since_previous.clone_from(&watched.since_training);
        assert_eq!(plots(&watched).len(), 2);
        let text = serde_json::to_string(&watched).unwrap();
        assert_eq!(serde_json::from_str::<Watched>(&text).unwrap(), watched);
    }
}
