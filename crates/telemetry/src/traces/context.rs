//! Where in a trace a piece of work stands, and how that is written in a header.

use super::{is_on, is_sampled};
use std::fmt;

/// A span of a sampled trace: there is none of others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceContext {
    trace: u128,
    span: u64,
}

impl TraceContext {
    /// The beginning of the trace of a change, by the name of its source and its position; none where it is not sampled.
    #[must_use]
    pub fn root(source: &str, lsn: u64, ordinal: u64) -> Option<Self> {
        if !is_on() {
            return None;
        }
        let high = mix(mix(lsn) ^ ordinal.rotate_left(32) ^ of_text(source));
        let low = mix(high ^ lsn ^ ordinal);
        // Zero is no id.
        let context = TraceContext {
            trace: (u128::from(high) << 64) | u128::from(low.max(1)),
            span: mix(low ^ high.rotate_left(17)).max(1),
        };
        is_sampled(low).then_some(context)
    }

    /// What the header of a record says; none where its trace is not sampled, the header is not one, or nothing is traced here.
    #[must_use]
    pub fn of_header(header: &[u8]) -> Option<Self> {
        if is_on() { Self::parse(header) } else { None }
    }

    pub(super) fn parse(header: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(header).ok()?;
        let mut parts = text.split('-');
        let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let is_hex = |part: &str, length| {
            part.len() == length && part.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
        };
        // Later versions may have more parts, this one has not.
        let fits = is_hex(version, 2) && version != "ff" && (version != "00" || parts.next().is_none());
        if !fits || !is_hex(trace, 32) || !is_hex(span, 16) || !is_hex(flags, 2) {
            return None;
        }
        let trace = u128::from_str_radix(trace, 16).ok().filter(|trace| *trace != 0)?;
        let span = u64::from_str_radix(span, 16).ok().filter(|span| *span != 0)?;
        let is_sampled = u8::from_str_radix(flags, 16).ok()? & 1 == 1;
        is_sampled.then_some(TraceContext { trace, span })
    }

    /// The header for work that follows from this span.
    #[must_use]
    pub fn header(&self) -> String {
        format!("00-{:032x}-{:016x}-01", self.trace, self.span)
    }

    /// The span of a stage right after this one. The same stage of the same span has the same id.
    #[must_use]
    pub fn child(&self, stage: &str) -> Self {
        TraceContext { trace: self.trace, span: mix(self.span ^ of_text(stage)).max(1) }
    }

    /// 32 hexadecimal digits.
    #[must_use]
    pub fn trace_id(&self) -> String {
        format!("{:032x}", self.trace)
    }

    /// 16 hexadecimal digits.
    #[must_use]
    pub fn span_id(&self) -> String {
        format!("{:016x}", self.span)
    }
}

/// The trace's id, for log lines.
impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.trace)
    }
}

/// Spreads a number over all bits: the finaliser of `SplitMix64` (Steele, Lea and Flood: Fast splittable pseudorandom number
/// generators, 2014).
fn mix(number: u64) -> u64 {
    let number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

/// FNV-1a, 64 bits (<http://www.isthe.com/chongo/tech/comp/fnv/>).
fn of_text(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::traces;
    use std::collections::HashSet;

    /// The switch is the process's: one test turns it.
    #[test]
    fn what_is_sampled_is_decided_once_and_carried_on() {
        assert_eq!(TraceContext::root("shop", 1, 1), None, "nothing is traced");
        assert_eq!(TraceContext::of_header(b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"), None);

        traces::start(0.25);
        let roots: Vec<TraceContext> =
            (0..40_000).filter_map(|n| TraceContext::root("shop", n / 4, n % 4)).collect();
        assert!((9_500..10_500).contains(&roots.len()), "{} of 40000 at a quarter", roots.len());
        assert_eq!(roots.iter().collect::<HashSet<_>>().len(), roots.len(), "two changes are one trace");

        traces::start(1.0);
        let root = TraceContext::root("shop", 7, 1).unwrap();
        assert_eq!(
            Some(root),
            TraceContext::root("shop", 7, 1),
            "a change that is sent again is the same trace"
        );
        assert_ne!(Some(root), TraceContext::root("till", 7, 1));
        let child = root.child("sink-documents");
        assert_eq!((child.trace_id(), child), (root.trace_id(), root.child("sink-documents")));
        assert_ne!(child.span_id(), root.child("sink-lake").span_id());
        assert_eq!(TraceContext::of_header(child.header().as_bytes()), Some(child));
        assert_eq!((root.trace_id().len(), root.span_id().len()), (32, 16));

        // The example of the specification, then what it forbids.
        let read =
            TraceContext::of_header(b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01").unwrap();
        assert_eq!(read.to_string(), "0af7651916cd43dd8448eb211c80319c");
        for header in [
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0AF7651916CD43DD8448EB211C80319C-B7AD6B7169203331-01",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "nonsense",
            "",
        ] {
            assert_eq!(TraceContext::of_header(header.as_bytes()), None, "{header}");
        }
        let later = b"cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-what-the-future-brings";
        assert!(TraceContext::of_header(later).is_some());

        let span = |n: i64| traces::Span {
            context: child,
            parent: Some(root),
            name: "sink-documents",
            kind: traces::SpanKind::Consumer,
            begun_us: n,
            ended_us: n,
            attributes: Vec::new(),
            error: None,
        };
        (0..10_000).for_each(|n| traces::finished(span(n)));
        let taken = traces::take(usize::MAX);
        assert_eq!((taken.len(), taken[0].begun_us), (8_192, 0), "the queue has a bound");
        assert!(traces::take(1).is_empty());
    }
}
