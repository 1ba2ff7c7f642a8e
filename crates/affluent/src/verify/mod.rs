//! `affluent verify`: is every row of the source in Kafka, in the mirrors and in the lake, once, and equal?
//!
//! 1. One snapshot of the source is read; its barrier is a position in the source's log.
//! 2. Capture, then both sinks, are waited for until they have passed the barrier.
//! 3. Kafka and the lake are folded up to the snapshot; mirrors, which may be ahead, are held against
//!    the version that they have. So the load may go on meanwhile, and the answer is still exact.
//!
//! The rows that capture reads of a table for the first time carry no transaction: the snapshot is taken
//! once that has ended for every table. Nothing of the installation is changed, but for one empty marker
//! in the source's write-ahead log.

mod canonical;
mod compare;
mod digest;
pub(crate) mod events;
mod fold;
mod kafka;
mod keyless;
mod lake;
mod mirrors;
mod report;
mod source;
mod tables;

pub(crate) use mirrors::Mirrors;
pub(crate) use report::{Reconciled, Report, Store};

use crate::cli::Format;
use crate::config::Config;
use crate::erase::Erased;
use crate::output::{self, Exit};
use crate::platform::Platform;
use affluent_bus::Admin;
use affluent_lake::LakeFormat;
use affluent_stream::cdc::{CdcOptions, tables_read};
use anyhow::{Context as _, bail};
use kafka::Watermarks;
use source::{Slot, SourceSnapshot};
use std::time::{Duration, Instant};

const POLL: Duration = Duration::from_millis(100);
/// A line of progress this often, where progress is lines.
const LINES: Duration = Duration::from_secs(2);

const EXAMPLES: &str = "\
Examples:
  affluent verify                          the installation of ./affluent.toml, while it runs
  affluent verify --tables public.payments one table
  affluent verify --format json            for machines

Exit codes: 0 everything is equal, 1 something differs (or a store did not catch up in time).";

/// Options of `affluent verify`.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Compare these tables only (schema.table)
    #[arg(long, value_name = "TABLE", value_delimiter = ',')]
    tables: Vec<String>,
    /// Wait this long for capture and sinks to pass the barrier, seconds
    #[arg(long, value_name = "S", default_value_t = 120)]
    wait: u64,
}

/// What is compared, and how long others are waited for.
pub(crate) struct Scope {
    /// `schema.table`; empty for all that are captured.
    pub(crate) tables: Vec<String>,
    pub(crate) wait: Duration,
}

/// Compares the installation that the configuration describes.
///
/// # Errors
/// When a store cannot be reached, or does not pass the barrier in time.
pub(crate) async fn run(args: Args, config: Config, format: Format) -> anyhow::Result<Exit> {
    if config.cdc.connection.is_empty() {
        return Err(output::usage(
            "cdc.connection is empty: no database is captured, nothing to verify".to_owned(),
        ));
    }
    let platform = Platform::new(config)?;
    let mirrors = Mirrors::of_installation(&platform).await?;
    let progress = Progress::new();
    let scope = Scope { tables: args.tables, wait: Duration::from_secs(args.wait) };
    let report = verify(&platform, &mirrors, &scope, &progress).await;
    progress.clear();
    let report = report?;
    match format {
        Format::Text => output::print(&report.text()),
        Format::Json => output::print_json(&report)?,
    }
    Ok(if report.is_exact() { Exit::Done } else { Exit::Failed })
}

