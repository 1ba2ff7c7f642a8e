//! All keys of one group: finding them, applying events to their logs, reading their windows, letting them go.

use super::log::{Log, Rows};
use super::read::read;
use super::running::Running;
use super::slab::Slab;
use crate::aggregate::instant;
use crate::event::{At, Key};
use crate::plan::Group;
use hashbrown::HashTable;

/// What became of an event at one key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    New,
    Corrected,
    /// It was there already, in this version or a later one.
    Duplicate,
    /// It came later than the source allows, or falls into what was let go.
    Late,
    /// There are as many keys as there may be.
    Full,
}

/// One key.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) key: Key,
    /// The event time of the newest row there ever was.
    pub(crate) newest: i64,
    /// The event time of the newest row that was let go: windows that reach back to it cannot be told.
    pub(crate) lost: i64,
    pub(crate) log: Log,
    pub(super) running: Option<Box<Running>>,
}

/// The keys of a group. An index over a list of slots, so that an entry of the index is four bytes.
#[derive(Debug)]
pub(crate) struct Keys {
    index: HashTable<u32>,
    pub(crate) slots: Vec<Slot>,
    /// Events of any key up to this time may never have come: windows that reach back to it cannot be told.
    pub(crate) lost: i64,
    hasher: ahash::RandomState,
    /// Where short logs lie.
    pub(super) slab: Slab,
    /// The slot that was last asked for: an event is applied and its key is read right after.
    recent: Option<u32>,
    /// For windows that are computed each time.
    pub(super) scratch: Running,
}

impl Keys {
    pub(crate) fn new(group: &Group) -> Self {
        let hasher = ahash::RandomState::new();
        Keys {
            index: HashTable::new(),
            slots: Vec::new(),
            lost: i64::MIN,
            hasher,
            slab: Slab::new(group.stride),
            recent: None,
            scratch: Running::new(group),
        }
    }

    pub(crate) fn find(&mut self, key: Key) -> Option<usize> {
        let slots = &self.slots;
        if let Some(slot) = self.recent.filter(|&slot| slots[slot as usize].key == key) {
            return Some(slot as usize);
        }
        let found = self.index.find(self.hasher.hash_one(key), |&slot| slots[slot as usize].key == key);
        self.recent = found.copied();
        self.recent.map(|slot| slot as usize)
    }

    /// The instant of the newest row of a key.
    pub(crate) fn last(&self, key: Key) -> Option<At> {
        let slots = &self.slots;
        let slot = self.index.find(self.hasher.hash_one(key), |&slot| slots[slot as usize].key == key)?;
        let (time, order) = instant(self.rows(*slot as usize).last()?);
        Some(At { time, order })
    }

