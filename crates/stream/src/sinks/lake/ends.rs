//! Partitions that end before what their table has counted: their topic was made anew, or has lost its end.
//!
//! Offsets do not tell which, and a table has each place of a topic once: new rows at old places would be mixed with
//! those of before, and what lies before the counted offset would be passed over once the topic is longer again.
//!
//! Invariant: of such a partition nothing is read, and nothing passed over, while this process runs.

use super::table_of;
use crate::sinks::SinkError;
use affluent_bus::{Admin, BusError, TopicPartition};
use std::collections::BTreeSet;

pub(super) struct Ends {
    admin: Admin,
    /// Seen to end too early. They stay here when they have grown longer.
    gone_back: BTreeSet<TopicPartition>,
}

impl Ends {
    pub(super) fn new(admin: Admin) -> Self {
        Ends { admin, gone_back: BTreeSet::new() }
    }

    /// An error where one of these partitions of a topic ends before its offset, up to which the table has counted it,
    /// or did once. To be tried again: it waits for a person.
    pub(super) async fn check(
        &mut self,
        topic: &str,
        counted: &[(TopicPartition, i64)],
    ) -> Result<(), SinkError> {
        if counted.is_empty() {
            return Ok(());
        }
        let passing = |error: BusError| SinkError::Passing(error.to_string());
        // Of a topic that is gone again there is nothing to read; made anew, it is assigned anew.
        let partitions = self.admin.partitions(topic).await.map_err(passing)?.unwrap_or(0);
        for (partition, next) in counted.iter().filter(|(partition, _)| partition.partition < partitions) {
            let (_, end) = self.admin.watermarks(partition).await.map_err(passing)?;
            if end < *next || self.gone_back.contains(partition) {
                return Err(self.goes_back(partition, *next));
            }
        }
        Ok(())
    }

    /// The error for a partition that goes back behind what is counted of it.
    pub(super) fn goes_back(&mut self, partition: &TopicPartition, counted: i64) -> SinkError {
        self.gone_back.insert(partition.clone());
        let (namespace, name) = table_of(&partition.topic);
        SinkError::Passing(format!(
            "{partition} ended before {counted}, up to where {namespace}.{name} has counted it: the topic was made anew or \
             cut. Its rows would be mixed with those of before, so none are read. Restore the topic, or delete it and \
             let its producer write to one of another name; then start again"
        ))
    }
}
