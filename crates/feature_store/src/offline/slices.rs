//! In how many slices of its keys a view is computed, so that its state fits into memory. Pure.

use affluent_features::event::DAY;

/// What a key and its windows take beside its events, for each event: measured at 13 events a key.
const OVERHEAD_BYTES: u64 = 40;
/// More slices than this read history too often.
const SLICES_MAX: u32 = 1_024;

/// The most events that lie within `reach` of one another, of the events that each day brought.
pub(crate) fn most_within(days: &[(i64, u64)], reach: i64) -> u64 {
    let width = reach.div_euclid(DAY) + 2;
    let (mut first, mut sum, mut most) = (0, 0, 0);
    for &(day, count) in days {
        sum += count;
        while days[first].0 <= day - width {
            sum -= days[first].1;
            first += 1;
        }
        most = most.max(sum);
    }
    most
}

/// What so many events of so many bytes take.
pub(crate) fn bytes(events: u64, event_bytes: u64) -> u64 {
    events.saturating_mul(event_bytes.saturating_add(OVERHEAD_BYTES))
}

/// The number of slices of a state of so many bytes that each fits into `memory_bytes`; none where even the most are too few.
pub(crate) fn slices(bytes: u64, memory_bytes: u64) -> Option<u32> {
    let slices = bytes.div_ceil(memory_bytes.max(1)).max(1);
    u32::try_from(slices).ok().filter(|slices| *slices <= SLICES_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_to_be_held_at_once_decides() {
        let days = [(1, 10), (2, 20), (5, 40), (9, 5)];
        assert_eq!(most_within(&days, 0), 40);
        assert_eq!(most_within(&days, 3 * DAY), 70);
        assert_eq!(most_within(&days, 100 * DAY), 75);
        assert_eq!(most_within(&[], DAY), 0);
        assert_eq!(slices(bytes(0, 40), 1 << 20), Some(1));
        assert_eq!(slices(bytes(1_000_000, 60), 10_000_000), Some(10));
        assert_eq!(slices(bytes(u64::MAX, 60), 1), None);
    }
}
