//! The languages of the console. A text is written in all of them at once, so none can be missing in one.

/// A language of the console.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Lang {
    #[default]
    En,
    Fr,
}

/// The same text in every language.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Text {
    en: &'static str,
    fr: &'static str,
}

/// A text in English and French. Make it a constant: an empty one does not compile then.
#[must_use]
pub const fn text(en: &'static str, fr: &'static str) -> Text {
    assert!(!en.is_empty() && !fr.is_empty(), "a text is written in every language");
    Text { en, fr }
}

impl Lang {
    /// The language that the header `Accept-Language` prefers among those there are; English where it names none of them
    /// (RFC 9110, section 12.5.4).
    #[must_use]
    pub fn of(accept_language: &str) -> Self {
        let mut best = (0.0, Lang::default());
        for range in accept_language.split(',') {
            let mut parts = range.split(';').map(str::trim);
            let tag = parts.next().unwrap_or_default();
            let quality =
                parts.find_map(|part| part.strip_prefix("q=")).map_or(Some(1.0), |q| q.parse().ok());
            let primary = tag.split('-').next().unwrap_or_default();
            let lang = match primary.to_ascii_lowercase().as_str() {
                "en" | "*" => Lang::En,
                "fr" => Lang::Fr,
                _ => continue,
            };
            let quality: f64 = quality.unwrap_or(0.0);
            if quality > best.0 {
                best = (quality, lang);
            }
        }
        best.1
    }

    /// The tag, as `<html lang>` wants it.
    #[must_use]
    pub fn tag(self) -> &'static str {
        match self {
            Lang::En => "en",
            Lang::Fr => "fr",
        }
    }

    /// The text in this language.
    #[must_use]
    pub fn say(self, text: Text) -> &'static str {
        match self {
            Lang::En => text.en,
            Lang::Fr => text.fr,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_preferred_language_is_taken() {
        for (header, expected) in [
            ("", Lang::En),
            ("fr", Lang::Fr),
            ("fr-CA, en;q=0.8", Lang::Fr),
            ("FR-ca;q=0.4, en;q=0.8", Lang::En),
            ("de, fr;q=0.5, en;q=0.1", Lang::Fr),
            ("de", Lang::En),
            ("fr;q=0, *", Lang::En),
            ("fr;q=nonsense", Lang::En),
        ] {
            assert_eq!(Lang::of(header), expected, "{header:?}");
        }
    }

    #[test]
    fn a_text_is_said_in_its_language() {
        const HELLO: Text = text("hello", "bonjour");
        assert_eq!((Lang::En.say(HELLO), Lang::Fr.say(HELLO)), ("hello", "bonjour"));
    }
}
