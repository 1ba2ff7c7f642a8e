//! The health of every role of this process: what `/healthz`, `/readyz` and `affluent status` show.

use parking_lot::Mutex;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The state of one role.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "state", content = "detail", rename_all = "snake_case")]
pub enum State {
    /// Not yet able to do its work; the text says what it waits for.
    Starting(String),
    Ready,
    /// Works, but something needs a person; the text says what.
    Degraded(String),
    /// Has stopped with this error.
    Failed(String),
    Stopped,
}

/// Shared register of role states. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Health(Arc<Mutex<BTreeMap<String, State>>>);

impl Health {
    /// Sets the state of `role`.
    pub fn set(&self, role: &str, state: State) {
        self.0.lock().insert(role.to_owned(), state);
    }

    /// Every role with its state, by name.
    pub fn snapshot(&self) -> BTreeMap<String, State> {
        self.0.lock().clone()
    }

    /// No role has failed.
    pub fn is_alive(&self) -> bool {
        !self.0.lock().values().any(|s| matches!(s, State::Failed(_)))
    }

    /// Every role does its work.
    pub fn is_ready(&self) -> bool {
        let states = self.0.lock();
        !states.is_empty() && states.values().all(|s| matches!(s, State::Ready | State::Degraded(_)))
    }
}
