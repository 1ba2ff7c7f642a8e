//! Events of one source in columns: made of rows of its query, cut by arrival, handed to a replay.

use super::feed::Counted;
use crate::event::columns::{self, Columns};
use crate::event::{Cell, Fit, Mapped, Mapping};
use affluent_features::replay::{self, KeyColumn};
use affluent_features::{Event, Key, Plan, SourceId};
use arrow_array::RecordBatch;
use std::collections::HashSet;
use std::sync::Arc;

/// The columns that say where a row stands in Kafka.
pub(super) const PLACE: [&str; 3] = ["_kafka_topic", "_kafka_partition", "_kafka_offset"];

/// What of events is kept beside what the engine takes, and which of them are.
#[derive(Debug, Clone, Default)]
pub(crate) struct Kept {
    /// The key of this entity as text; then only events with such a key are kept.
    pub(crate) entity: Option<String>,
    /// The ids of this source's events.
    pub(crate) ids_of: Option<String>,
    /// Only events with these keys of `entity`.
    pub(crate) keys: Keys,
    /// Where each event stands in Kafka.
    pub(crate) places: bool,
    /// All keys of each event as text.
    pub(crate) texts: bool,
}

/// Which keys.
#[derive(Debug, Clone, Default)]
pub(crate) enum Keys {
    #[default]
    All,
    /// Those in a slice of so many.
    Slice(u32, u32),
    These(Arc<HashSet<Key>>),
}

impl Keys {
    fn has(&self, key: Key) -> bool {
        match self {
            Keys::All => true,
            Keys::Slice(slice, slices) => slice_of(key, *slices) == *slice,
            Keys::These(keys) => keys.contains(&key),
        }
    }
}

/// What a stream keeps, of its own source.
#[derive(Debug, Clone, Default)]
pub(super) struct Wanted {
    /// The place of the entity in the source.
    pub(super) entity: Option<usize>,
    pub(super) keys: Keys,
    pub(super) ids: bool,
    pub(super) places: bool,
    pub(super) texts: bool,
}

/// Topic, partition, offset.
pub(crate) type Place = (Arc<str>, i32, i64);

/// Events in the order in which they came.
#[derive(Debug, Default)]
pub(crate) struct Events {
    pub(crate) time: Vec<i64>,
    pub(crate) arrived: Vec<i64>,
    pub(crate) order: Vec<u64>,
    version: Vec<u64>,
    removed: Vec<bool>,
    updated: Vec<bool>,
    /// By entity.
    keys: Vec<Vec<Option<Key>>>,
    /// By entity: the keys as text; empty where they are not asked for.
    key_texts: Vec<Vec<Option<String>>>,
    /// By column.
    cells: Vec<Vec<i64>>,
    /// Key and text of the entity that is asked for; empty where none is.
    pub(crate) texts: Vec<(Key, String)>,
    /// Empty where no ids are asked for.
    pub(crate) ids: Vec<String>,
    /// Empty where no places are asked for.
    pub(crate) places: Vec<Place>,
}

