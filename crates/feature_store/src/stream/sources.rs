//! From records of the topics to events: which topic is which source, and how its records are decoded and mapped.

use super::used;
use crate::event::topic::{self, Changes};
use crate::event::{Cell, Fit, Mapped, Mapping, References};
use affluent_bus::Incoming;
use affluent_bus::codec::{ChangeDecoder, CodecError, Decoded, EventDecoder};
use affluent_bus::registry::RegistryClient;
use affluent_features::definition::Definitions;
use affluent_features::plan::EntityId;
use affluent_features::{Plan, SourceId};
use affluent_model::{ChangeEvent, EventKind, Op, Reason, Snapshot};
use affluent_stream::sinks::SinkError;
use affluent_stream::sinks::events::EventOptions;
use std::collections::BTreeMap;
use std::sync::Arc;

/// An event of a record, ready to be applied.
#[derive(Debug)]
pub(super) struct Occurred {
    pub(super) source: SourceId,
    pub(super) mapped: Mapped,
    /// The entities that it belongs to: which key of the event, and the key's text.
    pub(super) entities: Vec<(EntityId, usize, String)>,
    /// When it was committed at the source or received, microseconds UTC; none for rows of a snapshot and what is read again.
    pub(super) begun_us: Option<i64>,
    /// Read by a snapshot of its table: others of any age may follow.
    pub(super) is_past: bool,
    /// The row itself, where somebody follows what is inserted.
    pub(super) inserted: Option<Box<ChangeEvent>>,
}

/// What a record is.
pub(super) enum Read {
    Event(Box<Occurred>),
    /// Too late to be applied; the row itself, where somebody follows what is inserted.
    Late(Option<Box<ChangeEvent>>),
    Nothing,
    Unfit(Reason, String),
    /// A value that no event can have; the row itself, where somebody follows what is inserted.
    Misfit(String, Option<Box<ChangeEvent>>),
}

/// The sources that have topics, and the decoders.
pub(super) struct Sources {
    topics: BTreeMap<String, Source>,
    changes: ChangeDecoder,
    events: EventDecoder,
    /// The topic whose inserted rows are handed on.
    followed: Option<String>,
}

struct Source {
    mapping: Mapping,
    /// None for changes of a table.
    kind: Option<EventKind>,
    places: Changes,
    /// Entities of the plan, by the place of their key.
    entities: Vec<(EntityId, usize)>,
}

impl Sources {
    pub(super) fn new(
        definitions: &Definitions,
        plan: &Plan,
        references: &Arc<References>,
        events: &EventOptions,
        registry: Option<RegistryClient>,
    ) -> Self {
        let mut topics = BTreeMap::new();
        for (topic, name) in used(definitions) {
            let mapping = Mapping::new(definitions, plan, name, references);
            let (Some(source), Some(mapping)) = (definitions.sources.get(name), mapping) else { continue };
            let entities = source.entities.iter().enumerate();
            let entities =
                entities.filter_map(|(key, (entity, _))| Some((plan.entity(entity)?, key))).collect();
            let (kind, places) = (events.kind(topic), Changes::default());
            topics.insert(topic.to_owned(), Source { mapping, kind, places, entities });
        }
        let (changes, events) = (ChangeDecoder::new(registry.clone()), EventDecoder::new(registry));
        Sources { topics, changes, events, followed: None }
    }

    /// Hands on the rows that are inserted into the table of this source.
    pub(super) fn follow(&mut self, name: &str) {
        let is_followed = |source: &Source| source.mapping.name() == name && source.kind.is_none();
        let topic = self.topics.iter().find(|(_, source)| is_followed(source));
        self.followed = topic.map(|(topic, _)| topic.clone());
    }

    /// The topics that are read.
    pub(super) fn topics(&self) -> impl Iterator<Item = &str> {
        self.topics.keys().map(String::as_str)
    }

    /// The source whose events are in a topic.
    pub(super) fn source(&self, topic: &str) -> Option<SourceId> {
        self.topics.get(topic).map(|source| source.mapping.source())
    }

    /// What the record is.
    ///
    /// # Errors
    /// [`SinkError::Passing`]: the record may be good, but not now.
    pub(super) async fn read(&mut self, record: &Incoming) -> Result<Read, SinkError> {
        let Some(source) = self.topics.get_mut(&*record.topic) else {
            let error = "no source of features has this topic: mend `topics`".to_owned();
            return Ok(Read::Unfit(Reason::Undecodable, error));
        };
        match source.kind {
            None => match self.changes.decode(record).await {
                Ok(Decoded::Tombstone) => Ok(Read::Nothing),
                Ok(Decoded::Other) => {
                    Ok(Read::Unfit(Reason::Undecodable, "not a change event: mend `topics`".to_owned()))
                }
                Ok(Decoded::Change(change)) => {
                    let mut cells = Vec::new();
                    source.places.row(&source.mapping, &change, &mut cells);
                    let streamed = change.source.snapshot == Snapshot::False;
                    let mut read = source.occurred(&cells, streamed.then_some(change.source.ts_us));
                    drop(cells);
                    let is_followed = self.followed.as_deref() == Some(&*record.topic);
                    if is_followed && streamed && change.op == Op::Create {
                        read.keep(change);
                    }
                    Ok(read)
                }
                Err(error) => unfit(&error),
            },
            Some(EventKind::Clicks) if record.value.is_none() => Ok(Read::Nothing),
            Some(EventKind::Clicks) => match self.events.click(record).await {
                Ok(click) => {
                    let mut cells = Vec::new();
                    topic::click(&source.mapping, &click, &mut cells);
                    Ok(source.occurred(&cells, Some(click.received_at)))
                }
                Err(error) => unfit(&error),
            },
            Some(EventKind::Logs) => {
                let error = "log lines are no events of features: mend the source's topic".to_owned();
                Ok(Read::Unfit(Reason::Undecodable, error))
            }
        }
    }
}

impl Read {
    /// Keeps the row that it was read from.
    fn keep(&mut self, change: ChangeEvent) {
        match self {
            Read::Event(event) => event.inserted = Some(Box::new(change)),
            Read::Late(inserted) | Read::Misfit(_, inserted) => *inserted = Some(Box::new(change)),
            Read::Nothing | Read::Unfit(..) => {}
        }
    }
}

impl Source {
    fn occurred(&self, cells: &[Cell], begun_us: Option<i64>) -> Read {
        let mut mapped = Mapped::default();
        match self.mapping.event(cells, &mut mapped) {
            Ok(Fit::Nothing) => Read::Nothing,
            Ok(Fit::Late) => Read::Late(None),
            Ok(Fit::Event) => {
                let is_past = begun_us.is_none();
                let text = |&(entity, key): &(EntityId, usize)| {
                    Some((entity, key, self.mapping.key_text(cells, key)?))
                };
                let entities = self.entities.iter().filter_map(text).collect();
                let source = self.mapping.source();
                let inserted = None;
                Read::Event(Box::new(Occurred { source, mapped, entities, begun_us, is_past, inserted }))
            }
            Err(misfit) => Read::Misfit(misfit.to_string(), None),
        }
    }
}

fn unfit(error: &CodecError) -> Result<Read, SinkError> {
    match error.reason() {
        Some(reason) => Ok(Read::Unfit(reason, error.to_string())),
        None => Err(SinkError::Passing(error.to_string())),
    }
}
