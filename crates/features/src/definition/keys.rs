//! Unknown keys and names: refused with the nearest known one.

/// `; did you mean x?` of the likeliest known name, or nothing.
#[must_use]
pub fn nearest<'a>(wrong: &str, known: impl Iterator<Item = &'a str>) -> String {
    let likely =
        known.map(|name| (strsim::jaro_winkler(wrong, name), name)).filter(|(score, _)| *score >= 0.8);
    likely
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| format!("; did you mean {name}?"))
        .unwrap_or_default()
}

/// The first key of `table` that is not in `known`, as a message.
pub(crate) fn unknown(table: &toml::Table, known: &[&str]) -> Option<String> {
    let wrong = table.keys().find(|key| !known.contains(&key.as_str()))?;
    Some(format!("unknown key {wrong}{}", nearest(wrong, known.iter().copied())))
}

/// Names are lower case words joined by underscores, so that they can be columns everywhere.
pub(crate) fn is_name(name: &str) -> bool {
    let mut chars = name.chars();
    chars.next().is_some_and(|c| c.is_ascii_lowercase())
        && chars.all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
        && name.len() <= 63
}
