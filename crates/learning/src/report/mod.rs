//! A model on one page: figures, gates and plots in a single HTML file that needs nothing else, and each plot as SVG of its own.
//!
//! Invariant: whatever a name or a note says, it is shown as text.

mod chart;
pub mod drift;
pub mod value;

use crate::dataset::Manifest;
use crate::drift::{Drift, Level};
use crate::evaluate::{Evaluation, Segment};
use crate::gate::Gate;
use crate::train::choice::Tried;
use crate::train::{Choice, Report};
use chart::{Chart, bars};
use std::fmt::Write as _;

const STYLE: &str = "\
body{font:15px/1.5 system-ui,sans-serif;color:#1c2430;max-width:1040px;margin:32px auto;padding:0 20px}\
h1{font-size:26px;margin:0}h2{font-size:18px;margin:36px 0 8px}p.sub{color:#5b6675;margin:4px 0 24px}\
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}\
th,td{text-align:left;padding:5px 10px;border-bottom:1px solid #e3e7ec}th{color:#5b6675;font-weight:600}\
td.n,th.n{text-align:right}.cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(170px,1fr));gap:12px}\
.card{border:1px solid #e3e7ec;border-radius:8px;padding:12px 14px}.card b{display:block;font-size:24px}\
.card span{color:#5b6675;font-size:13px}.plots{display:grid;grid-template-columns:1fr 1fr;gap:20px}\
.ok{color:#12734a}.warn{color:#9a6700}.bad{color:#b3261e}svg{width:100%;height:auto}\
@media(max-width:760px){.plots{grid-template-columns:1fr}}";

/// Features that the plots of importance and drift show.
const SHOWN: usize = 20;

/// The whole page.
#[must_use]
pub fn html(report: &Report) -> String {
    let mut page = opened(&format!("{}: {}", report.model, report.protocol.test));
    let _ = write!(
        page,
        "<p class=\"sub\">Learned from {} ({} rows, {} labelled), labels known after {} days; judged on {} rows, {} labelled; {} \
         rows of cards known before were left out. {} trees, {:.0} s.</p>",
        report.protocol.train,
        report.train_rows,
        report.train_positives,
        report.protocol.delay / crate::DAY,
        report.evaluation.rows,
        report.evaluation.positives,
        report.known_left_out,
        report.trees,
        report.seconds
    );
    page.push_str(&cards(report));
    for note in &report.notes {
        let _ = write!(page, "<p class=\"warn\">{}</p>", escaped(note));
    }
    page.push_str("<h2>Plots</h2><div class=\"plots\">");
    for (_, svg) in plots(report) {
        let _ = write!(page, "<div>{svg}</div>");
    }
    page.push_str("</div>");
    page.push_str(&gates(&report.gates));
    page.push_str(&folds(report));
    page.push_str(&choice(report.choice.as_ref()));
    page.push_str(&segments(&report.evaluation, &report.baseline));
    page.push_str(&drift(&report.drift));
    page.push_str(&dataset(&report.manifest));
    page.push_str("</html>\n");
    page
}

/// The page up to its title.
fn opened(title: &str) -> String {
    format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>{0}</title><style>{STYLE}</style><h1>{0}</h1>",
        escaped(title)
    )
}

