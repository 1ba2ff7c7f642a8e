//! Whether and when a failed attempt is followed by another. Pure.

use std::time::Duration;

/// How often, and after which pauses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Retry {
    pub(crate) attempts: u32,
    pub(crate) first: Duration,
    pub(crate) max: Duration,
}

/// What follows a failed attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    Again { after: Duration },
    Fail,
}

impl Retry {
    /// After attempt number `attempt` (from 1) failed. Pauses double from `first` to `max`; of each, a part between a
    /// half and the whole is taken, by `chance` in [0, 1), so that what failed together does not come back together.
    pub(crate) fn after(&self, attempt: u32, retryable: bool, chance: f64) -> Next {
        if !retryable || attempt >= self.attempts {
            return Next::Fail;
        }
        let doublings = attempt.saturating_sub(1).min(31);
        let whole = self.first.saturating_mul(1 << doublings).min(self.max);
        Next::Again { after: whole.mul_f64(0.5 + chance.clamp(0.0, 1.0) / 2.0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn pauses_grow_to_their_bound_and_attempts_end(attempt in 1..1000u32, chance in 0.0..1.0f64) {
            let retry = Retry { attempts: 5, first: Duration::from_millis(100), max: Duration::from_secs(1) };
            prop_assert_eq!(retry.after(attempt, false, chance), Next::Fail);
            match retry.after(attempt, true, chance) {
                Next::Fail => prop_assert!(attempt >= 5),
                Next::Again { after } => {
                    prop_assert!(attempt < 5);
                    let whole = Duration::from_millis(100 << (attempt - 1)).min(Duration::from_secs(1));
                    prop_assert!(after >= whole / 2 && after <= whole, "{:?}", after);
                }
            }
        }
    }
}
