//! The step in the middle alone, on one thread: from a payment's row to its features and its judgement, without HTTP, bus or stores.

use super::super::Report;
use crate::champion;
use crate::http::Payment;
use affluent_feature_store::event::Mapped;
use affluent_feature_store::stream::Streamed;
use affluent_features::{Engine, Options};
use affluent_model::time::now_micros;
use affluent_scoring::stream::Payments;
use affluent_scoring::{Features, Judge, Row};
use affluent_testkit::payments::simulated;
use anyhow::Context as _;
use hdrhistogram::Histogram;
use std::sync::Arc;
use std::time::Instant;

/// Payments that fill the state, and payments that are judged.
const HISTORY: u64 = 200_000;
const JUDGED: u64 = 100_000;
const FRAUD_SHARE: f64 = 0.02;
/// Between two payments, microseconds.
const PAUSE: i64 = 20_000;

/// Judges payments one after the other and reports how long one takes.
///
/// # Errors
/// A payment that does not fit.
pub(super) fn measure(
    report: &mut Report,
    streamed: &Streamed,
    judge: &Judge,
    scaled: impl Fn(u64) -> u64,
) -> anyhow::Result<()> {
    let payments = Payments::new(streamed).context("no feature is of payments")?;
    let (history, judged) = (scaled(HISTORY), scaled(JUDGED));
    let names = Arc::clone(&judge.vocabulary().names);
    let source = payments.mapping().source();
    let mut engine =
        Engine::new(Arc::clone(&streamed.plan), Options { any_order: true, ..Options::default() });
    let total = usize::try_from(history + judged)?;
    let start = now_micros() - i64::try_from(total)? * PAUSE;
    let mut nanos = Histogram::<u64>::new_with_bounds(1, 60_000_000_000, 3)?;
    // Of those that have reasons: contributions visit every leaf of every tree.
    let mut with_reasons = nanos.clone();
    let (mut mapped, mut busy) = (Mapped::default(), 0.0);
    for (nth, payment) in (0..).zip(simulated(3, total, FRAUD_SHARE)) {
        let time = start + nth * PAUSE;
        let payment =
            Payment::new(&champion::request(&payment, Some(time)), time).map_err(anyhow::Error::msg)?;
        let cells = payment.cells(payments.mapping().fields(), time);
        if nth.cast_unsigned() >= history {
            let begun = Instant::now();
            payments.mapping().event(&cells, &mut mapped)?;
            let facts = payments.facts(&cells);
            let mut values = vec![f64::NAN; names.len()];
            let is_exact = engine.preview(&mapped.event(source), &mut values)?;
            let row = Row { names: Arc::clone(&names), values, is_exact, as_of: time };
            let said = judge.judge(&facts, Features::Live(&row));
            let took = begun.elapsed();
            nanos.saturating_record(u64::try_from(took.as_nanos())?);
            busy += took.as_secs_f64();
            if !said.reasons.is_empty() {
                with_reasons.saturating_record(u64::try_from(took.as_nanos())?);
            }
        }
        payments.mapping().event(&cells, &mut mapped)?;
        engine.apply(&mapped.event(source))?;
    }
    let of = |nanos: &Histogram<u64>, quantile: f64| nanos.value_at_quantile(quantile) as f64 / 1e6;
    let millis = |quantile: f64| of(&nanos, quantile);
    report.at_most("score.inference.p99", 2.0, millis(0.99), "ms");
    report.at_least("score.inference.rate", 20_000.0, judged as f64 / busy, "payments/s");
    report.at_most("score.reasons.p99", 2.0, of(&with_reasons, 0.99), "ms");
    report.note(format!(
        "inference (row, {} features, rules, model, reasons) on one thread: p50 {:.4} ms, p99 {:.4} ms, max {:.3} ms, of {judged} payments \
         after {history}; {} of them are reviewed or declined and have reasons (exact Shapley values): p50 {:.4} ms, p99 {:.4} ms a row, max {:.3} ms",
        names.len(),
        millis(0.5),
        millis(0.99),
        millis(1.0),
        with_reasons.len(),
        of(&with_reasons, 0.5),
        of(&with_reasons, 0.99),
        of(&with_reasons, 1.0),
    ));
    Ok(())
}