/// Each plot by its name.
#[must_use]
pub fn plots(report: &Report) -> Vec<(&'static str, String)> {
    let (model, base) = (&report.evaluation, &report.baseline);
    let pairs = |of: &Evaluation, point: fn(&crate::evaluate::Point) -> (f64, f64)| {
        of.curve.iter().map(point).collect::<Vec<(f64, f64)>>()
    };
    let two = |title: &str, x: &str, y: &str, point: fn(&crate::evaluate::Point) -> (f64, f64)| {
        Chart::new(title, x, y).line("model", "#1858c6", &pairs(model, point)).line(
            "logistic regression",
            "#b06a00",
            &pairs(base, point),
        )
    };
    let precision = two("Precision and recall", "recall", "precision", |p| (p.recall, p.precision));
    let roc = two("ROC", "false alarms", "recall", |p| (p.false_alarms, p.recall)).diagonal();
    let said: Vec<(f64, f64)> = model.reliability.iter().map(|bin| (bin.said, bin.happened)).collect();
    let calibration = Chart::new("Calibration", "probability said", "part that happened").diagonal().dots(
        "twentieths of the rows",
        "#1858c6",
        &said,
    );
    let important: Vec<(String, f64)> = report.importance.iter().take(SHOWN).cloned().collect();
    let drifted: Vec<(String, f64)> =
        report.drift.iter().take(SHOWN).map(|drift| (drift.name.clone(), drift.psi)).collect();
    let options = &report.options.drift;
    vec![
        ("precision_recall", precision.svg()),
        ("roc", roc.svg()),
        ("calibration", calibration.svg()),
        ("importance", bars("Importance (part of the gain)", &important, &[])),
        (
            "drift",
            bars("Drift since the training period (PSI)", &drifted, &[options.psi_warn, options.psi_alarm]),
        ),
    ]
}

fn cards(report: &Report) -> String {
    let (model, base, intervals) = (&report.evaluation, &report.baseline, &report.intervals);
    let between = |i: crate::evaluate::Interval| format!("{:.3} to {:.3}", i.low, i.high);
    let money = |minor: f64| format!("{:.0}", minor / 100.0);
    let mut text = String::from("<div class=\"cards\">");
    for (name, value, detail) in [
        (
            "area under ROC",
            format!("{:.3}", model.auc_roc),
            format!("{} · baseline {:.3}", between(intervals.auc_roc), base.auc_roc),
        ),
        (
            "average precision",
            format!("{:.3}", model.average_precision),
            format!("{} · baseline {:.3}", between(intervals.average_precision), base.average_precision),
        ),
        (
            "Card Precision@100",
            format!("{:.3}", model.card_precision_at_100),
            format!("baseline {:.3}", base.card_precision_at_100),
        ),
        (
            "money saved",
            money(model.decisions.saved),
            format!("of {} · baseline {}", money(model.decisions.saved_at_most), money(base.decisions.saved)),
        ),
        (
            "fraud found",
            format!("{:.0} %", 100.0 * model.decisions.recall),
            format!(
                "{:.0} alerts a day, {:.0} % right",
                model.decisions.alerts_per_day,
                100.0 * model.decisions.precision
            ),
        ),
        (
            "mean over folds",
            format!("{:.3}", report.prequential.average_precision),
            format!("average precision of {} folds", report.prequential.folds),
        ),
    ] {
        let _ =
            write!(text, "<div class=\"card\"><span>{name}</span><b>{value}</b><span>{detail}</span></div>");
    }
    text + "</div>"
}

fn gates(gates: &[Gate]) -> String {
    let rows = gates.iter().map(|gate| {
        let (class, word) = if gate.passed { ("ok", "passed") } else { ("bad", "failed") };
        format!(
            "<tr><td class=\"{class}\">{word}</td><td>{}</td><td>{}</td></tr>",
            escaped(&gate.name),
            escaped(&gate.finding)
        )
    });
    format!(
        "<h2>Gates</h2><table><tr><th></th><th>gate</th><th>finding</th></tr>{}</table>",
        rows.collect::<String>()
    )
}

fn folds(report: &Report) -> String {
    let rows = report.folds.iter().map(|fold| {
        format!(
            "<tr><td>{}</td><td>{}</td><td class=\"n\">{}</td><td class=\"n\">{:.3}</td><td class=\"n\">{:.3}</td>\
             <td class=\"n\">{:.3}</td><td class=\"n\">{:.3}</td></tr>",
            escaped(&fold.train),
            escaped(&fold.test),
            fold.positives,
            fold.auc_roc,
            fold.average_precision,
            fold.baseline_average_precision,
            fold.card_precision_at_100
        )
    });
    format!(
        "<h2>Prequential folds</h2><table><tr><th>learned</th><th>judged</th><th class=\"n\">labelled</th>\
         <th class=\"n\">AUC</th><th class=\"n\">AP</th><th class=\"n\">AP of baseline</th><th class=\"n\">CP@100</th></tr>{}</table>",
        rows.collect::<String>()
    )
}

