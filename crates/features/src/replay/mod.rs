//! Replay: the engine driven over history held in columns, for the features that each row had when it happened.
//!
//! Events are applied in the order of their arrival, ties by event time and order, as a stream brings them. A row is read once its own
//! event has been applied, so it sees events that came before it and happened before it, and a correction or a label only if it had come.
//! There is no second implementation: a replay makes the same calls as a stream, only that it takes the keys of a batch one after
//! the other.
//!
//! History that does not fit into memory comes in several calls, each later in arrival than the one before.

use crate::engine::{BATCH_MAX, Counters, Engine, EventError, Queue};
use crate::event::{Event, Key, NULL};
use crate::plan::SourceId;

/// Keys of an entity, one an event.
#[derive(Debug, Clone, Copy)]
pub enum KeyColumn<'a> {
    /// Whole numbers, [`NULL`] where there is none.
    Numbers(&'a [i64]),
    Keys(&'a [Option<Key>]),
}

/// Events of one source in columns of one length. Keys and cells are in the order of [`crate::plan::SourceShape`].
#[derive(Debug, Clone, Copy)]
pub struct Columns<'a> {
    pub source: SourceId,
    /// Event times in microseconds since the epoch.
    pub time: &'a [i64],
    /// Arrival times in microseconds since the epoch.
    pub arrived: &'a [i64],
    /// What tells events of one time apart.
    pub order: &'a [u64],
    pub keys: &'a [KeyColumn<'a>],
    pub cells: &'a [&'a [i64]],
    /// Versions of events that are corrected; 0 where left out.
    pub version: Option<&'a [u64]>,
    /// Which events are removed; none where left out.
    pub removed: Option<&'a [bool]>,
    /// Whether rows are read for these events.
    pub rows: bool,
}

/// A row of the past: where it stands in which of the inputs, whether its values are exact ([`Engine::row`]), its features.
#[derive(Debug, Clone, Copy)]
pub struct Row<'a> {
    pub input: usize,
    pub event: usize,
    pub exact: bool,
    pub values: &'a [f64],
}

/// Values that a batch may hold: 32 MiB of them.
const VALUES_MAX: usize = 1 << 22;

/// Why history cannot be replayed.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    #[error("input {0}: columns differ in length or number from those of its source")]
    Shape(usize),
    #[error("input {input}, event {event}: {source}")]
    Event { input: usize, event: usize, source: EventError },
}

/// Replays events and hands each row to `sink`. What became of the events is counted.
///
/// # Errors
/// [`ReplayError`]; events of batches before that of the wrong one have been applied.
pub fn replay(
    engine: &mut Engine,
    inputs: &[Columns],
    mut sink: impl FnMut(Row),
) -> Result<Counters, ReplayError> {
    let plan = std::sync::Arc::clone(engine.plan());
    let mut orders = Vec::new();
    let mut width = 0;
    for (number, input) in inputs.iter().enumerate() {
        check(&plan, number, input)?;
        orders.push(input.by_arrival());
        width = width.max(plan.source_shape(input.source).row.len());
    }
    let mut next = vec![0usize; inputs.len()];
    let (mut keys, mut cells) = (Vec::new(), Vec::new());
    let (mut queue, mut from) = (Queue::default(), Vec::new());
    let mut counters = Counters::default();
    // A batch holds its rows until it is done.
    let batch = (VALUES_MAX / width.max(1)).clamp(1, BATCH_MAX);
    loop {
        queue.clear();
        from.clear();
        while queue.len() < batch {
            let open = inputs.iter().enumerate().filter(|(number, input)| next[*number] < input.time.len());
            let first = open.min_by_key(|(number, input)| input.arrival(at(&orders[*number], next[*number])));
            let Some((number, input)) = first else { break };
            let place = at(&orders[number], next[number]);
            next[number] += 1;
            input.fill(place, &mut keys, &mut cells);
            from.push((number, place));
            queue.push(&input.event(place, &keys, &cells), input.rows);
        }
        if from.is_empty() {
            return Ok(counters);
        }
        let done = engine.run(&mut queue, |nth, exact, values| {
            let (input, event) = from[nth];
            sink(Row { input, event, exact, values });
        });
        counters.add(done.map_err(|(nth, source)| ReplayError::Event {
            input: from[nth].0,
            event: from[nth].1,
            source,
        })?);
    }
}

/// The place of the nth event to come: itself, where events are in order.
fn at(order: &Option<Vec<u32>>, nth: usize) -> usize {
    order.as_ref().map_or(nth, |order| order[nth] as usize)
}

fn check(plan: &crate::Plan, number: usize, input: &Columns) -> Result<(), ReplayError> {
    let source = plan.source_shape(input.source);
    let length = input.time.len();
    let keys = input.keys.iter().map(|column| match column {
        KeyColumn::Numbers(numbers) => numbers.len(),
        KeyColumn::Keys(keys) => keys.len(),
    });
    let mut lengths = [input.arrived.len(), input.order.len()]
        .into_iter()
        .chain(keys)
        .chain(input.cells.iter().map(|cells| cells.len()))
        .chain(input.version.map(<[u64]>::len))
        .chain(input.removed.map(<[bool]>::len));
    let fits = lengths.all(|other| other == length)
        && input.keys.len() == source.entities.len()
        && input.cells.len() == source.columns.len()
        && u32::try_from(length).is_ok();
    if fits { Ok(()) } else { Err(ReplayError::Shape(number)) }
}

impl Columns<'_> {
    fn event<'e>(&self, place: usize, keys: &'e [Option<Key>], cells: &'e [i64]) -> Event<'e> {
        Event {
            source: self.source,
            time: self.time[place],
            order: self.order[place],
            version: self.version.map_or(0, |version| version[place]),
            removed: self.removed.is_some_and(|removed| removed[place]),
            keys,
            cells,
        }
    }

    fn arrival(&self, place: usize) -> (i64, i64, u64) {
        (self.arrived[place], self.time[place], self.order[place])
    }

    /// Places in the order of arrival; none where they are in order already.
    fn by_arrival(&self) -> Option<Vec<u32>> {
        let length = self.time.len();
        if (1..length).all(|place| self.arrival(place - 1) <= self.arrival(place)) {
            return None;
        }
        let mut order: Vec<u32> = (0..u32::try_from(length).unwrap_or(u32::MAX)).collect();
        order.sort_by_key(|&place| self.arrival(place as usize));
        Some(order)
    }

    fn fill(&self, place: usize, keys: &mut Vec<Option<Key>>, cells: &mut Vec<i64>) {
        keys.clear();
        keys.extend(self.keys.iter().map(|column| match column {
            KeyColumn::Numbers(numbers) => Some(numbers[place]).filter(|&n| n != NULL).map(Key::from),
            KeyColumn::Keys(keys) => keys[place],
        }));
        cells.clear();
        cells.extend(self.cells.iter().map(|column| column[place]));
    }
}
