//! What a group leaves on disk: committed offsets and, so that members need not rejoin after a
//! restart, the last stable state. One journal for all groups.

use super::machine::Group;
use crate::error::Error;
use crate::journal::Journal;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

/// A committed offset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Committed {
    pub offset: i64,
    pub leader_epoch: i32,
    pub metadata: String,
    /// Milliseconds since the Unix epoch.
    pub at_ms: i64,
}

/// Committed offsets of one group by topic and partition.
pub(crate) type Offsets = BTreeMap<String, BTreeMap<i32, Committed>>;

/// One line of the journal.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum Entry<'a> {
    Commit {
        group: Cow<'a, str>,
        topic: Cow<'a, str>,
        partition: i32,
        committed: Cow<'a, Committed>,
    },
    /// The offsets of one topic are forgotten.
    Forget {
        group: Cow<'a, str>,
        topic: Cow<'a, str>,
    },
    State {
        group: Cow<'a, str>,
        state: Cow<'a, Group>,
    },
    /// The group is gone.
    Drop {
        group: Cow<'a, str>,
    },
}

/// A group as stored.
#[derive(Debug, Clone, Default)]
pub(super) struct Stored {
    pub(super) state: Group,
    pub(super) offsets: Offsets,
}

/// Opens the journal and returns every group in it.
pub(super) fn open(path: &Path) -> Result<(Journal, HashMap<String, Stored>), Error> {
    let mut groups: HashMap<String, Stored> = HashMap::new();
    let journal = Journal::open(path, |entry: Entry<'static>| match entry {
        Entry::Commit { group, topic, partition, committed } => {
            let offsets = &mut groups.entry(group.into_owned()).or_default().offsets;
            offsets.entry(topic.into_owned()).or_default().insert(partition, committed.into_owned());
        }
        Entry::Forget { group, topic } => {
            if let Some(stored) = groups.get_mut(&*group) {
                stored.offsets.remove(&*topic);
            }
        }
        Entry::State { group, state } => {
            groups.entry(group.into_owned()).or_default().state = state.into_owned()
        }
        Entry::Drop { group } => {
            groups.remove(&*group);
        }
    })?;
    Ok((journal, groups))
}

/// Entries that say all of `group` again, for a rewrite of the journal.
pub(super) fn entries<'a>(
    group: &'a str,
    state: &'a Group,
    offsets: &'a Offsets,
) -> impl Iterator<Item = Entry<'a>> {
    let commits = offsets.iter().flat_map(move |(topic, partitions)| {
        partitions.iter().map(move |(partition, committed)| Entry::Commit {
            group: group.into(),
            topic: topic.into(),
            partition: *partition,
            committed: Cow::Borrowed(committed),
        })
    });
    commits.chain([Entry::State { group: group.into(), state: Cow::Borrowed(state) }])
}
