//! The rules by which versioned writes converge: pure functions, no store.
//!
//! Every column of a document is a register that keeps the value of its newest write, and so is the
//! document's existence. A register's age is a [`Stamp`]. Nearly always all registers of a document
//! share the document's version; the ones that do not are listed in [`State::stamps`]: columns whose
//! value an update did not carry (unchanged TOAST), which keep the stamp of the write that did, so
//! that an older full row that arrives late still fills exactly them.
//!
//! Invariant: applying the same set of writes in any order, any number of times, ends in the same
//! visible document. The one exception is documented at [`Departed`].

use crate::{Action, Fields, VersionedWrite};
use affluent_model::{Position, Value};

/// The age of a register, compared element by element. `[p]`: written at position `p`. `[p, q…]`:
/// carried at `p` from another id, where it had the stamp `[q…]`. Empty: never written.
pub type Stamp = Vec<Position>;

/// Departures remembered for one id; the oldest is forgotten first.
const DEPARTED_MAX: usize = 8;

/// What a store keeps of one id.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct State {
    /// Version of the newest write that said whether the document exists.
    pub version: Position,
    /// False for tombstones, and for ids that only received carried values so far.
    pub live: bool,
    pub fields: Fields,
    /// Columns whose value has another age than `version`.
    pub stamps: Vec<(String, Stamp)>,
    /// Rows that moved from here to other ids and still needed values of here.
    pub departed: Vec<Departed>,
}

/// A row that moved to another id. Its kept columns are followed here, so that values that arrive
/// late can be sent after it.
///
/// Limit: where a *new* row took this id before the departure became known (possible only across
/// partitions), the kept values are lost to the row that moved until it is next written in full. A
/// source that sends whole old rows (REPLICA IDENTITY FULL) has no such columns.
#[derive(Debug, Clone, PartialEq)]
pub struct Departed {
    pub to: String,
    pub at: Position,
    pub columns: Vec<Carried>,
}

/// The value of one register with its age; no value where the register is empty.
#[derive(Debug, Clone, PartialEq)]
pub struct Carried {
    pub column: String,
    pub stamp: Stamp,
    pub value: Option<Value>,
}

/// Values on their way from one id to another, as of the position of the move.
#[derive(Debug, Clone, PartialEq)]
pub struct Fill {
    pub to: String,
    pub columns: Vec<Carried>,
}

/// What a write does to the state of its id.
#[derive(Debug, Clone, PartialEq)]
pub struct Transition {
    /// False: the state stays as it is.
    pub changed: bool,
    /// To be applied to other ids, also where nothing changed (a crash may have lost them).
    pub fills: Vec<Fill>,
}

impl State {
    /// Applies one write.
    pub fn advance(&mut self, write: VersionedWrite) -> Transition {
        let mut changed = self.follow_departed(&write);
        let version = write.version;
        changed |= match write.action {
            Action::Put(fields) => self.assign(version, true, fields, &[], false),
            Action::Patch { fields, keep, moved_from } => {
                self.assign(version, true, fields, &keep, moved_from.is_some())
            }
            Action::Delete => self.assign(version, false, Vec::new(), &[], false),
            Action::Depart { to, keep } => {
                let departed = self.depart(to, version, &keep);
                self.assign(version, false, Vec::new(), &[], false) | departed
            }
        };
        Transition { changed, fills: self.fills() }
    }

    /// Applies values that were carried here from another id.
    pub fn fill(&mut self, fill: &Fill) -> Transition {
        let mut changed = false;
        for carried in &fill.columns {
            for departed in &mut self.departed {
                changed |= departed.offer(carried);
            }
            if carried.stamp > self.stamp_of(&carried.column) {
                self.set(&carried.column, carried.stamp.clone(), carried.value.clone());
                changed = true;
            }
        }
        // Only what is new travels on, so that circles of moves end.
        Transition { changed, fills: if changed { self.fills() } else { Vec::new() } }
    }

    /// Forgets what is older than a truncation at `position`; false where nothing is left.
    pub fn truncate(&mut self, position: Position) -> bool {
        let limit = [position];
        if self.version < position {
            self.live = false;
            self.version = Position::default();
            let recent: Vec<&String> = self
                .stamps
                .iter()
                .filter(|(_, stamp)| stamp[..] >= limit[..])
                .map(|(column, _)| column)
                .collect();
            self.fields.retain(|(column, _)| recent.contains(&column));
            self.stamps.retain(|(_, stamp)| stamp[..] >= limit[..]);
        } else {
            for (column, stamp) in &mut self.stamps {
                if stamp[..] < limit[..] {
                    stamp.clear();
                    self.fields.retain(|(field, _)| field != column);
                }
            }
        }
        self.departed.retain(|departed| departed.at >= position);
        for carried in self.departed.iter_mut().flat_map(|departed| &mut departed.columns) {
            if carried.stamp[..] < limit[..] {
                carried.stamp.clear();
                carried.value = None;
            }
        }
        self.version != Position::default()
            || self.live
            || !self.stamps.is_empty()
            || !self.departed.is_empty()
    }

