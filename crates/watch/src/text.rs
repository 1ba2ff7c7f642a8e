//! The Prometheus text format, read back.

use std::collections::{BTreeMap, BTreeSet};

/// Labels of a sample, by name.
pub type Labels = BTreeMap<String, String>;

/// The samples of some metrics at one moment.
#[derive(Debug, Clone, Default)]
pub struct Snapshot(BTreeMap<String, Vec<(Labels, f64)>>);

impl Snapshot {
    /// The finite samples of the metrics `wanted`; lines that cannot be read are left out.
    #[must_use]
    pub fn read(rendered: &str, wanted: &BTreeSet<String>) -> Self {
        let mut found: BTreeMap<String, Vec<(Labels, f64)>> = BTreeMap::new();
        for line in rendered.lines() {
            let Some((name, rest)) = split_name(line) else { continue };
            if !wanted.contains(name) {
                continue;
            }
            if let Some(sample) = parse(rest).filter(|(_, value)| value.is_finite()) {
                found.entry(name.to_owned()).or_default().push(sample);
            }
        }
        Snapshot(found)
    }

    /// The samples of one metric.
    pub(crate) fn of(&self, metric: &str) -> &[(Labels, f64)] {
        self.0.get(metric).map(Vec::as_slice).unwrap_or_default()
    }
}

/// The samples of one metric: labels and value.
pub fn samples<'a>(rendered: &'a str, name: &'a str) -> impl Iterator<Item = (Labels, f64)> + 'a {
    rendered.lines().filter_map(move |line| {
        let (found, rest) = split_name(line)?;
        if found == name { parse(rest) } else { None }
    })
}

/// Name, and labels with value.
fn split_name(line: &str) -> Option<(&str, &str)> {
    let end = line.find(['{', ' '])?;
    let (name, rest) = line.split_at(end);
    (!name.starts_with('#')).then_some((name, rest))
}

/// `{a="x",b="y"} 1` or ` 1`; what may follow the value (time, exemplar) is not read.
fn parse(rest: &str) -> Option<(Labels, f64)> {
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(rest) => parse_labels(rest)?,
        None => (Labels::new(), rest),
    };
    Some((labels, rest.split_whitespace().next()?.parse().ok()?))
}

/// The labels up to the closing brace, and what comes behind it.
fn parse_labels(text: &str) -> Option<(Labels, &str)> {
    let mut labels = Labels::new();
    let mut rest = text.trim_start_matches([',', ' ']);
    while !rest.starts_with('}') {
        let (name, quoted) = rest.split_once("=\"")?;
        let (value, behind) = unquote(quoted)?;
        labels.insert(name.trim().to_owned(), value);
        rest = behind.trim_start_matches([',', ' ']);
    }
    Some((labels, &rest[1..]))
}

/// A value up to its closing quote, and what comes behind that.
fn unquote(quoted: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, &quoted[at + 1..])),
            '\\' => {
                let (_, escaped) = chars.next()?;
                value.push(if escaped == 'n' { '\n' } else { escaped });
            }
            c => value.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# TYPE lag gauge\nlag{a=\"x\",b=\"say \\\"hi\\\", {you}\"} 5\nlag{a=\"y\"} 1e3\nlagging 7\nlag 2\n\
        b_bucket{le=\"+Inf\"} 3 # {trace_id=\"7\"} 0.5\nlag NaN\nbroken{a=\"x 5\n";

    #[test]
    fn samples_are_read_from_the_text_format() {
        let found: Vec<_> = samples(TEXT, "lag").filter(|(_, value)| value.is_finite()).collect();
        assert_eq!(found.len(), 3);
        assert_eq!((found[0].0["b"].as_str(), found[0].1), ("say \"hi\", {you}", 5.0));
        assert_eq!((found[1].0["a"].as_str(), found[1].1), ("y", 1000.0));
        assert_eq!((found[2].0.len(), found[2].1), (0, 2.0));
    }

    #[test]
    fn a_snapshot_has_what_was_wanted_and_is_finite() {
        let wanted = ["lag", "b_bucket", "broken", "absent"].map(str::to_owned).into();
        let snapshot = Snapshot::read(TEXT, &wanted);
        assert_eq!(snapshot.of("lag").len(), 3);
        assert_eq!(
            (snapshot.of("b_bucket")[0].0["le"].as_str(), snapshot.of("b_bucket")[0].1),
            ("+Inf", 3.0)
        );
        assert!(["broken", "absent", "lagging"].iter().all(|name| snapshot.of(name).is_empty()));
    }
}
