//! The page of a model of a number.

use super::chart::{Chart, bars};
use super::{SHOWN, choice, dataset, drift, escaped, gates, opened};
use crate::evaluate::Interval;
use crate::evaluate::probability::Bin;
use crate::train::ValueReport;
use std::fmt::Write as _;

/// The whole page.
#[must_use]
pub fn html(report: &ValueReport) -> String {
    let mut page = opened(&format!("{}: {}", report.model, report.protocol.test));
    let _ = write!(
        page,
        "<p class=\"sub\">Learned from {} ({} rows), numbers known after {} days; judged on {} rows. {} trees, {:.0} s.</p>",
        report.protocol.train,
        report.train_rows,
        report.protocol.delay / crate::DAY,
        report.evaluation.rows,
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
    page.push_str(&segments(report));
    page.push_str(&drift(&report.drift));
    page.push_str(&dataset(&report.manifest));
    page.push_str("</html>\n");
    page
}

/// Each plot by its name.
#[must_use]
pub fn plots(report: &ValueReport) -> Vec<(&'static str, String)> {
    let (model, base) = (&report.evaluation.calibration, &report.baseline.calibration);
    let largest = model.iter().chain(base).map(|bin| bin.said.max(bin.happened)).fold(1e-9, f64::max);
    let points = |bins: &[Bin]| {
        bins.iter().map(|bin| (bin.said / largest, bin.happened / largest)).collect::<Vec<(f64, f64)>>()
    };
    let calibration =
        Chart::new(&format!("Calibration by tenths (1 = {largest:.0})"), "mean said", "mean that came")
            .diagonal()
            .dots("model", "#1858c6", &points(model))
            .dots("ridge regression", "#b06a00", &points(base));
    let important: Vec<(String, f64)> = report.importance.iter().take(SHOWN).cloned().collect();
    let drifted: Vec<(String, f64)> =
        report.drift.iter().take(SHOWN).map(|drift| (drift.name.clone(), drift.psi)).collect();
    let options = &report.options.drift;
    vec![
        ("calibration", calibration.svg()),
        ("importance", bars("Importance (part of the gain)", &important, &[])),
        (
            "drift",
            bars("Drift since the training period (PSI)", &drifted, &[options.psi_warn, options.psi_alarm]),
        ),
    ]
}

fn cards(report: &ValueReport) -> String {
    let (model, base, intervals) = (&report.evaluation, &report.baseline, &report.intervals);
    let between = |i: Interval| format!("{:.3} to {:.3}", i.low, i.high);
    let mut text = String::from("<div class=\"cards\">");
    for (name, value, detail) in [
        ("R²", format!("{:.3}", model.r2), format!("{} · baseline {:.3}", between(intervals.r2), base.r2)),
        (
            "rank correlation",
            format!("{:.3}", model.rank_correlation),
            format!("{} · baseline {:.3}", between(intervals.rank_correlation), base.rank_correlation),
        ),
        (
            "mean absolute error",
            format!("{:.2}", model.mae),
            format!("{} · baseline {:.2}", between(intervals.mae), base.mae),
        ),
        (
            "root mean squared error",
            format!("{:.2}", model.rmse),
            format!("{} · baseline {:.2}", between(intervals.rmse), base.rmse),
        ),
        (
            "with the top tenth",
            format!("{:.0} %", 100.0 * model.top_tenth_share),
            format!("of the sum · baseline {:.0} %", 100.0 * base.top_tenth_share),
        ),
    ] {
        let _ =
            write!(text, "<div class=\"card\"><span>{name}</span><b>{value}</b><span>{detail}</span></div>");
    }
    text + "</div>"
}

fn folds(report: &ValueReport) -> String {
    let rows = report.folds.iter().map(|fold| {
        format!(
            "<tr><td>{}</td><td>{}</td><td class=\"n\">{}</td><td class=\"n\">{:.3}</td><td class=\"n\">{:.3}</td>\
             <td class=\"n\">{:.3}</td><td class=\"n\">{:.2}</td></tr>",
            escaped(&fold.train),
            escaped(&fold.test),
            fold.rows,
            fold.r2,
            fold.baseline_r2,
            fold.rank_correlation,
            fold.mae
        )
    });
    format!(
        "<h2>Prequential folds</h2><table><tr><th>learned</th><th>judged</th><th class=\"n\">rows</th><th class=\"n\">R²</th>\
         <th class=\"n\">R² of baseline</th><th class=\"n\">rank correlation</th><th class=\"n\">mean error</th></tr>{}</table>",
        rows.collect::<String>()
    )
}

fn segments(report: &ValueReport) -> String {
    let rows = report.segments.iter().zip(&report.baseline_segments).map(|(model, base)| {
        format!(
            "<tr><td>{}</td><td>{}</td><td class=\"n\">{}</td><td class=\"n\">{:.2}</td><td class=\"n\">{:.2}</td>\
             <td class=\"n\">{:.2}</td></tr>",
            escaped(&model.by),
            escaped(&model.value),
            model.rows,
            model.mae,
            base.mae,
            model.bias
        )
    });
    format!(
        "<h2>Segments</h2><table><tr><th>by</th><th></th><th class=\"n\">rows</th><th class=\"n\">mean error</th>\
         <th class=\"n\">of baseline</th><th class=\"n\">said too much</th></tr>{}</table>",
        rows.collect::<String>()
    )
}
