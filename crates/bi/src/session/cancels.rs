//! Statements that run, by the keys that end them from another connection.

use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use tokio_util::sync::CancellationToken;

/// The number of the first connection.
const FIRST: i32 = 1_000;

/// The connections that there are.
#[derive(Debug, Default)]
pub(crate) struct Cancels {
    next: AtomicI32,
    connections: Mutex<HashMap<i32, Connection>>,
}

#[derive(Debug)]
struct Connection {
    secret: [u8; 4],
    running: Option<CancellationToken>,
}

/// A connection's place among the others; it is given back when this is dropped.
#[derive(Debug)]
pub(crate) struct Ticket {
    pub(crate) pid: i32,
    pub(crate) secret: [u8; 4],
    cancels: Arc<Cancels>,
}

impl Cancels {
    pub(crate) fn register(self: &Arc<Self>) -> Ticket {
        let secret: [u8; 4] = rand::random();
        let mut connections = self.connections.lock();
        let mut pid = FIRST;
        // Numbers come again after two thousand million connections.
        while connections.contains_key(&pid) || pid == FIRST {
            pid = FIRST + 1 + (self.next.fetch_add(1, Ordering::Relaxed) & 0x3fff_ffff);
        }
        connections.insert(pid, Connection { secret, running: None });
        Ticket { pid, secret, cancels: Arc::clone(self) }
    }

    /// Ends what the connection runs, if the key is its own.
    pub(crate) fn cancel(&self, pid: i32, secret: &[u8]) {
        let connections = self.connections.lock();
        let Some(connection) = connections.get(&pid).filter(|connection| connection.secret == secret) else {
            return;
        };
        if let Some(running) = &connection.running {
            running.cancel();
        }
    }
}

impl Ticket {
    /// A statement begins; what is cancelled ends it and no later one.
    pub(crate) fn begin(&self) -> CancellationToken {
        let token = CancellationToken::new();
        self.put(Some(token.clone()));
        token
    }

    /// The statement is over.
    pub(crate) fn end(&self) {
        self.put(None);
    }

    fn put(&self, running: Option<CancellationToken>) {
        if let Some(connection) = self.cancels.connections.lock().get_mut(&self.pid) {
            connection.running = running;
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.cancels.connections.lock().remove(&self.pid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_ends_what_its_connection_runs_and_nothing_else() {
        let cancels = Arc::new(Cancels::default());
        let (one, other) = (cancels.register(), cancels.register());
        assert_ne!(one.pid, other.pid);
        let (running, elsewhere) = (one.begin(), other.begin());
        cancels.cancel(one.pid, &[0; 3]);
        cancels.cancel(one.pid, &one.secret.map(|byte| !byte));
        assert!(!running.is_cancelled());
        cancels.cancel(one.pid, &one.secret);
        assert!(running.is_cancelled() && !elsewhere.is_cancelled());
        one.end();
        cancels.cancel(one.pid, &one.secret);
        assert!(!one.begin().is_cancelled());
        let (pid, secret) = (one.pid, one.secret);
        drop(one);
        cancels.cancel(pid, &secret);
        assert_eq!(cancels.connections.lock().len(), 1);
    }
}
