//! A session: what one client has prepared, opened and set, and the order in which its messages are answered.
//!
//! What lives here: from the first byte (`startup`) to the last: messages (`protocol`), statements (`execute`), portals and
//! cursors (`portal`, `rows`), settings (`who`), limits of a statement (`run`). What a query means is the catalogue's.
//!
//! Invariants: nothing of a session is another's; a statement ends within its time, also where the client does not read;
//! after an error in a sequence of messages none of it is done; a transaction sees one state of the lake.

mod cancels;
mod command;
mod copy;
mod execute;
mod log;
mod portal;
mod protocol;
mod rows;
mod run;
mod startup;
mod text;
mod who;

pub(crate) use cancels::Cancels;
pub(crate) use startup::connect;
pub(crate) use who::Who;

use crate::auth::{User, Users};
use crate::options::BiOptions;
use crate::snapshots::{Snapshot, Snapshots};
use crate::wire::{TransactionStatus, Wire};
use cancels::Ticket;
use portal::{Portal, Statement};
use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;

/// What all sessions share.
pub(crate) struct Shared {
    pub(crate) options: BiOptions,
    pub(crate) users: Arc<Users>,
    pub(crate) snapshots: Snapshots,
    pub(crate) cancels: Arc<Cancels>,
    /// One for each statement that may run at the same time.
    pub(crate) places: Arc<Semaphore>,
    pub(crate) tls: Option<TlsAcceptor>,
}

/// A client that was let in.
pub(crate) struct Session {
    shared: Arc<Shared>,
    wire: Wire,
    peer: SocketAddr,
    user: Arc<User>,
    who: Who,
    ticket: Ticket,
    transaction: Transaction,
    /// By name; `None`: an empty statement.
    statements: HashMap<String, Option<Arc<Statement>>>,
    /// By name, cursors among them.
    portals: HashMap<String, Portal>,
    /// There was an error: until the client says that it has sent everything, nothing is done.
    is_skipping: bool,
}

/// What is between `BEGIN` and `COMMIT`.
#[derive(Default)]
struct Transaction {
    status: TransactionStatus,
    /// The state that it sees, from its first statement on.
    snapshot: Option<Arc<Snapshot>>,
    /// The settings at its beginning.
    settings: BTreeMap<String, String>,
}
