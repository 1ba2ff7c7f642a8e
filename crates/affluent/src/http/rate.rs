//! How often somebody may ask: a bucket of one second's requests, filled steadily. Pure; the clock is the caller's.

use std::time::Instant;

/// A token bucket that holds one second's requests, at least one.
#[derive(Debug)]
pub(super) struct Bucket {
    /// Requests a second.
    rate: f64,
    level: f64,
    at: Instant,
}

impl Bucket {
    pub(super) fn new(requests_per_s: u32, now: Instant) -> Self {
        let rate = f64::from(requests_per_s.max(1));
        Bucket { rate, level: rate, at: now }
    }

    /// Takes one request out.
    ///
    /// # Errors
    /// Whole seconds until there is one; nothing was taken.
    pub(super) fn take(&mut self, now: Instant) -> Result<(), u64> {
        let seconds = now.saturating_duration_since(self.at).as_secs_f64();
        self.level = (self.level + seconds * self.rate).min(self.rate);
        self.at = self.at.max(now);
        if self.level >= 1.0 {
            self.level -= 1.0;
            return Ok(());
        }
        Err((((1.0 - self.level) / self.rate).ceil() as u64).max(1))
    }

    /// Takes as many more out as what was let in turned out to be worth; they are missing to those who come next.
    pub(super) fn spend(&mut self, more: usize) {
        self.level -= more as f64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_second_holds_its_requests_and_no_more() {
        let begun = Instant::now();
        let mut bucket = Bucket::new(10, begun);
        let granted = |bucket: &mut Bucket, at: Duration| {
            (0..1_000).filter(|_| bucket.take(begun + at).is_ok()).count()
        };
        assert_eq!(granted(&mut bucket, Duration::ZERO), 10);
        assert_eq!(bucket.take(begun), Err(1));
        assert_eq!(granted(&mut bucket, Duration::from_millis(500)), 5);
        assert_eq!(
            granted(&mut bucket, Duration::from_secs(60)),
            10,
            "what was not asked for is not saved up"
        );
        bucket.spend(20);
        assert_eq!(bucket.take(begun + Duration::from_secs(60)), Err(3), "twenty were missing, and this one");
        assert_eq!(granted(&mut bucket, Duration::from_millis(62_500)), 5);
        assert_eq!(granted(&mut bucket, Duration::from_secs(1)), 0, "a clock that goes back gives nothing");
    }
}
