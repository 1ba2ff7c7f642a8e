//! The role `features`: a consumer of the sources' topics that keeps the engine's state and writes what changed to the online store.
