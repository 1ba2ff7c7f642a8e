//! From definitions to what has to be kept: pure decisions, made once.
//!
//! All features of one entity over one source share one log of events (a *group*), its windows share *edges* (instants relative to
//! the one that asks), and what is kept is shared by all that need it: mean and sum over the same window are one sum.
//!
//! Invariant: an edge comes after every edge that ends a window it begins, so that an event enters a window before it leaves it.

mod build;
mod edge;
mod reader;

pub use edge::{Edge, Place, Side};
pub use reader::{Read, Reader};

use crate::aggregate::{Shape, Step};
use crate::definition::{Column, ColumnType, Definitions, Filter, Source};
use crate::request::Request;
use sha2::{Digest, Sha256};

/// A source of a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceId(pub(crate) usize);

/// An entity of a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntityId(pub(crate) usize);

/// Why definitions cannot be planned.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum PlanError {
    #[error("source {0}: more than {FILTERS_MAX} different filters")]
    Filters(String),
    #[error("{entity} over {source_name}: more than {KEPT_MAX} windows or things to keep")]
    Kept { entity: String, source_name: String },
}

/// A word of a row says which filters it passes; one bit is taken.
pub const FILTERS_MAX: usize = 62;
/// Windows, and things kept of each kind, of a group.
pub const KEPT_MAX: usize = u16::MAX as usize;

/// What is kept, and how values come out of it.
#[derive(Debug, Clone)]
pub struct Plan {
    pub(crate) sources: Vec<SourceShape>,
    pub(crate) entities: Vec<EntityShape>,
    pub(crate) groups: Vec<Group>,
}

/// A source, as events of it have to look.
#[derive(Debug, Clone)]
pub struct SourceShape {
    pub name: String,
    /// The cells of an event, in this order.
    pub columns: Vec<Column>,
    /// The keys of an event, in this order: entity and column.
    pub entities: Vec<(String, String)>,
    /// Features of an event itself, and what stands where they have no value.
    pub(crate) requests: Vec<(Request, f64)>,
    /// Bit n + 1 of a row says whether it passes filter n.
    pub(crate) filters: Vec<Filter>,
    /// The groups that take its events, and which of its keys each goes by.
    pub(crate) groups: Vec<(usize, usize)>,
    /// What a row of it is: the entities whose vectors follow the features of the event itself, and which of its keys each goes by.
    pub(crate) parts: Vec<(EntityId, usize)>,
    /// The names of the features of a row, in order.
    pub row: Vec<String>,
}

/// An entity and its vector.
#[derive(Debug, Clone)]
pub struct EntityShape {
    pub name: String,
    /// Name and version of each feature, in the order of the vector.
    pub features: Vec<(String, u32)>,
    pub(crate) groups: Vec<usize>,
    pub(crate) ratios: Vec<Ratio>,
}

/// What the features of one entity over one source keep of every key's events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    pub entity: String,
    pub source: String,
    /// The source's columns that are kept; those of filters are not, only whether an event passed.
    pub columns: Vec<String>,
    /// How far back the longest window reaches, its delay included, in microseconds.
    pub window: i64,
    /// How much longer events are kept because late ones may come, in microseconds.
    pub lateness: i64,
    /// Bytes of an event; windows that are kept running come on top.
    pub event_bytes: usize,
}

/// Places of the quotient, of what is divided, and by what.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ratio {
    pub(crate) place: usize,
    pub(crate) of: usize,
    pub(crate) to: usize,
    pub(crate) default: f64,
}

/// The features of one entity over one source.
#[derive(Debug, Clone)]
pub(crate) struct Group {
    pub(crate) entity: EntityId,
    pub(crate) source: SourceId,
    pub(crate) lateness: i64,
    /// How far back the longest window reaches.
    pub(crate) retention: i64,
    /// Columns of the source, by their places in a row after its header.
    pub(crate) columns: Vec<usize>,
    /// Whether the last word of a row is its version.
    pub(crate) corrections: bool,
    /// Words a row.
    pub(crate) stride: usize,
    pub(crate) edges: Vec<Edge>,
    pub(crate) windows: Vec<Bounds>,
    pub(crate) shape: Shape,
    pub(crate) readers: Vec<Reader>,
    /// Up to so many rows of a key, windows are computed from the log each time; beyond, they are kept running. What is kept
    /// running takes about as much memory as so many rows do.
    pub(crate) scan_max: usize,
    /// What identifies the layout of its rows.
    pub(crate) digest: [u8; 16],
}

/// A window of a group: pointers to its first row and behind its last one.
#[derive(Debug, Clone)]
pub(crate) struct Bounds {
    pub(crate) lower: usize,
    pub(crate) upper: usize,
    /// The gap of a session, whose lower pointer is found anew for each reading.
    pub(crate) session: Option<i64>,
    pub(crate) steps: Vec<Step>,
}

impl Plan {
    /// The plan of all these definitions.
    ///
    /// # Errors
    /// [`PlanError`]: more than fits the layout.
    pub fn new(definitions: &Definitions) -> Result<Self, PlanError> {
        build::plan(definitions)
    }

    /// The source of this name, if any feature or definition names it.
    #[must_use]
    pub fn source(&self, name: &str) -> Option<SourceId> {
        self.sources.iter().position(|source| source.name == name).map(SourceId)
    }

    #[must_use]
    pub fn source_shape(&self, source: SourceId) -> &SourceShape {
        &self.sources[source.0]
    }

    /// What is kept, for each entity and source.
    #[must_use]
    pub fn kept(&self) -> Vec<Kept> {
        let kept = |group: &Group| {
            let source = &self.sources[group.source.0];
            Kept {
                entity: self.entities[group.entity.0].name.clone(),
                source: source.name.clone(),
                columns: group.columns.iter().map(|&column| source.columns[column].name.clone()).collect(),
                window: group.retention,
                lateness: group.lateness,
                event_bytes: group.stride * size_of::<i64>(),
            }
        };
        self.groups.iter().map(kept).collect()
    }

    #[must_use]
    pub fn entity(&self, name: &str) -> Option<EntityId> {
        self.entities.iter().position(|entity| entity.name == name).map(EntityId)
    }

    #[must_use]
    pub fn entity_shape(&self, entity: EntityId) -> &EntityShape {
        &self.entities[entity.0]
    }
}

impl Group {
    /// How many pointers there are: the edges, and the beginning of each session window.
    pub(crate) fn pointers(&self) -> usize {
        self.edges.len() + self.windows.iter().filter(|window| window.session.is_some()).count()
    }
}

/// What a group's rows mean: kept with them, so that rows are not read with other eyes.
fn layout_digest(entity: &str, source: &Source, group: &Group, filters: &[Filter]) -> [u8; 16] {
    let columns: Vec<(&str, ColumnType)> =
        group.columns.iter().map(|&c| (source.columns[c].name.as_str(), source.columns[c].kind)).collect();
    let key = source.entities.iter().find(|(name, _)| name == entity);
    let text = format!(
        "{entity} {key:?} {} {} {columns:?} {} {} {} {filters:?}",
        source.name, source.event_time, group.corrections, group.lateness, group.retention
    );
    let mut digest = [0; 16];
    digest.copy_from_slice(&Sha256::digest(text.as_bytes())[..16]);
    digest
}
