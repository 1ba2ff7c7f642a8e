//! The role `features`: a consumer of the sources' topics that keeps the engine's state and writes changed keys to the online store.
//!
//! The state is one, over all partitions: a customer's payments lie in every partition of `transactions`, because their key is the
//! payment. So one member of a consumer group reads all of them; where it has only a part, it keeps reading but holds values back. A
//! second process is a replica with a group of its own: it has the same state, writes the same values and is there when the first is not.
//!
//! Others ask the state while it is kept up ([`LiveState`]), and one may follow what is inserted into a table ([`Follower`]): scoring does both.
//!
//! What is read by which member when is the consume loop's ([`affluent_stream::consume`]); the sink keeps its offsets beside the state. What
//! the topics do not hold ([`Past`]) is read from the lake when the role starts.
//!
//! Invariant: after the same records, whatever was killed, repeated or moved meanwhile, the values in the store are the same.

mod ends;
mod follow;
mod live;
mod options;
mod past;
mod sink;
mod sources;
mod state;
mod storing;
mod values;

pub use ends::ends_of;
pub use follow::{Followed, Follower};
pub use live::{LiveRow, LiveState, Names};
pub use options::StreamOptions;
pub use past::Past;
pub use sink::FeaturesSink;

use crate::event::References;
use affluent_features::Plan;
use affluent_features::definition::{DefinitionError, Definitions};
use affluent_features::plan::PlanError;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The features that are kept up with the topics, and what is needed to compute them.
#[derive(Debug, Clone)]
pub struct Streamed {
    pub definitions: Arc<Definitions>,
    pub plan: Arc<Plan>,
    pub references: Arc<References>,
}

/// Why definitions cannot be streamed.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    #[error(transparent)]
    Definitions(#[from] DefinitionError),
    #[error(transparent)]
    Plan(#[from] PlanError),
    #[error("sources {first} and {second} have the topic {topic}: make one of them, or name other topics")]
    Topic { topic: String, first: String, second: String },
}

impl Streamed {
    /// Those of freshness `stream` among all definitions.
    ///
    /// # Errors
    /// [`StreamError`].
    pub fn new(all: &Definitions, references: Arc<References>) -> Result<Self, StreamError> {
        let definitions = all.select(&all.streamed())?;
        let mut topics = BTreeMap::new();
        for (topic, name) in used(&definitions) {
            if let Some(first) = topics.insert(topic, name) {
                let (topic, first, second) = (topic.to_owned(), first.to_owned(), name.to_owned());
                return Err(StreamError::Topic { topic, first, second });
            }
        }
        let plan = Arc::new(Plan::new(&definitions)?);
        Ok(Streamed { definitions: Arc::new(definitions), plan, references })
    }

    /// Their topics, each as an expression that matches it alone.
    #[must_use]
    pub fn topics(&self) -> Vec<String> {
        used(&self.definitions).map(|(topic, _)| format!("^{}$", topic.replace('.', "\\."))).collect()
    }
}

/// Topics and names of the sources that any feature is computed from.
fn used(definitions: &Definitions) -> impl Iterator<Item = (&str, &str)> {
    let is_used = |name: &str| definitions.features.iter().any(|f| definitions.sources_of(f).contains(&name));
    let sources = definitions.sources.iter().filter(move |(name, _)| is_used(name));
    sources.filter_map(|(name, source)| Some((source.topic.as_deref()?, name.as_str())))
}
