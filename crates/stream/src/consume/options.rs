//! What a consume loop reads, how much it stages, and how it waits.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// Configuration of one consume loop.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ConsumeOptions {
    /// Consumer group; processes with the same one share the partitions.
    pub group: String,
    /// Static membership: a process that comes back under this id has its partitions at once, where the
    /// group would wait for its session to time out. Unique in the group; empty for none. One that reads other
    /// topics than before is another member.
    pub instance_id: String,
    /// Topics by name, or by regular expression that begins with `^`.
    pub topics: Vec<String>,
    /// Records of one poll.
    pub poll_records: usize,
    /// Bytes of one poll.
    pub poll_bytes: usize,
    /// What is fetched ahead of the polls, bytes.
    pub prefetch_bytes: usize,
    /// How long a poll waits for more records, milliseconds.
    pub linger_ms: u64,
    /// Staged records are committed when the oldest has waited this long, milliseconds; 0: at once.
    pub commit_interval_ms: u64,
    /// Staged records are committed at this many; where the sink hands them over, as many again are
    /// staged meanwhile.
    pub commit_records: usize,
    /// Staged records are committed at this size, bytes.
    pub commit_bytes: usize,
    /// First pause after a passing fault, milliseconds; it doubles up to `retry_max_ms`.
    pub retry_first_ms: u64,
    /// Longest pause after a passing fault, milliseconds.
    pub retry_max_ms: u64,
}

impl Default for ConsumeOptions {
    fn default() -> Self {
        ConsumeOptions {
            group: String::new(),
            instance_id: String::new(),
            topics: Vec::new(),
            poll_records: 8_192,
            poll_bytes: 8 << 20,
            prefetch_bytes: 8 << 20,
            linger_ms: 20,
            commit_interval_ms: 0,
            commit_records: 16_384,
            commit_bytes: 16 << 20,
            retry_first_ms: 50,
            retry_max_ms: 5_000,
        }
    }
}

impl ConsumeOptions {
    /// Checks what no default can mend.
    ///
    /// # Errors
    /// The name of the option and what it needs.
    pub fn check(&self) -> Result<(), String> {
        let wrong = if self.group.is_empty() {
            "group is empty: name a consumer group"
        } else if self.topics.is_empty() {
            "topics is empty: name at least one topic"
        } else if self.poll_records == 0 || self.poll_bytes == 0 || self.prefetch_bytes == 0 {
            "poll_records, poll_bytes and prefetch_bytes must be at least 1"
        } else if self.commit_records == 0 || self.commit_bytes == 0 {
            "commit_records and commit_bytes must be at least 1"
        } else if self.retry_first_ms == 0 || self.retry_max_ms < self.retry_first_ms {
            "retry_first_ms must be at least 1, retry_max_ms no less than it"
        } else {
            return Ok(());
        };
        Err(wrong.to_owned())
    }

    /// The id of the static member; none where `instance_id` is empty.
    ///
    /// Kafka gives a static member that comes back what it had, whatever it subscribes to by now
    /// (<https://issues.apache.org/jira/browse/KAFKA-12759>): one that reads other topics than before would be given the old ones for
    /// ever. So that is another member: the id ends with a digest of the topics, in whatever order. The old member is out once its
    /// session has timed out. Topics that a regular expression has begun to match meanwhile do not change the id.
    pub(super) fn member(&self) -> Option<String> {
        if self.instance_id.is_empty() {
            return None;
        }
        let mut topics: Vec<&str> = self.topics.iter().map(String::as_str).collect();
        topics.sort_unstable();
        let digest = hex::encode(&Sha256::digest(topics.join("\n"))[..4]);
        Some(format!("{}-{digest}", self.instance_id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_reads_other_topics_is_another_member() {
        let member = |instance_id: &str, topics: &[&str]| {
            let topics = topics.iter().map(|topic| (*topic).to_owned()).collect();
            ConsumeOptions { instance_id: instance_id.to_owned(), topics, ..ConsumeOptions::default() }
                .member()
        };
        assert_eq!(member("", &["a"]), None);
        let known = member("sink", &["a", "b"]);
        assert!(known.as_deref().is_some_and(|id| id.starts_with("sink-")), "{known:?}");
        assert_eq!(known, member("sink", &["b", "a"]));
        for other in [member("sink", &["a"]), member("sink", &["ab"]), member("other", &["a", "b"])] {
            assert_ne!(known, other);
        }
    }
}
