//! From raw clicks to staged ones: pure.

use super::address::{self, Address};
use super::agent::Agents;
use super::geo::Geo;
use super::memory::Memory;
use super::table::{self, Texts, texts};
use affluent_model::{Column, ColumnType};
use arrow_array::RecordBatch;
use arrow_schema::ArrowError;
use std::sync::Arc;

/// The event's own columns: read from the raw table, and the first of the staged one.
pub const READ: &[&str] = &[
    "event_id",
    "user_id",
    "anonymous_id",
    "session_id",
    "event_type",
    "occurred_at",
    "received_at",
    "url",
    "referrer",
    "device",
    "ip",
    "user_agent",
    "is_bot",
    "is_late",
    "properties",
];

/// What is parsed from the event's texts, in the order in which [`Clicks::parsed`] tells it.
const PARSED: &[&str] = &[
    "url_host",
    "url_path",
    "utm_source",
    "utm_medium",
    "utm_campaign",
    "utm_term",
    "utm_content",
    "referrer_host",
    "device_type",
    "device_brand",
    "device_model",
    "browser",
    "browser_version",
    "os",
    "os_version",
    "country",
    "region",
    "city",
];

/// The columns of the staged table: the event's, what is parsed from them, and where it stood in Kafka.
#[must_use]
pub fn columns() -> Vec<Column> {
    let own = READ.iter().map(|name| {
        let column_type = match *name {
            "occurred_at" | "received_at" => ColumnType::TimestampTz,
            "is_bot" | "is_late" => ColumnType::Bool,
            "properties" => ColumnType::Json,
            _ => ColumnType::Text,
        };
        (*name, column_type)
    });
    let parsed = PARSED.iter().map(|name| (*name, ColumnType::Text));
    table::columns(own.chain(parsed))
}

/// Reads the texts of clicks.
#[derive(Debug)]
pub struct Clicks {
    agents: Agents,
    geo: Geo,
    addresses: Memory<Address>,
}

impl Clicks {
    /// With what reads user agents and addresses.
    #[must_use]
    pub fn new(agents: Agents, geo: Geo) -> Self {
        Clicks { agents, geo, addresses: Memory::default() }
    }

    /// The raw columns, and behind them what their texts tell.
    ///
    /// # Errors
    /// More text in one column than Arrow counts (2 GiB).
    pub fn staged(&mut self, raw: &RecordBatch) -> Result<RecordBatch, ArrowError> {
        let [url, referrer, user_agent, ip] =
            ["url", "referrer", "user_agent", "ip"].map(|name| texts(raw, name));
        let mut parsed = Texts::new(PARSED, raw.num_rows());
        for row in 0..raw.num_rows() {
            let page = url.get(row).map(|text| self.addresses.get(text, address::read));
            let referrer = referrer.get(row).map(|text| self.addresses.get(text, address::read));
            let agent = user_agent.get(row).map(|text| self.agents.read(text)).unwrap_or_default();
            let place = ip.get(row).map(|text| self.geo.place(text)).unwrap_or_default();
            let page: Arc<Address> = page.unwrap_or_default();
            let host = referrer.as_ref().and_then(|referrer| referrer.host.as_deref());
            let texts = [page.host.as_deref(), page.path.as_deref()]
                .into_iter()
                .chain(page.campaign.iter().map(Option::as_deref))
                .chain([
                    host,
                    agent.device_type,
                    agent.device_brand.as_deref(),
                    agent.device_model.as_deref(),
                    agent.browser.as_deref(),
                    agent.browser_version.as_deref(),
                    agent.os.as_deref(),
                    agent.os_version.as_deref(),
                    place.country.as_deref(),
                    place.region.as_deref(),
                    place.city.as_deref(),
                ]);
            parsed.push(texts);
        }
        parsed.behind(raw)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_array::{ArrayRef, StringArray};

    #[test]
    fn a_click_tells_its_texts() {
        let agent = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_1 like Mac OS X) Mobile";
        let raw = [
            ("url", "https://shop.example/p/7?utm_source=mail"),
            ("referrer", "https://search.example/?q=x"),
            ("user_agent", agent),
            ("ip", "192.0.2.0"),
            ("event_id", "e"),
        ];
        let column = |(name, text): (&'static str, &str)| -> (&'static str, ArrayRef) {
            (name, Arc::new(StringArray::from(vec![Some(text), None])))
        };
        let raw = RecordBatch::try_from_iter(raw.map(column)).unwrap();
        let mut clicks = Clicks::new(Agents::new().unwrap(), Geo::default());
        let staged = clicks.staged(&raw).unwrap();
        for (name, expected) in [
            ("event_id", Some("e")),
            ("url_host", Some("shop.example")),
            ("url_path", Some("/p/7")),
            ("utm_source", Some("mail")),
            ("utm_medium", None),
            ("utm_content", None),
            ("referrer_host", Some("search.example")),
            ("device_type", Some("mobile")),
            ("device_brand", Some("Apple")),
            ("os", Some("iOS")),
            ("os_version", Some("17.1")),
            ("country", None),
            ("city", None),
        ] {
            assert_eq!(texts(&staged, name).get(0), expected, "{name}");
            assert_eq!(texts(&staged, name).get(1), None, "{name}");
        }
        let known = columns();
        for field in staged.schema().fields() {
            assert!(known.iter().any(|column| column.name == *field.name()), "{}", field.name());
        }
    }
}