    /// The rows of a slot.
    pub(crate) fn rows(&self, slot: usize) -> Rows<'_> {
        self.slots[slot].log.rows(&self.slab)
    }

    /// Appends rows to the log of a slot as they were kept.
    pub(crate) fn extend(&mut self, slot: usize, words: &[i64]) {
        self.slots[slot].log.extend(&mut self.slab, number(slot), words);
        self.follow();
    }

    /// The slot of a key, made where there is none; none where there may be no more.
    pub(crate) fn slot(&mut self, key: Key, keys_max: usize) -> Option<usize> {
        if let Some(slot) = self.find(key) {
            return Some(slot);
        }
        let slot = u32::try_from(self.slots.len()).ok().filter(|_| self.slots.len() < keys_max)?;
        let (slots, hasher) = (&self.slots, &self.hasher);
        let hash_of = |&slot: &u32| hasher.hash_one(slots[slot as usize].key);
        self.index.insert_unique(hasher.hash_one(key), slot, hash_of);
        let (newest, lost) = (i64::MIN, i64::MIN);
        self.slots.push(Slot { key, newest, lost, log: Log::default(), running: None });
        Some(slot as usize)
    }

    /// Room for so many keys.
    pub(crate) fn reserve(&mut self, keys: usize) {
        let (slots, hasher) = (&self.slots, &self.hasher);
        self.index.reserve(keys, |&slot| hasher.hash_one(slots[slot as usize].key));
        self.slots.reserve_exact(keys);
    }

    /// Takes a row into the log of a key. Whether rows had to be let go for it before their time is told too.
    pub(crate) fn apply(&mut self, group: &Group, key: Key, row: &[i64], limits: Limits) -> (Outcome, bool) {
        match self.slot(key, limits.keys_max) {
            Some(slot) => self.apply_slot(group, slot, row, limits),
            None => (Outcome::Full, false),
        }
    }

    /// As [`Keys::apply`], of a slot.
    pub(crate) fn apply_slot(
        &mut self,
        group: &Group,
        slot: usize,
        row: &[i64],
        limits: Limits,
    ) -> (Outcome, bool) {
        let applied = self.slots[slot].apply(group, &mut self.slab, number(slot), row, limits);
        self.follow();
        applied
    }

    /// Tells logs where the slab has moved their rows to.
    pub(super) fn follow(&mut self) {
        for (owner, place) in self.slab.moved.drain(..) {
            self.slots[owner as usize].log.moved(place);
        }
    }

    /// Writes the values of a key at an instant. False where rows that some window reaches were let go, or never came.
    pub(crate) fn read(
        &mut self,
        group: &Group,
        key: Option<Key>,
        at: At,
        limits: Limits,
        vector: &mut [f64],
    ) -> bool {
        let slot = key.and_then(|key| self.find(key));
        self.read_slot(group, slot, at, limits, vector)
    }

    /// As [`Keys::read`], of a slot; without one, of a key that has no event.
    pub(crate) fn read_slot(
        &mut self,
        group: &Group,
        slot: Option<usize>,
        at: At,
        limits: Limits,
        vector: &mut [f64],
    ) -> bool {
        let is_whole = self.is_whole(group, at);
        let Some(slot) = slot.map(|slot| &mut self.slots[slot]) else {
            let nothing = Rows::none(group.stride);
            self.scratch.build(group, nothing, at);
            self.scratch.settle(group, nothing, at);
            read(group, nothing, &self.scratch, at, vector);
            return is_whole;
        };
        let log = slot.log.rows(&self.slab);
        let running = match &mut slot.running {
            Some(running) => {
                running.move_to(group, log, at);
                running
            }
            None if log.len() <= limits.scan_max(group) => {
                self.scratch.build(group, log, at);
                &mut self.scratch
            }
            none @ None => {
                let running = none.insert(Box::new(Running::new(group)));
                running.build(group, log, at);
                running
            }
        };
        running.settle(group, log, at);
        read(group, log, running, at, vector);
        is_whole && slot.lost <= at.time.saturating_sub(group.retention)
    }

    /// Whether no window at an instant reaches back to events that may never have come.
    pub(super) fn is_whole(&self, group: &Group, at: At) -> bool {
        self.lost <= at.time.saturating_sub(group.retention)
    }

    /// Lets go of keys of which no window at `now` or later holds anything, and no late event can come any more; of at most so many keys from a
    /// place on. Returns the place to go on at; none at the end.
    pub(crate) fn evict(&mut self, group: &Group, now: i64, from: usize, keys: usize) -> Option<usize> {
        self.recent = None;
        let kept = group.retention + group.lateness;
        let mut place = from;
        for _ in 0..keys {
            if place >= self.slots.len() {
                return None;
            }
            if self.slots[place].newest.saturating_add(kept) >= now {
                place += 1;
                continue;
            }
            let last = self.slots.len() - 1;
            self.unlink(place);
            self.slots[place].log.free(&mut self.slab);
            self.follow();
            if place != last {
                self.unlink(last);
                self.slots.swap_remove(place);
                self.slots[place].log.hand_over(&mut self.slab, number(place));
                let (slots, hasher) = (&self.slots, &self.hasher);
                let hash_of = |&slot: &u32| hasher.hash_one(slots[slot as usize].key);
                self.index.insert_unique(hasher.hash_one(slots[place].key), number(place), hash_of);
            } else {
                self.slots.pop();
            }
        }
        Some(place)
    }

    fn unlink(&mut self, place: usize) {
        let hash = self.hasher.hash_one(self.slots[place].key);
        if let Ok(entry) = self.index.find_entry(hash, |&slot| slot as usize == place) {
            entry.remove();
        }
    }
}

