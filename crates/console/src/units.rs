//! Numbers for people: few digits, a unit, the language's decimal sign. What is exact belongs into the title of an element or an API.

use crate::lang::Lang;

/// A number with `digits` behind the decimal sign.
#[must_use]
pub fn number(lang: Lang, value: f64, digits: usize) -> String {
    let text = format!("{value:.digits$}");
    match lang {
        Lang::En => text,
        Lang::Fr => text.replace('.', ","),
    }
}

/// Three significant digits and a factor of thousand: `950`, `1.2 k`, `3.45 M`.
#[must_use]
pub fn short(lang: Lang, value: f64) -> String {
    scaled(lang, value, 1000.0, &["", " k", " M", " G", " T"])
}

/// Bytes, by factors of 1024.
#[must_use]
pub fn bytes(lang: Lang, value: f64) -> String {
    let units = match lang {
        Lang::En => [" B", " KiB", " MiB", " GiB", " TiB"],
        Lang::Fr => [" o", " Kio", " Mio", " Gio", " Tio"],
    };
    scaled(lang, value, 1024.0, &units)
}

/// A duration: `850 µs`, `12 ms`, `2.4 s`, `3.5 min`, `2.0 h`, `3.2 d`.
#[must_use]
pub fn duration(lang: Lang, seconds: f64) -> String {
    let day = match lang {
        Lang::En => " d",
        Lang::Fr => " j",
    };
    let (value, unit) = match seconds.abs() {
        s if !s.is_finite() => return "–".to_owned(),
        s if s >= 172_800.0 => (seconds / 86_400.0, day),
        s if s >= 5_400.0 => (seconds / 3_600.0, " h"),
        s if s >= 120.0 => (seconds / 60.0, " min"),
        s if s >= 1.0 => (seconds, " s"),
        s if s >= 0.001 => (seconds * 1e3, " ms"),
        s if s > 0.0 => (seconds * 1e6, " µs"),
        _ => (0.0, " s"),
    };
    format!("{}{unit}", significant(lang, value))
}

/// A share as percent.
#[must_use]
pub fn percent(lang: Lang, share: f64) -> String {
    let sign = match lang {
        Lang::En => "%",
        Lang::Fr => "\u{a0}%",
    };
    format!("{}{sign}", significant(lang, share * 100.0))
}

fn scaled(lang: Lang, value: f64, factor: f64, units: &[&str]) -> String {
    if !value.is_finite() {
        return "–".to_owned();
    }
    let (mut value, mut place) = (value, 0);
    while value.abs() >= factor && place + 1 < units.len() {
        value /= factor;
        place += 1;
    }
    let text =
        if place == 0 && value.fract() == 0.0 { number(lang, value, 0) } else { significant(lang, value) };
    format!("{text}{}", units.get(place).copied().unwrap_or_default())
}

/// About three significant digits.
fn significant(lang: Lang, value: f64) -> String {
    let digits = match value.abs() {
        v if v >= 100.0 || v == 0.0 => 0,
        v if v >= 10.0 => 1,
        _ => 2,
    };
    number(lang, value, digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_have_their_unit() {
        let en = Lang::En;
        for (found, expected) in [
            (short(en, 950.0), "950"),
            (short(en, 1234.0), "1.23 k"),
            (short(en, 0.5), "0.50"),
            (bytes(en, 1536.0), "1.50 KiB"),
            (duration(en, 0.000_85), "850 µs"),
            (duration(en, 0.012), "12.0 ms"),
            (duration(en, 2.4), "2.40 s"),
            (duration(en, 300.0), "5.00 min"),
            (duration(en, f64::INFINITY), "–"),
            (duration(en, 0.0), "0 s"),
            (percent(en, 0.123), "12.3%"),
            (duration(Lang::Fr, 2.4), "2,40 s"),
            (percent(Lang::Fr, 0.5), "50,0\u{a0}%"),
            (bytes(Lang::Fr, 2048.0), "2,00 Kio"),
        ] {
            assert_eq!(found, expected);
        }
    }
}
