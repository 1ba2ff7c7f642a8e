//! Where the stream of a table without a key takes over from its first reading.
//!
//! Nothing tells two rows without a key apart, so none may come from both sides. The server itself
//! draws the line: a temporary slot exports a snapshot together with the position at which it was
//! taken. The table is read in that snapshot to the end, and streamed from that position on
//! (docs/adr/0002). PostgreSQL's own subscriptions copy their tables the same way.
//!
//! Invariant: a change of such a table is sent only if its transaction committed at or after the
//! saved cut; what committed before is in the snapshot.

use crate::cdc::checkpoint::TableEntry;
use crate::cdc::connect::address::Address;
use crate::cdc::connect::wire::Wire;
use crate::cdc::{CdcError, slot};
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use tokio::sync::Notify;

/// What is known of a table's cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cut {
    /// The reading has not begun: its snapshot is going to hold whatever is streamed until then.
    Due,
    /// On which side a change is shows in a moment.
    Taking,
    /// The position of the snapshot, LSN.
    At(u64),
}

/// The cuts of all tables that are read for the first time, shared by stream and snapshot. Tables
/// with a key need none.
#[derive(Debug, Clone, Default)]
pub(crate) struct Cuts(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    cuts: Mutex<HashMap<u32, Cut>>,
    changed: Notify,
}

impl Cuts {
    /// From what was saved.
    pub(crate) fn of(tables: &BTreeMap<u32, TableEntry>) -> Self {
        let cut = |(&oid, entry): (&u32, &TableEntry)| {
            let snapshot = entry.snapshot.as_ref()?;
            // An unfinished reading starts over, as its snapshot ended with its session.
            Some((oid, if snapshot.complete.is_some() { Cut::At(snapshot.lsn) } else { Cut::Due }))
        };
        let cuts = Mutex::new(tables.iter().filter_map(cut).collect());
        Cuts(Arc::new(Shared { cuts, changed: Notify::new() }))
    }

    /// The table is going to be read.
    pub(crate) fn due(&self, oid: u32) {
        self.set(oid, Cut::Due);
    }

    /// Whether the reading of the table holds what committed at `commit_lsn`.
    pub(crate) async fn covers(&self, oid: u32, commit_lsn: u64) -> bool {
        loop {
            let changed = self.0.changed.notified();
            match self.0.cuts.lock().get(&oid) {
                None => return false,
                Some(Cut::Due) => return true,
                Some(Cut::At(lsn)) => return commit_lsn < *lsn,
                Some(Cut::Taking) => {}
            }
            changed.await;
        }
    }

    /// The cut is being taken, until the guard has it or is dropped.
    pub(super) fn taking(&self, oid: u32) -> Taking<'_> {
        self.set(oid, Cut::Taking);
        Taking { cuts: self, oid, cut: Cut::Due }
    }

    fn set(&self, oid: u32, cut: Cut) {
        self.0.cuts.lock().insert(oid, cut);
        self.0.changed.notify_waiters();
    }
}

/// Changes of the table wait while this lives.
pub(super) struct Taking<'a> {
    cuts: &'a Cuts,
    oid: u32,
    cut: Cut,
}

impl Taking<'_> {
    /// The cut is taken and saved.
    pub(super) fn at(mut self, lsn: u64) {
        self.cut = Cut::At(lsn);
    }
}

impl Drop for Taking<'_> {
    fn drop(&mut self) {
        self.cuts.set(self.oid, self.cut);
    }
}

/// A snapshot that other sessions may read in, for as long as this lives.
pub(crate) struct Exported {
    /// Everything that committed before this position is in it, and nothing else. LSN.
    pub(super) lsn: u64,
    /// For `SET TRANSACTION SNAPSHOT`.
    pub(super) name: String,
    _session: Wire,
}

impl Exported {
    /// Takes one. Waits for transactions that are open.
    pub(super) async fn take(address: &Address) -> Result<Self, CdcError> {
        let mut session = Wire::connect(address).await?;
        // It goes with the session.
        let slot = format!("affluent_cut_{}", uuid::Uuid::new_v4().simple());
        let sql = format!("CREATE_REPLICATION_SLOT {slot} TEMPORARY LOGICAL pgoutput EXPORT_SNAPSHOT");
        let rows = session.query("export a snapshot (it needs a free replication slot)", &sql).await?;
        let row = rows.into_iter().next().unwrap_or_default();
        let [_, Some(lsn), Some(name), ..] = row.as_slice() else {
            return Err(CdcError::Protocol("CREATE_REPLICATION_SLOT gave no snapshot".into()));
        };
        let (lsn, name) = (slot::parse_lsn(lsn)?, name.clone());
        Ok(Exported { lsn, name, _session: session })
    }
}

impl std::fmt::Debug for Exported {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Exported").field("lsn", &self.lsn).field("name", &self.name).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Waker};

    fn now(answer: impl Future<Output = bool>) -> Option<bool> {
        match pin!(answer).poll(&mut Context::from_waker(Waker::noop())) {
            std::task::Poll::Ready(answer) => Some(answer),
            std::task::Poll::Pending => None,
        }
    }

    #[test]
    fn a_change_is_read_or_streamed_and_waits_while_that_is_open() {
        let cuts = Cuts::default();
        assert_eq!(now(cuts.covers(1, 7)), Some(false), "a table that is not read");
        cuts.due(1);
        assert_eq!(now(cuts.covers(1, 7)), Some(true));
        drop(cuts.taking(1));
        assert_eq!(now(cuts.covers(1, 7)), Some(true), "the attempt failed");
        let taking = cuts.taking(1);
        let mut waiting = pin!(cuts.covers(1, 7));
        let mut context = Context::from_waker(Waker::noop());
        assert!(waiting.as_mut().poll(&mut context).is_pending());
        taking.at(7);
        assert_eq!(waiting.poll(&mut context), std::task::Poll::Ready(false));
        assert_eq!((now(cuts.covers(1, 6)), now(cuts.covers(1, 7))), (Some(true), Some(false)));
    }
}