/// Compares every store with the source, up to a barrier taken now.
///
/// # Errors
/// When a store cannot be reached, or does not pass the barrier in time.
pub(crate) async fn verify(
    platform: &Platform,
    mirrors: &Mirrors,
    scope: &Scope,
    progress: &Progress,
) -> anyhow::Result<Report> {
    let options = &platform.config().cdc;
    let deadline = Instant::now() + scope.wait;
    let admin = platform.bus().admin()?;
    let snapshot = after_first_reading(&admin, options, deadline, progress).await?;
    let mut report = Report { barrier: snapshot.barrier.to_string(), ..Report::default() };
    let mut tables = Vec::new();
    for shape in snapshot.tables(options).await? {
        if !scope.tables.is_empty() && !scope.tables.contains(&shape.table.to_string()) {
            continue;
        }
        progress.say(&format!("reads {} of the source", shape.table));
        let rows = snapshot.rows(&shape, &shape.measures()).await?;
        tables.push((shape, rows));
    }
    if tables.is_empty() {
        bail!("none of the tables {:?} is captured", scope.tables);
    }
    let visible = snapshot.visible().clone();
    let barrier = snapshot.barrier;
    snapshot.close().await?;

    let slot = Slot::watch(options).await?;
    slot.mark().await;
    until(deadline, progress, "capture", async || {
        let confirmed = slot.confirmed().await?;
        Ok((confirmed < barrier)
            .then(|| format!("the slot has confirmed {confirmed}, the barrier is {barrier}")))
    })
    .await?;

    let lake = match platform.config().lake.format {
        LakeFormat::Iceberg => Some(platform.lake().await?),
        LakeFormat::Json => {
            report.notes.push("the raw zone is written as JSON files, which are not compared".to_owned());
            None
        }
    };
    let erased = match &lake {
        Some(lake) => Erased::load(platform.config(), lake).await?,
        None => Erased::default(),
    };
    let stores = tables::Stores {
        platform,
        admin: &admin,
        mirrors,
        lake: lake.as_ref(),
        visible: &visible,
        erased: &erased,
    };
    let mut marked = Vec::new();
    for (shape, rows) in tables {
        let marks = kafka::watermarks(&admin, &shape.topic).await.context("read the offsets of Kafka")?;
        marked.push((shape, rows, marks));
    }
    until(deadline, progress, "sink-documents", async || {
        let topics: Vec<&str> = marked.iter().map(|(shape, ..)| shape.topic.as_str()).collect();
        let group = &platform.config().sink_documents.group;
        let offsets = admin.group_offsets(group, &topics).await?;
        Ok(marked.iter().find_map(|(shape, _, marks)| {
            behind(&shape.topic, marks, |partition| {
                offsets.get(&affluent_bus::TopicPartition::new(shape.topic.as_str(), partition)).copied()
            })
        }))
    })
    .await?;
    until(deadline, progress, "sink-lake", async || {
        let Some(lake) = &lake else { return Ok(None) };
        for (shape, _, marks) in &marked {
            let offsets = match lake::raw_table(lake, &shape.topic).await? {
                Some(table) => table.offsets().await?,
                None => affluent_lake::Offsets::default(),
            };
            let late = behind(&shape.topic, marks, |partition| offsets.get(&shape.topic, partition));
            if late.is_some() {
                return Ok(late);
            }
        }
        Ok(None)
    })
    .await?;
    for (shape, rows, marks) in marked {
        progress.say(&format!("compares {}", shape.table));
        stores.compare(&shape, rows, &marks, &mut report).await?;
    }
    note_quarantine(&admin, &mut report).await;
    Ok(report)
}

/// A snapshot of the source that holds every row which capture has read without a transaction.
async fn after_first_reading(
    admin: &Admin,
    options: &CdcOptions,
    deadline: Instant,
    progress: &Progress,
) -> anyhow::Result<SourceSnapshot> {
    loop {
        // Asked before the snapshot is taken, so that it sees all that these readings saw.
        let read = tables_read(admin, options).await.context("read the state of capture")?;
        progress.say("takes a snapshot of the source");
        let snapshot = SourceSnapshot::take(options).await?;
        let Some(table) = snapshot.unread(options, &read).await? else { return Ok(snapshot) };
        snapshot.close().await?;
        if Instant::now() >= deadline {
            bail!("capture did not read {table} in time; is it running? (--wait SECONDS waits longer)");
        }
        progress.say(&format!("waits for capture: {table} is still being read"));
        tokio::time::sleep(POLL).await;
    }
}

/// Which partition `next` has not reached, for people; partitions without records count as reached.
fn behind(topic: &str, marks: &Watermarks, next: impl Fn(i32) -> Option<i64>) -> Option<String> {
    marks.iter().filter(|(_, (first, end))| first < end).find_map(|(&partition, &(_, end))| {
        let at = next(partition).unwrap_or(0);
        (at < end).then(|| format!("{topic}/{partition} is at {at} of {end}"))
    })
}

/// Asks `state` until it has nothing left to wait for.
async fn until(
    deadline: Instant,
    progress: &Progress,
    who: &str,
    state: impl AsyncFn() -> anyhow::Result<Option<String>>,
) -> anyhow::Result<()> {
    loop {
        let Some(late) = state().await? else { return Ok(()) };
        if Instant::now() >= deadline {
            bail!(
                "{who} did not pass the barrier in time: {late}; is it running? (--wait SECONDS waits longer)"
            );
        }
        progress.say(&format!("waits for {who}: {late}"));
        tokio::time::sleep(POLL).await;
    }
}

/// Quarantined records explain differences; that there are some is worth a word in any case.
async fn note_quarantine(admin: &Admin, report: &mut Report) {
    let topic = affluent_model::names::TOPIC_DEAD_LETTERS;
    let Ok(marks) = kafka::watermarks(admin, topic).await else { return };
    let count: i64 = marks.values().map(|(first, end)| end - first).sum();
    if count > 0 {
        report.notes.push(format!("{count} quarantined records; see `affluent dead-letters list`"));
    }
}

/// Progress for people: a spinner on a terminal, now and then a line elsewhere.
pub(crate) struct Progress {
    bar: Option<indicatif::ProgressBar>,
    said: std::cell::Cell<Option<Instant>>,
}

impl Progress {
    pub(crate) fn new() -> Self {
        let bar = output::is_terminal().then(indicatif::ProgressBar::new_spinner);
        if let Some(bar) = &bar {
            bar.enable_steady_tick(POLL);
        }
        Progress { bar, said: std::cell::Cell::new(None) }
    }

    fn say(&self, what: &str) {
        match &self.bar {
            Some(bar) => bar.set_message(what.to_owned()),
            None if self.said.get().is_none_or(|said| said.elapsed() > LINES) => {
                self.said.set(Some(Instant::now()));
                tracing::info!("verify {what}");
            }
            None => {}
        }
    }

    pub(crate) fn clear(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
