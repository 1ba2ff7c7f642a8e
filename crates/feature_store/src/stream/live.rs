//! The state of the stream as others see it: rows of payments that have not happened yet, while events go on being applied.
//!
//! The stream's sink applies, everybody else asks. Nobody holds the lock for longer than a few events or a slice of what is stored, and
//! nobody holds it while waiting.

use super::Streamed;
use super::state::State;
use crate::event::Mapped;
use affluent_features::{Plan, SourceId};
use parking_lot::{Mutex, MutexGuard};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A handle of the state. Cheap to clone.
#[derive(Debug, Clone)]
pub struct LiveState {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    plan: Arc<Plan>,
    /// None until partitions are assigned.
    state: Mutex<Option<State>>,
    is_current: AtomicBool,
    /// By source: name and version of each feature of a row of it.
    features: Vec<(SourceId, Names)>,
}

/// Name and version of each value of a row.
pub type Names = Arc<Vec<(String, u32)>>;

/// The features of an event.
#[derive(Debug, Clone, PartialEq)]
pub struct LiveRow {
    /// In the order of [`LiveState::features`]; NaN where there is none.
    pub values: Vec<f64>,
    /// False where a window reaches events that were let go, or never came.
    pub is_exact: bool,
}

impl LiveState {
    /// The state of these features: nothing is known before a sink has restored it.
    #[must_use]
    pub fn new(streamed: &Streamed) -> Self {
        let (plan, definitions) = (&streamed.plan, &streamed.definitions);
        let version = |name: &String| definitions.feature(name).map_or(0, |feature| feature.version);
        let features = definitions.sources.keys().filter_map(|name| {
            let source = plan.source(name)?;
            let names = plan.source_shape(source).row.iter();
            Some((source, Arc::new(names.map(|name| (name.clone(), version(name))).collect())))
        });
        let features = features.collect();
        let (plan, state, is_current) = (Arc::clone(plan), Mutex::new(None), AtomicBool::new(false));
        LiveState { shared: Arc::new(Shared { plan, state, is_current, features }) }
    }

    /// Name and version of each value of a row of this source: features of the event itself, then those of its entities.
    #[must_use]
    pub fn features(&self, source: SourceId) -> Names {
        let found = self.shared.features.iter().find(|(other, _)| *other == source);
        found.map(|(_, features)| Arc::clone(features)).unwrap_or_default()
    }

    /// Whether the state has all partitions of all topics, and has read them up to where they ended when they were assigned.
    #[must_use]
    pub fn is_current(&self) -> bool {
        self.shared.is_current.load(Ordering::Acquire)
    }

    /// The row that an event would have if it were applied now. None where the state is not [current](LiveState::is_current), or the event could
    /// not be applied.
    #[must_use]
    pub fn row(&self, source: SourceId, mapped: &Mapped) -> Option<LiveRow> {
        if !self.is_current() {
            return None;
        }
        let mut values = vec![f64::NAN; self.shared.plan.source_shape(source).row.len()];
        let event = mapped.event(source);
        let is_exact = self.lock().as_mut()?.engine.preview(&event, &mut values).ok()?;
        Some(LiveRow { values, is_exact })
    }

    /// By entity of an event: when its key's newest event happened, microseconds UTC; none where there is no event of it.
    #[must_use]
    pub fn newest(&self, source: SourceId, mapped: &Mapped) -> Vec<(String, Option<i64>)> {
        let plan = &self.shared.plan;
        let guard = self.lock();
        let newest = |(entity, key): (&(String, String), &Option<affluent_features::Key>)| {
            let known = plan.entity(&entity.0)?;
            let newest = key.and_then(|key| guard.as_ref()?.engine.newest(known, key));
            Some((entity.0.clone(), newest.map(|(_, at)| at.time)))
        };
        plan.source_shape(source).entities.iter().zip(&mapped.keys).filter_map(newest).collect()
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Option<State>> {
        self.shared.state.lock()
    }

    /// What the state says; the value for none where there is none.
    pub(super) fn with<T: Default>(&self, ask: impl FnOnce(&mut State) -> T) -> T {
        self.lock().as_mut().map(ask).unwrap_or_default()
    }

    pub(super) fn set_current(&self, is_current: bool) {
        self.shared.is_current.store(is_current, Ordering::Release);
    }
}
