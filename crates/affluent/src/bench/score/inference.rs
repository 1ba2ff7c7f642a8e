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
    let (mut mapped, mut busy, mut alerts) = (Mapped::default(), 0.0, 0u64);
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
            nanos.saturating_record(u64::try_from(begun.elapsed().as_nanos())?);
            busy += begun.elapsed().as_secs_f64();
            alerts += u64::from(!said.reasons.is_empty());
        }
        payments.mapping().event(&cells, &mut mapped)?;
        engine.apply(&mapped.event(source))?;
    }
    let millis = |quantile: f64| nanos.value_at_quantile(quantile) as f64 / 1e6;
    report.at_most("score.inference.p99", 2.0, millis(0.99), "ms");
    report.at_least("score.inference.rate", 20_000.0, judged as f64 / busy, "payments/s");
    report.note(format!(
        "inference (row, {} features, rules, model, reasons) on one thread: p50 {:.4} ms, p99 {:.4} ms, max {:.3} ms, of {judged} payments \
         after {history}; {alerts} of them with reasons",
        names.len(),
        millis(0.5),
        millis(0.99),
        millis(1.0),
    ));
    Ok(())
}
