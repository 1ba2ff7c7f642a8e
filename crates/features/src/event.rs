//! What the engine is fed with: events of whole numbers, and the instants at which it is asked.
//!
//! Every value of an event is an `i64` cell: money in minor units, decimals scaled by their places, degrees in
//! millionths, text as a fingerprint, truth as 0 and 1. Nothing is a float here, so adding and taking away is exact.
//!
//! The order of events is (event time, order). `order` is the arrival order key of the source: a number that
//! identifies the event at its time, such as a transaction's number, a fingerprint of its id or its Kafka offset.
//! Two events of one key with the same time and order are the same event.

use sha2::{Digest, Sha256};
use std::hash::{Hash, Hasher};

/// The cell of a value that is not there.
pub const NULL: i64 = i64::MIN;

/// Numbers beyond this are refused: below it, the sum of the squares of [`EVENTS_MAX`] values is exact in 128 bits.
pub const VALUE_MAX: i64 = 1 << 50;

/// How many events one key of one source may keep.
pub const EVENTS_MAX: usize = 1 << 20;

/// Microseconds of a second, an hour and a day.
pub const SECOND: i64 = 1_000_000;
pub const HOUR: i64 = 3_600 * SECOND;
pub const DAY: i64 = 24 * HOUR;

/// A customer, a card, a device: the value by which events belong together.
///
/// Whole numbers, UUIDs and IP addresses are themselves; other text is the first 128 bits of its SHA-256.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key(pub u128);

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u128(self.0);
    }
}

impl From<i64> for Key {
    fn from(number: i64) -> Self {
        Key(u128::from(number.cast_unsigned()))
    }
}

impl From<uuid::Uuid> for Key {
    fn from(id: uuid::Uuid) -> Self {
        Key(id.as_u128())
    }
}

impl Key {
    /// The one form of a text that all spellings of its key have: of an address, of a UUID.
    #[must_use]
    pub fn canonical(text: &str) -> std::borrow::Cow<'_, str> {
        if let Some(id) = uuid::Uuid::parse_str(text).ok().filter(|_| text.len() == 36) {
            return id.to_string().into();
        }
        match text.parse::<std::net::IpAddr>() {
            Ok(ip) => ip.to_canonical().to_string().into(),
            Err(_) => text.into(),
        }
    }

    /// The key of a text: of a whole number in its shortest form, of a UUID, of an IP address, or of any text.
    /// So `"42"` and `42` are the same customer wherever a source writes one or the other.
    #[must_use]
    pub fn text(text: &str) -> Self {
        if let Some(number) = text.parse::<i64>().ok().filter(|n| n.to_string() == text) {
            return number.into();
        }
        if let Some(id) = uuid::Uuid::parse_str(text).ok().filter(|_| text.len() == 36) {
            return id.into();
        }
        match text.parse::<std::net::IpAddr>() {
            Ok(std::net::IpAddr::V4(ip)) => Key(ip.to_ipv6_mapped().to_bits()),
            Ok(std::net::IpAddr::V6(ip)) => Key(ip.to_bits()),
            Err(_) => {
                let digest = Sha256::digest(text.as_bytes());
                Key(digest.iter().take(16).fold(0, |key, &byte| key << 8 | u128::from(byte)))
            }
        }
    }
}

/// The cell of a text: 64 bits of its SHA-256, never [`NULL`]. Two of a million different texts are taken for one
/// another with a probability of 3 in 100 million.
#[must_use]
pub fn fingerprint(text: &str) -> i64 {
    let digest = Sha256::digest(text.as_bytes());
    let bits = digest.iter().take(8).fold(0u64, |key, &byte| key << 8 | u64::from(byte));
    bits.cast_signed().max(NULL + 1)
}

/// The order of an event whose id is a text: a fingerprint, the same wherever the event comes from.
#[must_use]
pub fn order_of(id: &str) -> u64 {
    match id.parse::<u64>() {
        Ok(number) => number,
        Err(_) => fingerprint(id).cast_unsigned(),
    }
}

