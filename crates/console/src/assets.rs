//! What a page loads: one style sheet, one script, one picture, compiled in. A name carries a hash of its content, so that a browser
//! may keep it for ever.

/// A file that pages load.
#[derive(Debug, Clone, Copy)]
pub struct Asset {
    pub media_type: &'static str,
    pub body: &'static str,
}

const STYLE: &str = include_str!("../assets/console.css");
const SCRIPT: &str = include_str!("../assets/console.js");
const ICON: &str = include_str!("../assets/icon.svg");

/// By the last part of its path; none where there is no such file.
#[must_use]
pub fn find(name: &str) -> Option<Asset> {
    let all = [
        ("text/css; charset=utf-8", STYLE),
        ("text/javascript; charset=utf-8", SCRIPT),
        ("image/svg+xml", ICON),
    ];
    let names = [style_name(), script_name(), icon_name()];
    let (_, (media_type, body)) = names.iter().zip(all).find(|(known, _)| *known == name)?;
    Some(Asset { media_type, body })
}

/// Where the style sheet is.
#[must_use]
pub fn style_path() -> String {
    format!("{FOLDER}{}", style_name())
}

/// Where the script is.
#[must_use]
pub fn script_path() -> String {
    format!("{FOLDER}{}", script_name())
}

/// Where the picture of the tab is.
#[must_use]
pub fn icon_path() -> String {
    format!("{FOLDER}{}", icon_name())
}

const FOLDER: &str = "/console/assets/";

fn style_name() -> String {
    format!("console.{:016x}.css", hash(STYLE))
}

fn script_name() -> String {
    format!("console.{:016x}.js", hash(SCRIPT))
}

fn icon_name() -> String {
    format!("icon.{:016x}.svg", hash(ICON))
}

/// FNV-1a, 64 bits (Fowler, Noll, Vo): tells versions of our own files apart, guards against nothing.
const fn hash(text: &str) -> u64 {
    let (bytes, mut hash, mut at) = (text.as_bytes(), 0xcbf2_9ce4_8422_2325_u64, 0);
    while at < bytes.len() {
        hash = (hash ^ bytes[at] as u64).wrapping_mul(0x0100_0000_01b3);
        at += 1;
    }
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_page_names_is_there() {
        for path in [style_path(), script_path(), icon_path()] {
            let name = path.strip_prefix(FOLDER).unwrap();
            assert!(!find(name).unwrap().body.is_empty(), "{path}");
        }
        assert!(find("console.css").is_none());
    }

    #[test]
    fn nothing_outside_is_asked() {
        for asset in [STYLE, SCRIPT] {
            assert!(!asset.contains("://") && !asset.contains("@import"), "an address outside");
        }
        // The name of a namespace is not loaded.
        assert_eq!(ICON.matches("://").count(), 1);
    }

    #[test]
    fn the_hash_is_that_of_its_authors() {
        assert_eq!(hash(""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(hash("a"), 0xaf63_dc4c_8601_ec8c);
    }
}
