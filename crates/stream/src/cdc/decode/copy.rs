//! Lines of COPY … TO STDOUT in text format.

use std::borrow::Cow;

/// The fields of one line (without its newline): none for NULL.
pub(crate) fn fields(line: &[u8]) -> impl Iterator<Item = Option<Cow<'_, [u8]>>> {
    line.split(|&b| b == b'\t').map(|field| if field == b"\\N" { None } else { Some(unescape(field)) })
}

fn unescape(field: &[u8]) -> Cow<'_, [u8]> {
    let Some(first) = field.iter().position(|&b| b == b'\\') else { return Cow::Borrowed(field) };
    let mut out = Vec::with_capacity(field.len());
    out.extend_from_slice(&field[..first]);
    let mut rest = field[first..].iter();
    while let Some(&byte) = rest.next() {
        if byte != b'\\' {
            out.push(byte);
            continue;
        }
        // PostgreSQL writes no octal and hexadecimal escapes.
        out.push(match rest.next() {
            Some(b'b') => 8,
            Some(b'f') => 12,
            Some(b'n') => b'\n',
            Some(b'r') => b'\r',
            Some(b't') => b'\t',
            Some(b'v') => 11,
            Some(&other) => other,
            None => b'\\',
        });
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn escape(text: &[u8]) -> Vec<u8> {
        let escaped = |&b: &u8| match b {
            8 => b"\\b".to_vec(),
            12 => b"\\f".to_vec(),
            b'\n' => b"\\n".to_vec(),
            b'\r' => b"\\r".to_vec(),
            b'\t' => b"\\t".to_vec(),
            11 => b"\\v".to_vec(),
            b'\\' => b"\\\\".to_vec(),
            b => vec![b],
        };
        text.iter().flat_map(escaped).collect()
    }

    proptest! {
        #[test]
        fn lines_round_trip(fields in prop::collection::vec(prop::option::of(prop::collection::vec(any::<u8>(), 0..12)), 1..6)) {
            let encode = |f: &Option<Vec<u8>>| f.as_ref().map_or(b"\\N".to_vec(), |f| escape(f));
            let line = fields.iter().map(encode).collect::<Vec<_>>().join(&b'\t');
            let decoded: Vec<_> = super::fields(&line).map(|f| f.map(Cow::into_owned)).collect();
            prop_assert_eq!(decoded, fields);
        }
    }
}
