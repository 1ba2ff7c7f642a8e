//! When queries under way are to be ended: an executor that may have had parts of them has gone, or nobody works on them.
//!
//! Ballista 54.1 takes the parts of a dead executor back, and offers them to others only when something else happens: a
//! part ends, a query or an executor comes. Else such a query waits for ever. So the scheduler looks at its cluster again
//! and again, and [`Watch`] decides on what it saw.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Queries on which nobody works are ended after this time.
const PATIENCE: Duration = Duration::from_secs(15);

/// The cluster at one moment.
#[derive(Debug, Clone, Default)]
pub(super) struct Seen {
    /// Hosts and ports of the executors, by their ids.
    pub(super) executors: BTreeMap<String, String>,
    /// Ids of queries that are not done.
    pub(super) queries: BTreeSet<String>,
    /// Parts of them that executors have begun with.
    pub(super) parts: usize,
}

/// What is remembered from one look to the next.
#[derive(Debug, Default)]
pub(super) struct Watch {
    last: Seen,
    /// How long queries have been there and no part of any was worked on.
    idle: Duration,
}

impl Watch {
    /// Why all queries under way are to be ended, if they are; `since` the look before.
    pub(super) fn look(&mut self, seen: Seen, since: Duration) -> Option<String> {
        let gone = |(id, at): (&String, &String)| (!seen.executors.contains_key(id)).then(|| at.clone());
        let gone: Vec<String> = self.last.executors.iter().filter_map(gone).collect();
        let waits = seen.parts == 0 && !seen.queries.is_disjoint(&self.last.queries);
        self.idle = if waits { self.idle + since } else { Duration::ZERO };
        self.last = seen;
        if !gone.is_empty() {
            self.idle = Duration::ZERO;
            let gone = gone.join(", ");
            return Some(format!("the executor at {gone} has gone"));
        }
        if self.idle < PATIENCE {
            return None;
        }
        self.idle = Duration::ZERO;
        Some(match self.last.executors.len() {
            0 => "there is no executor".to_owned(),
            executors => format!("none of the {executors} executors has begun with it"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn seen(executors: &[&str], queries: &[&str], parts: usize) -> Seen {
        Seen {
            executors: executors.iter().map(|id| ((*id).to_owned(), format!("{id}:50051"))).collect(),
            queries: queries.iter().map(|&id| id.to_owned()).collect(),
            parts,
        }
    }

    /// What is said at each second of a cluster that stays like this.
    fn stays(watch: &mut Watch, seconds: usize, as_seen: &Seen) -> Vec<Option<String>> {
        (0..seconds).map(|_| watch.look(as_seen.clone(), SECOND)).collect()
    }

    #[test]
    fn an_executor_that_goes_is_named_once() {
        let mut watch = Watch::default();
        assert_eq!(stays(&mut watch, 60, &seen(&["a", "b"], &["q"], 4)), vec![None; 60]);
        let told = watch.look(seen(&["b"], &["q"], 2), SECOND).unwrap();
        assert_eq!(told, "the executor at a:50051 has gone");
        assert_eq!(stays(&mut watch, 60, &seen(&["b"], &["q"], 2)), vec![None; 60]);
        let told = watch.look(seen(&["c"], &["q"], 2), SECOND).unwrap();
        assert_eq!(told, "the executor at b:50051 has gone", "whoever comes meanwhile");
    }

    #[test]
    fn queries_that_wait_for_nobody_are_ended() {
        for (executors, expected) in [
            (Vec::new(), "there is no executor"),
            (vec!["a", "b"], "none of the 2 executors has begun with it"),
        ] {
            let mut watch = Watch::default();
            let told = stays(&mut watch, 16, &seen(&executors, &["q"], 0));
            assert_eq!(told[..15], vec![None; 15]);
            assert_eq!(told[15].as_deref(), Some(expected));
        }
    }

    #[test]
    fn what_moves_is_left_alone() {
        let mut watch = Watch::default();
        for round in 0..100_usize {
            // Another query each second, seen before it began; and one whose parts come and go.
            let name = round.to_string();
            assert_eq!(watch.look(seen(&["a"], &[&name], 0), SECOND), None);
        }
        for round in 0..100_usize {
            assert_eq!(watch.look(seen(&["a"], &["q"], usize::from(round % 10 == 0)), SECOND), None);
        }
        assert_eq!(stays(&mut watch, 100, &seen(&["a"], &[], 0)), vec![None; 100]);
    }
}