/// An instant at which features are asked for: after the event (time, order), or at a time as such.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct At {
    /// Microseconds since 1970-01-01T00:00:00Z.
    pub time: i64,
    /// The order of the event that asks; [`u64::MAX`] where none does.
    pub order: u64,
}

impl At {
    /// A time as such: every event up to and at this time is seen, and none is the current one.
    #[must_use]
    pub fn time(time: i64) -> Self {
        At { time, order: u64::MAX }
    }
}

/// An event of a source. `keys` and `cells` are in the order of the source's definition ([`crate::plan::SourceShape`]).
#[derive(Debug, Clone, Copy)]
pub struct Event<'a> {
    pub source: crate::plan::SourceId,
    /// When it happened, in microseconds since 1970-01-01T00:00:00Z.
    pub time: i64,
    /// What tells it from other events of the same time.
    pub order: u64,
    /// Which state of the event this is, where the source is corrected later: only a higher one replaces.
    pub version: u64,
    /// The event has not happened after all.
    pub removed: bool,
    pub keys: &'a [Option<Key>],
    pub cells: &'a [i64],
}

impl Event<'_> {
    #[must_use]
    pub fn at(&self) -> At {
        At { time: self.time, order: self.order }
    }
}

/// Midnight (UTC) before or at a time.
#[must_use]
pub fn day_start(time: i64) -> i64 {
    time.div_euclid(DAY).saturating_mul(DAY)
}

/// Hour of the day, 0 to 23, UTC.
#[must_use]
pub fn hour(time: i64) -> i64 {
    time.rem_euclid(DAY) / HOUR
}

/// Day of the week, 1 (Monday) to 7, UTC.
#[must_use]
pub fn weekday(time: i64) -> i64 {
    (time.div_euclid(DAY) + 3).rem_euclid(7) + 1
}

/// Great-circle distance in kilometres of two places in millionths of degrees, on a sphere of 6371.0088 km (the mean
/// radius of WGS 84). Source: the haversine formula, R. W. Sinnott, Sky and Telescope 68 (1984).
#[must_use]
pub fn distance_km(from: (i64, i64), to: (i64, i64)) -> f64 {
    let radians = |micro: i64| (micro as f64 / 1e6).to_radians();
    let (lat1, lat2) = (radians(from.0), radians(to.0));
    let half = |a: f64| (a / 2.0).sin().powi(2);
    let h = half(lat2 - lat1) + lat1.cos() * lat2.cos() * half(radians(to.1) - radians(from.1));
    2.0 * 6371.0088 * h.sqrt().min(1.0).asin()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_the_same_however_they_are_written() {
        assert_eq!(Key::text("42"), Key::from(42));
        assert_ne!(Key::text("042"), Key::from(42));
        let id = "67e55044-10b1-426f-9247-bb680e5fe0c8";
        assert_eq!(Key::text(id), Key::from(uuid::Uuid::parse_str(id).unwrap()));
        assert_eq!(Key::text("10.0.0.1"), Key::text("::ffff:10.0.0.1"));
        assert_ne!(Key::text("a"), Key::text("b"));
        let canonical = ["::ffff:10.0.0.1", "67E55044-10B1-426F-9247-BB680E5FE0C8", "a"].map(Key::canonical);
        assert_eq!(canonical, ["10.0.0.1", id, "a"]);
    }

    #[test]
    fn clocks_and_distances() {
        // 2018-04-01 was a Sunday.
        let time = 1_522_540_831 * SECOND;
        assert_eq!((weekday(time), hour(time), time - day_start(time)), (7, 0, 31 * SECOND));
        assert_eq!((weekday(-1), hour(-1)), (3, 23));
        let paris_london = distance_km((48_856_600, 2_352_200), (51_507_400, -127_800));
        assert!((paris_london - 343.5).abs() < 1.0, "{paris_london}");
    }
}
