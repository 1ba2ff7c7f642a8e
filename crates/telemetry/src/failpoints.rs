//! Named places at which a test may kill the process, compiled into every build so that the
//! binary under test is the binary that ships.
//!
//! `FAILPOINTS="cdc::after_ack=5*off->return"` aborts (no destructors, as `kill -9`) at the sixth
//! pass of `cdc::after_ack`. Without the variable, a failpoint is one relaxed load.

use std::sync::atomic::{AtomicBool, Ordering};

static ARMED: AtomicBool = AtomicBool::new(false);

/// Reads `FAILPOINTS` once at start. Call it from `main`.
pub fn arm_failpoints() {
    if std::env::var_os("FAILPOINTS").is_some() {
        let scenario = fail::FailScenario::setup();
        std::mem::forget(scenario);
        ARMED.store(true, Ordering::Relaxed);
    }
}

/// Passes the failpoint `name`; says so where an action is armed for it, and aborts the process when that is `return`.
pub fn failpoint(name: &str) {
    if !ARMED.load(Ordering::Relaxed) {
        return;
    }
    if fail::list().iter().any(|(armed, _)| armed == name) {
        tracing::info!(name, "failpoint reached");
    }
    if fail::eval(name, |_| ()).is_some() {
        tracing::warn!(name, "failpoint aborts the process");
        std::process::abort();
    }
}