impl Events {
    /// No events of a source of this shape.
    pub(crate) fn none(plan: &Plan, source: SourceId) -> Self {
        let shape = plan.source_shape(source);
        Events {
            keys: vec![Vec::new(); shape.entities.len()],
            key_texts: vec![Vec::new(); shape.entities.len()],
            cells: vec![Vec::new(); shape.columns.len()],
            ..Events::default()
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.time.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.time.is_empty()
    }

    /// Takes in the rows of a batch; what is no event is counted.
    ///
    /// # Errors
    /// A message: the query lacks a column.
    pub(super) fn extend(
        &mut self,
        mapping: &Mapping,
        wanted: &Wanted,
        batch: &RecordBatch,
        counted: &mut Counted,
    ) -> Result<(), String> {
        let columns = Columns::new(mapping, batch)?;
        let places = if wanted.places { Some(Places::new(batch)?) } else { None };
        let (mut row, mut mapped): (Vec<Cell<'_>>, Mapped) = (Vec::new(), Mapped::default());
        for nth in 0..columns.rows() {
            columns.row(nth, &mut row);
            match mapping.event(&row, &mut mapped) {
                Ok(Fit::Event) => {}
                Ok(Fit::Late) => {
                    counted.late += 1;
                    continue;
                }
                Ok(Fit::Nothing) => continue,
                Err(misfit) => {
                    counted.refuse(misfit.to_string());
                    continue;
                }
            }
            counted.events += 1;
            if let Some(entity) = wanted.entity {
                let Some(key) = mapped.keys[entity].filter(|key| wanted.keys.has(*key)) else { continue };
                self.texts.push((key, mapping.key_text(&row, entity).unwrap_or_default()));
            }
            self.push(&mapped);
            if wanted.texts {
                for (entity, texts) in self.key_texts.iter_mut().enumerate() {
                    texts.push(mapping.key_text(&row, entity));
                }
            }
            if wanted.ids {
                self.ids.push(mapping.id_text(&row).unwrap_or_default());
            }
            if let Some(places) = &places {
                self.places.push(places.of(nth));
            }
        }
        Ok(())
    }

    fn push(&mut self, event: &Mapped) {
        self.time.push(event.time);
        self.arrived.push(event.arrived);
        self.order.push(event.order);
        self.version.push(event.version);
        self.removed.push(event.removed);
        self.updated.push(event.updated);
        for (column, key) in self.keys.iter_mut().zip(&event.keys) {
            column.push(*key);
        }
        for (column, cell) in self.cells.iter_mut().zip(&event.cells) {
            column.push(*cell);
        }
    }

    /// Arrival and time of the event at `place`.
    pub(crate) fn instant(&self, place: usize) -> (i64, i64) {
        (self.arrived[place], self.time[place])
    }

    /// A key of the event at `place`, where it has one.
    pub(crate) fn key(&self, entity: usize, place: usize) -> Option<Key> {
        self.keys[entity][place]
    }

    /// The text of a key, where texts are kept.
    pub(crate) fn key_text(&self, entity: usize, place: usize) -> Option<&str> {
        self.key_texts[entity].get(place)?.as_deref()
    }

    /// The event has not happened after all.
    pub(crate) fn is_removed(&self, place: usize) -> bool {
        self.removed[place]
    }

    /// The event is of a change of a row that had been there before.
    pub(crate) fn is_updated(&self, place: usize) -> bool {
        self.updated[place]
    }

    /// Takes the first `count` events out.
    pub(crate) fn take(&mut self, count: usize) -> Self {
        fn front<T>(column: &mut Vec<T>, count: usize) -> Vec<T> {
            let rest = column.split_off(count.min(column.len()));
            std::mem::replace(column, rest)
        }
        Events {
            time: front(&mut self.time, count),
            arrived: front(&mut self.arrived, count),
            order: front(&mut self.order, count),
            version: front(&mut self.version, count),
            removed: front(&mut self.removed, count),
            updated: front(&mut self.updated, count),
            keys: self.keys.iter_mut().map(|column| front(column, count)).collect(),
            key_texts: self.key_texts.iter_mut().map(|column| front(column, count)).collect(),
            cells: self.cells.iter_mut().map(|column| front(column, count)).collect(),
            texts: front(&mut self.texts, count),
            ids: front(&mut self.ids, count),
            places: front(&mut self.places, count),
        }
    }

    /// Gives `take` the event at `place`.
    pub(crate) fn with<T>(&self, source: SourceId, place: usize, take: impl FnOnce(&Event) -> T) -> T {
        let keys: Vec<Option<Key>> = self.keys.iter().map(|column| column[place]).collect();
        let cells: Vec<i64> = self.cells.iter().map(|column| column[place]).collect();
        take(&Event {
            source,
            time: self.time[place],
            order: self.order[place],
            version: self.version[place],
            removed: self.removed[place],
            keys: &keys,
            cells: &cells,
        })
    }

    /// The columns by which a replay is given its keys and cells.
    pub(crate) fn parts(&self) -> (Vec<KeyColumn<'_>>, Vec<&[i64]>) {
        (
            self.keys.iter().map(|column| KeyColumn::Keys(column)).collect(),
            self.cells.iter().map(Vec::as_slice).collect(),
        )
    }

    /// The input of a replay, with the columns of [`Events::parts`].
    pub(crate) fn columns<'a>(
        &'a self,
        source: SourceId,
        (keys, cells): &'a (Vec<KeyColumn<'a>>, Vec<&'a [i64]>),
        rows: bool,
    ) -> replay::Columns<'a> {
        replay::Columns {
            source,
            time: &self.time,
            arrived: &self.arrived,
            order: &self.order,
            keys,
            cells,
            version: Some(&self.version),
            removed: Some(&self.removed),
            rows,
        }
    }
}

/// The columns of a batch that say where its rows stand in Kafka.
struct Places<'a> {
    topics: Vec<Cell<'a>>,
    partitions: Vec<Cell<'a>>,
    offsets: Vec<Cell<'a>>,
}

impl<'a> Places<'a> {
    fn new(batch: &'a RecordBatch) -> Result<Self, String> {
        let column = |name: &str| {
            let column =
                batch.column_by_name(name).ok_or_else(|| format!("the query has no column {name}"))?;
            Ok::<_, String>((0..batch.num_rows()).map(|row| columns::cell(column, row)).collect())
        };
        let [topics, partitions, offsets] = PLACE;
        Ok(Places { topics: column(topics)?, partitions: column(partitions)?, offsets: column(offsets)? })
    }

    fn of(&self, row: usize) -> Place {
        let number = |cell: &Cell<'_>| if let Cell::Int(number) = cell { *number } else { -1 };
        let topic = if let Cell::Text(text) = &self.topics[row] { text.as_ref() } else { "" };
        (topic.into(), i32::try_from(number(&self.partitions[row])).unwrap_or(-1), number(&self.offsets[row]))
    }
}

/// In which slice of so many a key is; keys that are numbers or hashes spread alike.
pub(crate) fn slice_of(key: Key, slices: u32) -> u32 {
    let folded = (key.0 as u64) ^ (key.0 >> 64) as u64;
    let mixed = folded.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
    mixed as u32 % slices.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_part_the_keys() {
        let mut counts = [0; 4];
        for number in 0..4_000_i64 {
            counts[slice_of(Key::from(number), 4) as usize] += 1;
        }
        assert!(counts.iter().all(|&count| (700..1_300).contains(&count)), "{counts:?}");
    }
}