    /// Whether a plain write newer than the version replaces all that is known here.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.stamps.is_empty() && self.departed.is_empty()
    }

    /// Writes all columns outside `keep` as of `version`, and existence.
    fn assign(
        &mut self,
        version: Position,
        live: bool,
        fields: Fields,
        keep: &[String],
        moved: bool,
    ) -> bool {
        if version > self.version || (version == self.version && !self.live && live && self.is_unwritten()) {
            let kept: Vec<Carried> = self.kept_registers(version, keep, moved);
            self.fields = fields;
            self.stamps.clear();
            self.version = version;
            self.live = live;
            for carried in kept {
                self.set(&carried.column, carried.stamp, carried.value);
            }
            return true;
        }
        // An older write still fills the columns whose stored value is older than it.
        let stamp = vec![version];
        let mut fields = fields;
        let mut changed = false;
        let open: Vec<String> =
            self.stamps.iter().filter(|(_, age)| *age < stamp).map(|(column, _)| column.clone()).collect();
        for column in open {
            if keep.contains(&column) && !moved {
                continue;
            }
            let value =
                fields.iter().position(|(field, _)| *field == column).map(|i| fields.swap_remove(i).1);
            self.set(&column, stamp.clone(), value);
            changed = true;
        }
        changed
    }

    /// The registers that a write at `version` does not replace: kept ones, and ones that carried a
    /// newer value already.
    fn kept_registers(&mut self, version: Position, keep: &[String], moved: bool) -> Vec<Carried> {
        let assigned = [version];
        let mut kept: Vec<Carried> = Vec::new();
        for (column, stamp) in &self.stamps {
            if stamp[..] > assigned[..] {
                let value = take(&mut self.fields, column);
                kept.push(Carried { column: column.clone(), stamp: stamp.clone(), value });
            }
        }
        for column in keep {
            if kept.iter().any(|carried| carried.column == *column) {
                continue;
            }
            kept.push(if moved {
                // What an earlier row left under this id is not the value; the true one is carried here.
                Carried { column: column.clone(), stamp: assigned.to_vec(), value: None }
            } else {
                let stamp = self.stamp_of(column);
                Carried { column: column.clone(), stamp, value: take(&mut self.fields, column) }
            });
        }
        kept
    }

    /// Remembers that the row of this id moved to `to`, with the values it had here.
    fn depart(&mut self, to: String, at: Position, keep: &[String]) -> bool {
        if self.departed.iter().any(|departed| departed.at == at) {
            return false;
        }
        let limit = [at];
        let columns = keep.iter().map(|column| {
            let stamp = self.stamp_of(column);
            if stamp[..] < limit[..] {
                let value =
                    self.fields.iter().find(|(field, _)| field == column).map(|(_, value)| value.clone());
                Carried { column: column.clone(), stamp, value }
            } else {
                Carried { column: column.clone(), stamp: Stamp::new(), value: None }
            }
        });
        let departed = Departed { to, at, columns: columns.collect() };
        let place = self.departed.partition_point(|other| other.at < at);
        self.departed.insert(place, departed);
        if self.departed.len() > DEPARTED_MAX {
            self.departed.remove(0);
        }
        true
    }

    /// Shows a write to the rows that departed after it.
    fn follow_departed(&mut self, write: &VersionedWrite) -> bool {
        let mut changed = false;
        for departed in self.departed.iter_mut().filter(|departed| departed.at > write.version) {
            for i in 0..departed.columns.len() {
                let column = departed.columns[i].column.clone();
                let value = match &write.action {
                    Action::Put(fields) => field(fields, &column),
                    Action::Patch { fields, keep, moved_from } => {
                        if keep.contains(&column) && moved_from.is_none() {
                            continue;
                        }
                        field(fields, &column)
                    }
                    Action::Delete | Action::Depart { .. } => None,
                };
                changed |= departed.offer(&Carried { column, stamp: vec![write.version], value });
            }
        }
        changed
    }

    /// What the departed rows are to be sent.
    fn fills(&self) -> Vec<Fill> {
        let fill = |departed: &Departed| {
            let known = departed.columns.iter().filter(|carried| !carried.stamp.is_empty());
            let columns = known.map(|carried| {
                let mut stamp = vec![departed.at];
                stamp.extend(&carried.stamp);
                Carried { column: carried.column.clone(), stamp, value: carried.value.clone() }
            });
            Fill { to: departed.to.clone(), columns: columns.collect() }
        };
        self.departed.iter().map(fill).filter(|fill| !fill.columns.is_empty()).collect()
    }

    fn stamp_of(&self, column: &str) -> Stamp {
        let own = self.stamps.iter().find(|(name, _)| name == column).map(|(_, stamp)| stamp.clone());
        own.unwrap_or_else(|| if self.is_unwritten() { Stamp::new() } else { vec![self.version] })
    }

    fn set(&mut self, column: &str, stamp: Stamp, value: Option<Value>) {
        let place = self.fields.iter().position(|(field, _)| field == column);
        match (place, value) {
            (Some(i), Some(value)) => self.fields[i].1 = value,
            (None, Some(value)) => self.fields.push((column.to_owned(), value)),
            (Some(i), None) => drop(self.fields.remove(i)),
            (None, None) => {}
        }
        self.stamps.retain(|(name, _)| name != column);
        if self.is_unwritten() || stamp != [self.version] {
            let place = self.stamps.partition_point(|(name, _)| name.as_str() < column);
            self.stamps.insert(place, (column.to_owned(), stamp));
        }
    }

    /// No write has said yet whether the document exists.
    fn is_unwritten(&self) -> bool {
        !self.live && self.version == Position::default()
    }
}

impl Departed {
    /// Takes the value where it is newer than the known one and older than the move.
    fn offer(&mut self, carried: &Carried) -> bool {
        let limit = [self.at];
        let known = self.columns.iter_mut().find(|known| known.column == carried.column);
        let newer = known.filter(|known| known.stamp < carried.stamp && carried.stamp[..] < limit[..]);
        newer.is_some_and(|known| {
            *known = carried.clone();
            true
        })
    }
}

fn take(fields: &mut Fields, column: &str) -> Option<Value> {
    fields.iter().position(|(field, _)| field == column).map(|i| fields.swap_remove(i).1)
}

fn field(fields: &Fields, column: &str) -> Option<Value> {
    fields.iter().find(|(name, _)| name == column).map(|(_, value)| value.clone())
}
