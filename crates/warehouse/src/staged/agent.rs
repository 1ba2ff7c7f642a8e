//! Browser, system and device from a user agent's text: pure, with a memory of recent ones.
//!
//! The patterns are those of the project uap-core (`data/README.md`); the device's type is ours, from
//! what they tell.

use super::StageError;
use super::memory::Memory;
use std::sync::Arc;
use ua_parser::{Extractor, Regexes};

const PATTERNS: &str = include_str!("../../data/user-agents.json");
/// A longer text is no user agent: it is left unread.
const LENGTH_MAX: usize = 1_024;

/// What a user agent tells. Absent where it does not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Agent {
    /// `desktop`, `mobile`, `tablet`, `tv` or `bot`.
    pub device_type: Option<&'static str>,
    pub device_brand: Option<String>,
    pub device_model: Option<String>,
    pub browser: Option<String>,
    pub browser_version: Option<String>,
    pub os: Option<String>,
    pub os_version: Option<String>,
}

/// Reads user agents. About 30 MB.
pub struct Agents {
    extractor: Extractor<'static>,
    known: Memory<Agent>,
}

impl std::fmt::Debug for Agents {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Agents").field("known", &self.known.len()).finish_non_exhaustive()
    }
}

impl Agents {
    /// Compiles the patterns; takes a fifth of a second.
    ///
    /// # Errors
    /// [`StageError::Patterns`]; the patterns are part of the program, so only a wrong build fails.
    pub fn new() -> Result<Self, StageError> {
        let patterns: Regexes<'static> =
            serde_json::from_str(PATTERNS).map_err(|error| StageError::Patterns(error.to_string()))?;
        let extractor =
            Extractor::try_from(patterns).map_err(|error| StageError::Patterns(error.to_string()))?;
        Ok(Agents { extractor, known: Memory::default() })
    }

    /// What this user agent tells.
    pub fn read(&mut self, text: &str) -> Arc<Agent> {
        if text.len() > LENGTH_MAX {
            return Arc::default();
        }
        let Agents { extractor, known } = self;
        known.get(text, |text| parse(extractor, text))
    }
}

fn parse(extractor: &Extractor<'_>, text: &str) -> Agent {
    let (browser, os, device) = extractor.extract(text);
    let device_type = device_type(
        text,
        os.as_ref().map(|os| os.os.as_ref()),
        device.as_ref().map(|device| (device.device.as_ref(), device.brand.as_deref())),
    );
    // What the patterns call a brand or model only to name a class is none.
    let real = |name: &&str| !name.starts_with("Generic") && !name.eq_ignore_ascii_case("spider");
    let brand = device.as_ref().and_then(|device| device.brand.as_deref()).filter(real);
    let model = device.as_ref().and_then(|device| device.model.as_deref());
    let is_bot = device_type == Some("bot");
    Agent {
        device_type,
        device_brand: brand.map(str::to_owned),
        device_model: model.filter(|_| !is_bot).map(str::to_owned),
        browser: browser.as_ref().map(|browser| browser.family.to_string()),
        browser_version: browser
            .as_ref()
            .and_then(|browser| version(&[browser.major, browser.minor, browser.patch])),
        os: os.as_ref().map(|os| os.os.to_string()),
        os_version: os
            .as_ref()
            .and_then(|os| version(&[os.major.as_deref(), os.minor.as_deref(), os.patch.as_deref()])),
    }
}

/// `120.0.6` from its parts, up to the first that is missing.
fn version(parts: &[Option<&str>]) -> Option<String> {
    let known: Vec<&str> = parts.iter().map_while(|part| *part).collect();
    (!known.is_empty()).then(|| known.join("."))
}

fn device_type(text: &str, os: Option<&str>, device: Option<(&str, Option<&str>)>) -> Option<&'static str> {
    let (family, brand) = device.unwrap_or(("", None));
    if family.eq_ignore_ascii_case("spider") {
        return Some("bot");
    }
    let os = os.unwrap_or("");
    if family.contains("TV") || ["tvOS", "webOS", "Tizen TV", "ATV OS X", "Chromecast", "Roku"].contains(&os)
    {
        return Some("tv");
    }
    if family.starts_with("iPad") || brand == Some("Generic_Android_Tablet") || family.starts_with("Kindle") {
        return Some("tablet");
    }
    match os {
        "iOS" | "Windows Phone" | "BlackBerry OS" | "KaiOS" | "Firefox OS" => Some("mobile"),
        // Android browsers say "Mobile" on telephones and leave it out on tablets.
        "Android" if text.contains("Mobile") => Some("mobile"),
        "Android" => Some("tablet"),
        "Windows" | "Mac OS X" | "Chrome OS" | "Linux" | "Ubuntu" | "Fedora" | "Debian" | "FreeBSD" => {
            Some("desktop")
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_agents_of_each_kind() {
        let mut agents = Agents::new().unwrap();
        let cases = [
            (
                "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) \
                 Chrome/120.0.0.0 Safari/537.36",
                "desktop - - Chrome 120.0.0 Windows 10",
            ),
            (
                "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) \
                 Version/17.0 Safari/605.1.15",
                "desktop Apple Mac Safari 17.0 Mac OS X 10.15.7",
            ),
            (
                "Mozilla/5.0 (iPhone; CPU iPhone OS 17_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like \
                 Gecko) Version/17.1 Mobile/15E148 Safari/604.1",
                "mobile Apple iPhone Mobile Safari 17.1 iOS 17.1",
            ),
            (
                "Mozilla/5.0 (iPad; CPU OS 16_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) \
                 Version/16.5 Mobile/15E148 Safari/604.1",
                "tablet Apple iPad Mobile Safari 16.5 iOS 16.5",
            ),
            (
                "Mozilla/5.0 (Linux; Android 13; SM-S918B) AppleWebKit/537.36 (KHTML, like Gecko) \
                 Chrome/112.0.0.0 Mobile Safari/537.36",
                "mobile Samsung SM-S918B Chrome Mobile 112.0.0 Android 13",
            ),
            (
                "Mozilla/5.0 (Linux; Android 12; SM-T970) AppleWebKit/537.36 (KHTML, like Gecko) \
                 Chrome/112.0.0.0 Safari/537.36",
                "tablet - SM-T970 Chrome 112.0.0 Android 12",
            ),
            (
                "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
                "bot - - Googlebot 2.1 - -",
            ),
            ("curl/8.0", "- - - curl 8.0 - -"),
            ("", "- - - - - - -"),
        ];
        for (text, expected) in cases {
            let agent = agents.read(text);
            let shown = |value: &Option<String>| value.clone().unwrap_or_else(|| "-".to_owned());
            let found = [
                agent.device_type.unwrap_or("-").to_owned(),
                shown(&agent.device_brand),
                shown(&agent.device_model),
                shown(&agent.browser),
                shown(&agent.browser_version),
                shown(&agent.os),
                shown(&agent.os_version),
            ];
            assert_eq!(found.join(" "), expected, "{text}");
            assert!(Arc::ptr_eq(&agents.read(text), &agent), "remembered");
        }
        assert_eq!(*agents.read(&"x".repeat(2_000)), Agent::default());
    }
}
