//! Host, path and campaign from the address of a page: pure.

use url::Url;

/// The parameters of a campaign, as the links of advertisements carry them (`utm_source=…`), in the order
/// of [`Address::campaign`]. Source: Google Analytics, "URL builders: collect campaign data with custom URLs".
pub const CAMPAIGN: [&str; 5] = ["utm_source", "utm_medium", "utm_campaign", "utm_term", "utm_content"];

/// What the address of a page tells. Absent where it does not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Address {
    /// Lower case, without port; internationalised names in their ASCII form.
    pub host: Option<String>,
    /// From the first slash to the query, percent-encoded as it came.
    pub path: Option<String>,
    /// One value for each of [`CAMPAIGN`], decoded; of a repeated parameter the first.
    pub campaign: [Option<String>; CAMPAIGN.len()],
}

/// Reads an absolute address, or a path with a query as single-page applications send it.
#[must_use]
pub fn read(text: &str) -> Address {
    let text = text.trim();
    if text.is_empty() {
        return Address::default();
    }
    if let Ok(url) = Url::parse(text) {
        let has_host = url.has_host();
        return Address {
            host: url.host_str().filter(|host| !host.is_empty()).map(str::to_owned),
            path: has_host.then(|| url.path().to_owned()),
            campaign: campaign(&url),
        };
    }
    // Only what follows the host counts here, so any base will do.
    match Url::parse("http://host/").and_then(|base| base.join(text)) {
        Ok(url) if text.starts_with('/') && !text.starts_with("//") => {
            Address { host: None, path: Some(url.path().to_owned()), campaign: campaign(&url) }
        }
        _ => Address::default(),
    }
}

fn campaign(url: &Url) -> [Option<String>; CAMPAIGN.len()] {
    let mut found: [Option<String>; CAMPAIGN.len()] = Default::default();
    if !url.query().is_some_and(|query| query.contains("utm_")) {
        return found;
    }
    for (name, value) in url.query_pairs() {
        let place = CAMPAIGN.iter().position(|known| *known == name);
        if let Some(slot) = place.map(|place| &mut found[place]).filter(|slot| slot.is_none())
            && !value.is_empty()
        {
            *slot = Some(value.into_owned());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shown(text: &str) -> String {
        let address = read(text);
        let show = |value: &Option<String>| value.clone().unwrap_or_else(|| "-".to_owned());
        let campaign: Vec<String> = address.campaign.iter().map(show).collect();
        format!("{} {} {}", show(&address.host), show(&address.path), campaign.join(" "))
    }

    #[test]
    fn addresses_of_each_kind() {
        for (text, expected) in [
            ("https://Shop.Example.com:8443/a%20b/c?x=1#top", "shop.example.com /a%20b/c - - - - -"),
            (
                "https://shop.example/?utm_source=news+letter&utm_medium=e%C3%A9mail&utm_campaign=&utm_term=t\
                 &utm_source=second&utm_content=c",
                "shop.example / news letter eémail - t c",
            ),
            ("/cart?utm_source=app", "- /cart app - - - -"),
            ("https://bücher.example/", "xn--bcher-kva.example / - - - - -"),
            ("app://checkout/step", "checkout /step - - - - -"),
            ("about:blank", "- - - - - - -"),
            ("//cdn.example/x", "- - - - - - -"),
            ("not an address", "- - - - - - -"),
            ("  ", "- - - - - - -"),
            ("http://[", "- - - - - - -"),
        ] {
            assert_eq!(shown(text), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read(text in any::<String>()) {
            let address = read(&text);
            prop_assert!(address.path.is_none_or(|path| path.starts_with('/')));
        }

        #[test]
        fn a_campaign_is_read_as_it_was_written(value in "[^\u{0}]{1,20}") {
            let mut url = Url::parse("https://shop.example/").unwrap();
            url.query_pairs_mut().append_pair("utm_campaign", &value);
            prop_assert_eq!(read(url.as_str()).campaign[2].clone(), Some(value));
        }
    }
}
