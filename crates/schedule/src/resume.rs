//! How far an interval is done: the decision from which task a run goes on. Pure.
//!
//! Invariant: a task counts as done only while everything before it was done earlier. Doing one task again
//! makes what comes after it due again.

/// How many of `tasks` (in their order) are done, given the successes in the order in which they happened.
pub(crate) fn done_prefix(tasks: &[&str], successes: &[String]) -> usize {
    let mut after = 0;
    for (index, task) in tasks.iter().enumerate() {
        match successes.iter().rposition(|success| success == task) {
            Some(position) if index == 0 || position >= after => after = position,
            Some(_) | None => return index,
        }
    }
    tasks.len()
}

#[cfg(test)]
mod tests {
    use super::done_prefix;

    #[test]
    fn a_run_goes_on_behind_what_is_done_in_order() {
        for (successes, done) in [
            ("", 0),
            ("ingest", 1),
            ("ingest clean", 2),
            ("ingest clean load", 3),
            // Without its predecessor it counts for nothing.
            ("clean load", 0),
            ("ingest load", 1),
            // One done again: the rest is due again, until it was done again too.
            ("ingest clean load clean", 2),
            ("ingest clean load clean load", 3),
            ("ingest clean load ingest", 1),
            ("clean ingest", 1),
        ] {
            let successes: Vec<String> = successes.split_whitespace().map(str::to_owned).collect();
            assert_eq!(done_prefix(&["ingest", "clean", "load"], &successes), done, "{successes:?}");
        }
    }
}