fn segments(model: &Evaluation, base: &Evaluation) -> String {
    let shown = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), |value| format!("{value:.3}"));
    let of_base = |segment: &Segment| {
        let same = |s: &&Segment| s.by == segment.by && s.value == segment.value;
        base.segments.iter().find(same).and_then(|s| s.average_precision)
    };
    let rows = model.segments.iter().map(|segment| {
        format!(
            "<tr><td>{}</td><td>{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td>\
             <td class=\"n\">{}</td><td class=\"n\">{}</td></tr>",
            escaped(&segment.by),
            escaped(&segment.value),
            segment.rows,
            segment.positives,
            shown(segment.auc_roc),
            shown(segment.average_precision),
            shown(of_base(segment)),
            shown(segment.recall)
        )
    });
    format!(
        "<h2>Segments</h2><table><tr><th>by</th><th></th><th class=\"n\">rows</th><th class=\"n\">labelled</th><th class=\"n\">AUC</th>\
         <th class=\"n\">AP</th><th class=\"n\">AP of baseline</th><th class=\"n\">found</th></tr>{}</table>",
        rows.collect::<String>()
    )
}

fn drift(drift: &[Drift]) -> String {
    let rows = drift.iter().map(|drift| {
        let (class, word) = match drift.level {
            Level::Stable => ("ok", "stable"),
            Level::Warn => ("warn", "warning"),
            Level::Alarm => ("bad", "alarm"),
        };
        format!(
            "<tr><td class=\"{class}\">{word}</td><td>{}</td><td class=\"n\">{:.4}</td><td class=\"n\">{:.4}</td><td class=\"n\">{:.4}\
             </td><td class=\"n\">{:.4}</td></tr>",
            escaped(&drift.name),
            drift.psi,
            drift.ks,
            drift.jensen_shannon,
            drift.wasserstein
        )
    });
    format!(
        "<h2>Drift</h2><table><tr><th></th><th>feature</th><th class=\"n\">PSI</th><th class=\"n\">KS</th><th class=\"n\">\
         Jensen-Shannon</th><th class=\"n\">Wasserstein</th></tr>{}</table>",
        rows.collect::<String>()
    )
}

/// What was tried, the chosen one marked.
fn choice(choice: Option<&Choice>) -> String {
    let Some(choice) = choice else { return String::new() };
    let rows = choice.tried.iter().map(|Tried { setting, metric }| {
        let mark = if *setting == choice.chosen { "chosen" } else { "" };
        format!(
            "<tr><td>{mark}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{metric:.4}</td></tr>",
            setting.boost_share, setting.budget, setting.ridge
        )
    });
    format!(
        "<h2>Settings</h2><p class=\"sub\">Chosen on {}, whose labels were known.</p><table><tr><th></th><th class=\"n\">boost_share</th>\
         <th class=\"n\">budget</th><th class=\"n\">ridge</th><th class=\"n\">{}</th></tr>{}</table>",
        escaped(&choice.folds.join(", ")),
        escaped(&choice.metric),
        rows.collect::<String>()
    )
}

fn dataset(manifest: &Manifest) -> String {
    let rows = manifest.columns.iter().map(|column| {
        format!(
            "<tr><td>{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td><code>{}</code></td></tr>",
            escaped(&column.name),
            column.version,
            column.missing,
            escaped(column.sha256.get(..16).unwrap_or(&column.sha256))
        )
    });
    format!(
        "<h2>Dataset</h2><p class=\"sub\">{}, {} of {} rows, checksum <code>{}</code></p><table><tr><th>feature</th>\
         <th class=\"n\">version</th><th class=\"n\">missing</th><th>checksum</th></tr>{}</table>",
        escaped(&manifest.source),
        manifest.rows,
        manifest.source_rows,
        escaped(manifest.rows_sha256.get(..16).unwrap_or_default()),
        rows.collect::<String>()
    )
}

/// Text as HTML shows it.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_stays_text() {
        assert_eq!(escaped("<b a=\"1\">&"), "&lt;b a=&quot;1&quot;&gt;&amp;");
    }
}
