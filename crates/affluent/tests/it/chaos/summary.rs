//! What a run prints in the end: recoveries by kind of fault, and what became of the rows.

use super::plan::{Kind, Part};
use super::probe::{Recovered, Stop};
use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::time::Duration;

/// Of all trials of a run.
#[derive(Debug, Default)]
pub(super) struct Summary {
    recoveries: BTreeMap<Kind, Vec<Recovered>>,
    pub(super) planned: usize,
    pub(super) played: usize,
    /// Row changes of the payments database.
    pub(super) changes: u64,
    /// Rows of the source that every store was held against.
    pub(super) rows: u64,
    pub(super) lost: u64,
    pub(super) doubled: u64,
    /// Clicks that the collector acknowledged.
    pub(super) clicks: usize,
    given_up: BTreeMap<Part, u32>,
}

impl Summary {
    /// A step counts for each of its faults.
    pub(super) fn add(&mut self, kinds: impl IntoIterator<Item = Kind>, recovered: Recovered) {
        for kind in kinds {
            self.recoveries.entry(kind).or_default().push(recovered);
        }
    }

    pub(super) fn add_given_up(&mut self, given_up: &BTreeMap<Part, u32>) {
        for (&part, count) in given_up {
            *self.given_up.entry(part).or_default() += count;
        }
    }
}

fn slowest(recoveries: &[Recovered], of: impl Fn(&Recovered) -> Duration) -> f64 {
    recoveries.iter().map(of).max().unwrap_or_default().as_secs_f64()
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (played, planned) = (self.played, self.planned);
        writeln!(f, "{played} of {planned} steps played; slowest recovery after the fault, seconds:")?;
        let mut head = format!("{:<20} {:>5}", "fault", "times");
        for stop in Stop::ALL {
            write!(head, " {:>12}", stop.name())?;
        }
        writeln!(f, "{head} {:>12}", "all ready")?;
        for (kind, recoveries) in &self.recoveries {
            write!(f, "{:<20} {:>5}", kind.name(), recoveries.len())?;
            for index in 0..Stop::ALL.len() {
                write!(f, " {:>12.1}", slowest(recoveries, |recovered| recovered.stops[index]))?;
            }
            writeln!(f, " {:>12.1}", slowest(recoveries, |recovered| recovered.all))?;
        }
        for kind in Kind::ALL.iter().filter(|kind| !self.recoveries.contains_key(kind)) {
            writeln!(f, "{:<20}     0   not played", kind.name())?;
        }
        writeln!(f, "given up and started again: {:?}", self.given_up)?;
        write!(
            f,
            "{} changes, {} rows compared in every store: {} lost, {} doubled; {} clicks acknowledged, each there once",
            self.changes, self.rows, self.lost, self.doubled, self.clicks
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slowest_of_a_kind_is_told() {
        let recovered = |seconds: u64| Recovered {
            stops: [Duration::from_secs(seconds); Stop::ALL.len()],
            all: Duration::from_secs(seconds + 1),
        };
        let mut summary = Summary { planned: 3, played: 2, ..Summary::default() };
        summary.add([Kind::Kill], recovered(2));
        summary.add([Kind::Kill, Kind::Pause], recovered(5));
        let text = summary.to_string();
        let line = |name: &str| text.lines().find(|line| line.starts_with(name)).unwrap().to_owned();
        assert!(text.starts_with("2 of 3 steps played"), "{text}");
        let kill = line("kill -9");
        let words: Vec<&str> = kill.split_whitespace().collect();
        assert_eq!(words[2..], ["2", "5.0", "5.0", "5.0", "5.0", "5.0", "6.0"]);
        assert!(line("full disk").ends_with("not played"), "{text}");
    }
}
