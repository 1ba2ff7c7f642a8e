//! Writing: append, overwrite, upsert; what a commit is, which files it touches, in which order and partition rows lie.

pub(crate) mod append;
pub(crate) mod commits;
pub(crate) mod edit;
pub(crate) mod judge;
pub(crate) mod keys;
pub(crate) mod overwrite;
pub(crate) mod partition;
pub(crate) mod snapshot;
pub(crate) mod sort;
pub(crate) mod upsert;
