//! `affluent bench features`: the engine over history ([`handbook`], where `--from` names a file) and as a stream uses it
//! ([`stream`]), each on one thread, and the store that serves their values ([`online`]); [`peers`] does the former in pandas, DuckDB and Spark beside it.
//!
//! Work is judged by the time for which this process had a processor: one thread computes and waits for nothing, so on an idle
//! core the clock shows the same, and on a busy one it shows the others. A restart is judged by the clock.

mod handbook;
mod online;
mod peers;
mod stream;

use super::process::processor_seconds;
use super::{Context, Report};
use crate::output;
use anyhow::Context as _;
use indicatif::ProgressBar;
use std::time::Instant;

/// Customers of the stream, and payments that are measured once their week is filled.
const CUSTOMERS: u64 = 1_000_000;
const PAYMENTS: u64 = 500_000;
/// Keys of the online store.
const KEYS: u64 = 200_000;

/// Bytes as MiB, the unit of the goals.
fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// What something took.
#[derive(Debug, Clone, Copy)]
struct Took {
    /// By the clock, and on the processor.
    seconds: f64,
    processor_seconds: f64,
}

/// What `work` took, and what it gave.
fn timed<T>(work: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<(Took, T)> {
    let (began, processor) = (Instant::now(), processor_seconds());
    let done = work()?;
    let seconds = began.elapsed().as_secs_f64();
    Ok((Took { seconds, processor_seconds: processor_seconds() - processor }, done))
}

impl std::fmt::Display for Took {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.2} s by the clock, {:.2} s on the processor", self.seconds, self.processor_seconds)
    }
}

/// Measures.
///
/// # Errors
/// A file that cannot be read or has other columns, a peer that cannot be run.
pub(crate) async fn run(context: Context) -> anyhow::Result<Report> {
    if context.from.is_none() && context.peers.is_some() {
        let message = "--peers compute the features of a file: name it with --from FILE.parquet";
        return Err(output::usage(message.to_owned()));
    }
    if let Some(python) = &context.peers {
        peers::check(python).await?;
    }
    let mut report = Report::new("features");
    if let Some(file) = context.from.clone() {
        let read = file.clone();
        let measured = tokio::task::spawn_blocking(move || handbook::measure(&read)).await??;
        measured.tell(&mut report);
        if let Some(python) = &context.peers {
            peers::measure(&mut report, python, &file, measured).await.context("peers")?;
        }
    }
    let (customers, payments) = (context.scaled(CUSTOMERS), context.scaled(PAYMENTS));
    let bar =
        if context.progress { ProgressBar::new(stream::steps(customers)) } else { ProgressBar::hidden() };
    let told = bar.clone();
    let streamed = tokio::task::spawn_blocking(move || {
        stream::measure(customers, payments, |done| told.set_position(done))
    });
    let streamed = streamed.await??;
    bar.finish_and_clear();
    streamed.tell(&mut report);
    online::measure(context.scaled(KEYS)).await?.tell(&mut report);
    Ok(report)
}
