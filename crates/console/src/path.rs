//! Parts of paths: what comes from outside is put into a link as one part, whatever it says.

/// Text as one part of a path or as a value of a query (RFC 3986, section 2.3: what is not unreserved is escaped).
#[must_use]
pub fn part(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                escaped.push(char::from(byte))
            }
            _ => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_stays_one_part() {
        assert_eq!(part("6f1b-4a4e_x.~"), "6f1b-4a4e_x.~");
        assert_eq!(part("a/b?c=d&e #é"), "a%2Fb%3Fc%3Dd%26e%20%23%C3%A9");
    }
}
