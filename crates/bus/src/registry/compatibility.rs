//! Whether a new schema may follow the earlier ones of its subject.

use apache_avro::Schema;
use apache_avro::schema_compatibility::SchemaCompatibility;
use serde::{Deserialize, Serialize};

/// Confluent's levels. `Backward`: the new schema reads what the last one wrote. `Forward`: the
/// last one reads what the new one writes. `Full`: both. Transitive: all earlier ones, not the last.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum CompatibilityLevel {
    None,
    #[default]
    Backward,
    BackwardTransitive,
    Forward,
    ForwardTransitive,
    Full,
    FullTransitive,
}

impl CompatibilityLevel {
    /// Checks `new` against the `earlier` versions, oldest first; returns what does not fit, in
    /// words, one a version and direction.
    #[must_use]
    pub fn violations(self, new: &Schema, earlier: &[(i32, Schema)]) -> Vec<String> {
        use CompatibilityLevel as Level;
        let (backward, forward, transitive) = match self {
            Level::None => return Vec::new(),
            Level::Backward => (true, false, false),
            Level::BackwardTransitive => (true, false, true),
            Level::Forward => (false, true, false),
            Level::ForwardTransitive => (false, true, true),
            Level::Full => (true, true, false),
            Level::FullTransitive => (true, true, true),
        };
        let skipped = if transitive { 0 } else { earlier.len().saturating_sub(1) };
        let mut violations = Vec::new();
        for (version, old) in &earlier[skipped..] {
            if backward && let Err(error) = SchemaCompatibility::can_read(old, new) {
                violations.push(format!("the new schema cannot read data of version {version}: {error}"));
            }
            if forward && let Err(error) = SchemaCompatibility::can_read(new, old) {
                violations.push(format!("version {version} cannot read data of the new schema: {error}"));
            }
        }
        violations
    }
}
