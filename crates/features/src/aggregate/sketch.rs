//! How many different values a sliding window holds, estimated: HyperLogLog whose registers can expire.
//!
//! Each of the [`REGISTERS`] keeps the ranks that can still be its largest, as [`Extreme`] does for values, so the estimate is that of
//! a HyperLogLog of exactly the events in the window. Standard error 1.04 / sqrt(4096) = 1.6 %.
//!
//! Sources: P. Flajolet et al., "HyperLogLog" (2007); Y. Chabchoub and G. Hébrail, "Sliding HyperLogLog" (2010).

use super::Extreme;

/// Registers: 2^12.
pub const REGISTERS: usize = 1 << BITS;
const BITS: u32 = 12;

#[derive(Debug, Clone)]
pub struct Sketch {
    registers: Box<[Extreme]>,
}

impl Default for Sketch {
    fn default() -> Self {
        Sketch { registers: vec![Extreme::new(true); REGISTERS].into() }
    }
}

impl Sketch {
    pub fn enter(&mut self, at: (i64, u64), value: i64) {
        let (register, rank) = place(value);
        self.registers[register].enter(at, rank);
    }

    /// The oldest event leaves.
    pub fn expire(&mut self, at: (i64, u64), value: i64) {
        self.registers[place(value).0].expire(at);
    }

    /// The estimate, with linear counting where many registers are empty.
    #[must_use]
    pub fn estimate(&self) -> f64 {
        let count = REGISTERS as f64;
        let ranks = || self.registers.iter().map(|register| register.value().unwrap_or(0));
        let inverse: f64 = ranks().map(|rank| (-(rank as f64)).exp2()).sum();
        let raw = 0.7213 / (1.0 + 1.079 / count) * count * count / inverse;
        let empty = ranks().filter(|&rank| rank == 0).count() as f64;
        if raw <= 2.5 * count && empty > 0.0 { count * (count / empty).ln() } else { raw }
    }
}

/// Register and rank of a value.
fn place(value: i64) -> (usize, i64) {
    let hash = mixed(value.cast_unsigned());
    let rank = (hash << BITS).leading_zeros().min(63 - BITS) + 1;
    ((hash >> (64 - BITS)) as usize, i64::from(rank))
}

/// A fixed hash of 64 bits. Source: the finaliser of `SplitMix64`, S. Vigna.
pub(crate) fn mixed(value: u64) -> u64 {
    let mut hash = value.wrapping_add(0x9E37_79B9_7F4A_7C15);
    hash = (hash ^ hash >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    hash = (hash ^ hash >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    hash ^ hash >> 31
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn estimates_are_near_and_expire() {
        let mut sketch = Sketch::default();
        for nth in 0..60_000u32 {
            sketch.enter((i64::from(nth), 0), i64::from(nth % 30_000));
        }
        let near = |estimate: f64, truth: f64| (estimate / truth - 1.0).abs() < 0.05;
        assert!(near(sketch.estimate(), 30_000.0), "{}", sketch.estimate());
        for nth in 0..55_000u32 {
            sketch.expire((i64::from(nth), 0), i64::from(nth % 30_000));
        }
        assert!(near(sketch.estimate(), 5_000.0), "{}", sketch.estimate());
    }
}
