//! Before the stream starts: what was saved, whether it belongs to this slot, and what is missing.

use super::catalog::{Catalog, SourceTable};
use super::checkpoint::{self, Checkpoints, Saved, SnapshotEntry, TableEntry};
use super::connect::wire::Wire;
use super::context::Context;
use super::identity::{Facts, Identity, Verdict, decide, explain, shift_after};
use super::options::SnapshotMode;
use super::source::Source;
use super::{CdcError, CdcOptions};
use super::{resume, slot};
use affluent_bus::{Admin, Producer};
use affluent_model::{Lsn, names};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What a run starts from.
pub(crate) struct Begun {
    pub(crate) checkpoints: Checkpoints,
    pub(crate) identity: Identity,
    pub(crate) acked: u64,
    /// Tables whose snapshot is due or unfinished.
    pub(crate) planned: Vec<u32>,
}

/// Compares, creates what is missing, saves the outcome.
pub(crate) async fn begin(
    source: &Source,
    options: &Arc<CdcOptions>,
    admin: &Admin,
    producer: &Producer,
    catalog: &mut Catalog,
    wire: &mut Wire,
) -> Result<Begun, CdcError> {
    let saved = checkpoint::load(admin, &options.source, options.replication).await?;
    let facts = facts(options, catalog, wire).await?;
    let before = saved.identity.as_ref().map(|identity| (identity, saved.acked));
    let verdict = decide(before, &facts);
    if verdict == Verdict::Standby {
        return Err(standby(before.is_some()));
    }
    if let Verdict::Mismatch { why, gap } = &verdict {
        let text = explain(why, *gap);
        if !source.accept_gap && !source.resnapshot {
            return Err(CdcError::Identity(text));
        }
        tracing::warn!(why, gap, resnapshot = source.resnapshot, "going on over a gap, as asked for");
    }
    let selected = catalog.selected(options).await?;
    if selected.is_empty() {
        tracing::warn!(patterns = ?options.tables, "no table matches cdc.tables yet");
    }
    let added = slot::ensure_publication(catalog, options, &selected).await?;
    let checkpoints = Checkpoints::new(producer.clone(), &options.source, saved.clone());

    let (identity, acked) = match (&verdict, &saved.identity) {
        (Verdict::Resume, Some(identity)) => (identity.clone(), saved.acked),
        _ => {
            let delivered = delivered(admin, &saved).await?;
            let start = ensure_slot(catalog, options, &facts).await?;
            let facts = self::facts(options, catalog, wire).await?;
            let identity = Identity {
                system_id: facts.system_id.clone(),
                timeline: facts.timeline,
                database: facts.database.clone(),
                slot: facts.slot.clone(),
                consistent_point: start,
                shift: shift_after(before, delivered, start, &facts),
            };
            (identity, start)
        }
    };
    let began = verdict != Verdict::Resume;
    let read_again = source.resnapshot && verdict != Verdict::Begin;
    let position = if read_again && !began { slot::wal_end(catalog.client().await?).await? } else { acked };
    let tables = tables(admin, options, &saved, &selected, began).await?;
    for (oid, mut entry) in tables {
        let is_new = !saved.tables.contains_key(&oid);
        let was_added = added.iter().any(|t| t.oid == oid);
        let accepted = matches!(verdict, Verdict::Mismatch { .. }) && !source.resnapshot;
        let due = (is_new && !accepted) || was_added || read_again;
        if accepted && let Some(read) = &mut entry.snapshot {
            // What the other server commits from its slot on was not in this reading, wherever that stood.
            read.lsn = read.lsn.min(acked);
        }
        if due && (options.snapshot.mode == SnapshotMode::Initial || read_again) {
            let lsn =
                if was_added && !began { slot::wal_end(catalog.client().await?).await? } else { position };
            let snapshot = due_snapshot(entry.snapshot.as_ref(), lsn, !began);
            entry.snapshot = Some(SnapshotEntry { clear: read_again && !is_new, ..snapshot });
        }
        if saved.tables.get(&oid) != Some(&entry) {
            checkpoints.save_table(oid, entry).await?;
        }
    }
    if began {
        checkpoints.save_identity(identity.clone(), acked).await?;
        tracing::info!(
            slot = options.slot, at = %Lsn(acked), system_id = identity.system_id, timeline = identity.timeline,
            "slot taken"
        );
    }
    let unfinished = |snapshot: &SnapshotEntry| snapshot.complete.is_none();
    let now = checkpoints.saved().await;
    let planned = now.tables.iter().filter(|(_, e)| e.snapshot.as_ref().is_some_and(unfinished));
    let planned = planned.map(|(&oid, _)| oid).collect();
    Ok(Begun { checkpoints, identity, acked, planned })
}

