//! Whether the saved position belongs to this slot of this server. A pure decision.
//!
//! Invariant: where changes may have been lost, or positions no longer mean what they meant, the
//! source stops and says by how much; only a person goes on.

use affluent_model::Lsn;
use serde::{Deserialize, Serialize};

/// What positions are bound to, as it was saved when the slot was first used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Identity {
    pub(crate) system_id: String,
    pub(crate) timeline: u32,
    pub(crate) database: String,
    pub(crate) slot: String,
    /// Where the slot began, LSN.
    pub(crate) consistent_point: u64,
    /// Added to every LSN to make positions, so that they grow on also where a gap to another
    /// server was accepted whose LSNs are smaller.
    #[serde(default)]
    pub(crate) shift: u64,
}

/// What the server says now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Facts {
    pub(crate) system_id: String,
    pub(crate) timeline: u32,
    pub(crate) database: String,
    pub(crate) slot: String,
    /// End of the write-ahead log, LSN.
    pub(crate) wal_end: u64,
    /// `confirmed_flush_lsn` of the slot, where it exists and is usable.
    pub(crate) confirmed: Option<u64>,
    /// It is a standby: nothing can be captured of it before it is promoted.
    pub(crate) in_recovery: bool,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// A standby: in the middle of a failover, or named by mistake.
    Standby,
    /// Nothing was saved: begin.
    Begin,
    /// The slot follows the saved position.
    Resume,
    /// It does not; why, and how many bytes of log lie between where that can be told.
    Mismatch { why: String, gap: Option<u64> },
}

/// Compares. `acked` is the saved position (LSN) up to which Kafka has everything.
pub(crate) fn decide(saved: Option<(&Identity, u64)>, facts: &Facts) -> Verdict {
    // Before anything else: what a standby lacks says nothing of the server that it will be.
    if facts.in_recovery {
        return Verdict::Standby;
    }
    let Some((identity, acked)) = saved else { return Verdict::Begin };
    let mismatch = |why: String, gap| Verdict::Mismatch { why, gap };
    if identity.system_id != facts.system_id {
        return mismatch(
            format!(
                "the server is another one: system identifier {}, saved {}",
                facts.system_id, identity.system_id
            ),
            None,
        );
    }
    if identity.database != facts.database {
        return mismatch(
            format!("the database is `{}`, saved `{}`", facts.database, identity.database),
            None,
        );
    }
    if identity.timeline != facts.timeline {
        let slot = match facts.confirmed {
            Some(confirmed) => format!("its slot `{}` stands at {}", facts.slot, Lsn(confirmed)),
            None => format!(
                "it has no usable slot `{}` (before PostgreSQL 17, none follows to a standby)",
                facts.slot
            ),
        };
        return mismatch(
            format!(
                "the server was failed over or restored: timeline {}, saved {}; {slot}",
                facts.timeline, identity.timeline
            ),
            facts.confirmed.map(|confirmed| confirmed.saturating_sub(acked)),
        );
    }
    if identity.slot != facts.slot {
        return mismatch(format!("the slot is `{}`, saved `{}`", facts.slot, identity.slot), None);
    }
    let Some(confirmed) = facts.confirmed else {
        return mismatch(
            format!("the slot `{}` is gone or invalidated", facts.slot),
            Some(facts.wal_end.saturating_sub(acked)),
        );
    };
    if facts.wal_end < acked {
        return mismatch(
            format!("the server is behind: its log ends at {}, saved {}", Lsn(facts.wal_end), Lsn(acked)),
            None,
        );
    }
    if confirmed > acked {
        return mismatch(
            format!(
                "the slot `{}` was recreated or advanced: it stands at {}, saved {}",
                facts.slot,
                Lsn(confirmed),
                Lsn(acked)
            ),
            Some(confirmed - acked),
        );
    }
    Verdict::Resume
}

/// The text of a mismatch: what, how much, and the two ways out.
pub(crate) fn explain(why: &str, gap: Option<u64>) -> String {
    let gap = gap.map_or_else(
        || "positions of the two cannot be compared".to_owned(),
        |bytes| format!("changes in {bytes} bytes of write-ahead log are lost to this source"),
    );
    format!(
        "{why}; {gap}. Nothing was read. Go on with --accept-gap (changes in between stay missing) or \
         --resnapshot (every table is read again)"
    )
}