/// Slots are fewer than 2^32.
pub(super) fn number(slot: usize) -> u32 {
    u32::try_from(slot).unwrap_or(u32::MAX)
}

/// Bounds of what is kept.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) keys_max: usize,
    pub(crate) events_max: usize,
    /// Above so many rows windows are kept running, whatever the plan says.
    pub(crate) scan_max: Option<usize>,
    /// Nothing is late that is newer than what was let go.
    pub(crate) any_order: bool,
}

impl Limits {
    fn scan_max(self, group: &Group) -> usize {
        self.scan_max.unwrap_or(group.scan_max)
    }
}

impl Slot {
    /// Takes a row into the log of this slot, which is the one of this number; whether rows had to be let go for it before their time.
    fn apply(
        &mut self,
        group: &Group,
        slab: &mut Slab,
        number: u32,
        row: &[i64],
        limits: Limits,
    ) -> (Outcome, bool) {
        let at = instant(row);
        // Nearly every event is the newest of its key: then the log need not be looked at.
        let found = if at.0 > self.newest { Err(self.log.len()) } else { self.log.rows(slab).find(at) };
        let place = match found {
            Ok(place) => return (self.correct(group, slab, place, row), false),
            Err(place) => place,
        };
        if self.is_too_late(group, at.0, limits) {
            return (Outcome::Late, false);
        }
        self.log.insert(slab, number, place, row);
        self.newest = self.newest.max(at.0);
        let rows = self.log.rows(slab);
        let length = rows.len();
        if let Some(running) = &mut self.running
            && place + 1 < length
        {
            running.inserted(group, rows, place);
        }
        let horizon = self.newest.saturating_sub(group.lateness).saturating_sub(group.retention);
        let mut leaving = 0;
        while leaving < length && rows.row(leaving)[0] <= horizon {
            leaving += 1;
        }
        let too_many = length - leaving > limits.events_max;
        if too_many {
            leaving = length - limits.events_max;
        }
        if leaving > 0 {
            self.let_go(group, slab, number, leaving, limits);
        }
        (Outcome::New, too_many)
    }

    /// Whether a row of this time comes later than its source allows, or falls into what was let go.
    pub(super) fn is_too_late(&self, group: &Group, time: i64, limits: Limits) -> bool {
        let is_late = !limits.any_order && time < self.newest.saturating_sub(group.lateness);
        is_late || time <= self.lost
    }

    /// Replaces a row by a later version of it.
    pub(super) fn correct(&mut self, group: &Group, slab: &mut Slab, place: usize, row: &[i64]) -> Outcome {
        let old = self.log.rows(slab).row(place);
        let version = |row: &[i64]| row[group.stride - 1].cast_unsigned();
        if !group.corrections || version(row) <= version(old) {
            return Outcome::Duplicate;
        }
        if let Some(running) = &mut self.running {
            running.replaced(group, place, old, row);
        }
        self.log.row_mut(slab, place).copy_from_slice(row);
        Outcome::Corrected
    }

    fn let_go(&mut self, group: &Group, slab: &mut Slab, number: u32, rows: usize, limits: Limits) {
        let log = self.log.rows(slab);
        self.lost = self.lost.max(log.row(rows - 1)[0]);
        if let Some(running) = &mut self.running {
            running.drop_front(group, log, rows);
        }
        self.log.drop_front(slab, number, rows);
        if self.log.len() <= limits.scan_max(group) / 2 {
            self.running = None;
        }
    }
}