/// A failover is waited out; nobody begins with a standby.
fn standby(is_known: bool) -> CdcError {
    if is_known {
        let error = "the server is a standby: capture waits until it is promoted".to_owned();
        return CdcError::Postgres { context: "look at the server", error, passing: true };
    }
    let remedy = "name the primary in cdc.connection";
    CdcError::Setup(format!("the server is a standby, on which nothing can be published: {remedy}"))
}

/// The greatest LSN of a position that the topics hold of the stream or of a snapshot; 0 where they hold none.
async fn delivered(admin: &Admin, saved: &Saved) -> Result<u64, CdcError> {
    let shift = saved.identity.as_ref().map_or(0, |identity| identity.shift);
    let mut greatest = 0;
    for entry in saved.tables.values() {
        greatest = greatest.max(entry.snapshot.as_ref().map_or(0, |snapshot| snapshot.lsn + shift));
        let partitions = admin.partitions(&entry.topic).await?.unwrap_or(0);
        let last = resume::delivered(admin, &entry.topic, partitions).await?;
        greatest = last.iter().flatten().fold(greatest, |greatest, position| greatest.max(position.lsn.0));
    }
    Ok(greatest)
}

/// A snapshot that is to be planned and run.
pub(crate) fn due_snapshot(before: Option<&SnapshotEntry>, lsn: u64, incremental: bool) -> SnapshotEntry {
    SnapshotEntry {
        generation: before.map_or(0, |b| b.generation) + 1,
        lsn,
        incremental,
        clear: false,
        leaves: Vec::new(),
        done: Vec::new(),
        begun: BTreeMap::new(),
        rows: 0,
        complete: None,
    }
}

/// The entries of all tables that are selected. What is remembered of another server counts by
/// name, as its object ids mean nothing here.
async fn tables(
    admin: &Admin,
    options: &Arc<CdcOptions>,
    saved: &Saved,
    selected: &[SourceTable],
    began: bool,
) -> Result<Vec<(u32, TableEntry)>, CdcError> {
    let mut entries = Vec::new();
    for SourceTable { oid, table, .. } in selected {
        let same = saved.tables.get(oid).filter(|entry| !began || entry.table == *table);
        let by_name = || saved.tables.values().find(|entry| began && entry.table == *table);
        let entry = match same.or_else(by_name) {
            Some(entry) => entry.clone(),
            None => {
                let topic = names::change_topic(&options.source, table);
                let partitions = Context::make_topic(admin, options, &topic).await?;
                TableEntry { table: table.clone(), topic, partitions, snapshot: None }
            }
        };
        entries.push((*oid, entry));
    }
    Ok(entries)
}

async fn facts(options: &CdcOptions, catalog: &mut Catalog, wire: &mut Wire) -> Result<Facts, CdcError> {
    let rows = wire.query("IDENTIFY_SYSTEM", "IDENTIFY_SYSTEM").await?;
    let row = rows.first().ok_or_else(|| CdcError::Protocol("IDENTIFY_SYSTEM gave nothing".into()))?;
    let text = |i: usize| row.get(i).cloned().flatten().unwrap_or_default();
    let client = catalog.client().await?;
    let state = slot::slot_state(client, &options.slot).await?;
    let usable = |s: &slot::SlotState| !s.lost && s.database == text(3);
    if let Some(state) = &state
        && (state.plugin != "pgoutput" || state.database != text(3))
    {
        return Err(CdcError::Setup(format!(
            "slot `{}` belongs to database `{}` and plugin `{}`, not to `{}` and `pgoutput`: choose another cdc.slot",
            options.slot,
            state.database,
            state.plugin,
            text(3)
        )));
    }
    Ok(Facts {
        system_id: text(0),
        timeline: text(1).parse().unwrap_or_default(),
        database: text(3),
        slot: options.slot.clone(),
        wal_end: slot::wal_end(client).await?,
        confirmed: state.filter(usable).map(|s| s.confirmed),
        in_recovery: slot::in_recovery(client).await?,
    })
}

/// The slot's start, LSN: of the one that stands, else of a new one.
async fn ensure_slot(catalog: &mut Catalog, options: &CdcOptions, facts: &Facts) -> Result<u64, CdcError> {
    if let Some(confirmed) = facts.confirmed {
        return Ok(confirmed);
    }
    let client = catalog.client().await?;
    if slot::slot_state(client, &options.slot).await?.is_some() {
        slot::drop_slot(client, options).await?;
    }
    tracing::info!(slot = options.slot, "creating the slot; it waits for transactions that are open");
    slot::create_slot(client, options).await
}
