//! Who may connect, and what they see.
//!
//! Users and roles are those of the configuration. What lives here is pure but for random numbers: the exchange of
//! SCRAM-SHA-256 (`scram`), what of a password is kept (`verifier`), grants and limits.
//!
//! Invariants: a password is kept as its verifier only; a user who is not known is asked for a password all the same;
//! without users one is trusted, and only where nobody but this machine can connect.

mod grants;
mod scram;
mod users;
mod verifier;

pub(crate) use grants::Grants;
pub(crate) use scram::{Challenge, MECHANISM};
pub(crate) use users::{User, Users};
pub(crate) use verifier::Verifier;