/// The shift under which the server's positions are greater than all before. `start` is where its slot begins, LSN;
/// `delivered` the greatest LSN of a position that the topics hold, with its shift: it may lie past the one that was
/// saved, and where a standby was promoted, on a way that the new server has not gone along.
pub(crate) fn shift_after(
    before: Option<(&Identity, u64)>,
    delivered: u64,
    start: u64,
    facts: &Facts,
) -> u64 {
    let Some((identity, acked)) = before else { return 0 };
    let is_same = identity.system_id == facts.system_id;
    let goes_on = is_same && identity.timeline == facts.timeline && facts.wal_end >= acked;
    let highest = (identity.shift + acked.max(identity.consistent_point)).max(delivered);
    let grows = is_same && identity.shift + start > highest;
    if goes_on || grows { identity.shift } else { highest + 1 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn identity() -> Identity {
        Identity {
            system_id: "7".into(),
            timeline: 1,
            database: "pay".into(),
            slot: "s".into(),
            consistent_point: 100,
            shift: 0,
        }
    }

    fn facts() -> Facts {
        Facts {
            system_id: "7".into(),
            timeline: 1,
            database: "pay".into(),
            slot: "s".into(),
            wal_end: 900,
            confirmed: Some(500),
            in_recovery: false,
        }
    }

    #[test]
    fn a_standby_is_waited_for_whatever_it_lacks() {
        let standby = Facts { in_recovery: true, confirmed: None, timeline: 2, ..facts() };
        assert_eq!(decide(Some((&identity(), 500)), &standby), Verdict::Standby);
        assert_eq!(decide(None, &standby), Verdict::Standby);
    }

    #[test]
    fn every_way_of_not_belonging_is_told_with_its_gap() {
        assert_eq!(decide(None, &facts()), Verdict::Begin);
        assert_eq!(decide(Some((&identity(), 500)), &facts()), Verdict::Resume);
        let cases: Vec<(&str, Facts, Option<u64>)> = vec![
            ("another one", Facts { system_id: "8".into(), ..facts() }, None),
            ("timeline 2", Facts { timeline: 2, ..facts() }, Some(0)),
            ("no usable slot", Facts { timeline: 2, confirmed: None, ..facts() }, None),
            ("gone", Facts { confirmed: None, ..facts() }, Some(400)),
            ("recreated or advanced", Facts { confirmed: Some(640), ..facts() }, Some(140)),
            ("behind", Facts { wal_end: 300, confirmed: Some(200), ..facts() }, None),
            ("database", Facts { database: "x".into(), ..facts() }, None),
        ];
        for (expected, facts, gap) in cases {
            let Verdict::Mismatch { why, gap: found } = decide(Some((&identity(), 500)), &facts) else {
                panic!("{expected}");
            };
            assert!(why.contains(expected), "{why}");
            assert_eq!(found, gap, "{expected}");
            let text = explain(&why, found);
            assert!(text.contains("--accept-gap") && text.contains("--resnapshot"), "{text}");
        }
    }

    proptest! {
        #[test]
        fn resumes_only_where_nothing_can_be_missing(acked: u32, confirmed: u32, wal_end: u32) {
            let facts = Facts { confirmed: Some(confirmed.into()), wal_end: wal_end.into(), ..facts() };
            let resumed = decide(Some((&identity(), acked.into())), &facts) == Verdict::Resume;
            prop_assert_eq!(resumed, confirmed <= acked && acked <= wal_end);
        }

        #[test]
        fn shifted_positions_grow(acked: u32, delivered: u32, start: u32, same: bool) {
            let system_id = if same { "7" } else { "8" }.into();
            let facts = Facts { wal_end: start.into(), timeline: 2, system_id, ..facts() };
            let shift = shift_after(Some((&identity(), acked.into())), delivered.into(), start.into(), &facts);
            prop_assert!(shift + u64::from(start) > u64::from(acked.max(delivered)));
        }

        #[test]
        fn positions_of_one_history_keep_their_shift(acked: u32, delivered: u32, start: u32, more: u32) {
            let facts = Facts { wal_end: u64::from(acked) + u64::from(more), ..facts() };
            let shift = shift_after(Some((&identity(), acked.into())), delivered.into(), start.into(), &facts);
            prop_assert_eq!(shift, 0);
        }
    }
}
