//! From a raw click to its staged row: pure.

use super::address::{self, CAMPAIGN};
use super::agent::Agents;
use super::geo::Geo;
use super::table::{self, KAFKA};
use affluent_model::{Column, ColumnType, Row, Value};
use std::iter;

/// The columns of the raw table that are read, in the order in which [`Clicks::row`] takes them apart.
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

/// What is parsed from the event's texts.
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

/// Turns raw clicks into staged ones.
#[derive(Debug)]
pub struct Clicks {
    agents: Agents,
    geo: Geo,
}

impl Clicks {
    /// With what reads user agents and addresses.
    #[must_use]
    pub fn new(agents: Agents, geo: Geo) -> Self {
        Clicks { agents, geo }
    }

    /// The staged row of a raw one: [`READ`] and then where it stood in Kafka.
    pub fn row(&mut self, raw: Row) -> Row {
        let text = |name: &str| {
            let place = READ.iter().position(|known| *known == name)?;
            match raw.get(place) {
                Some(Value::Text(text)) => Some(text.as_str()),
                _ => None,
            }
        };
        let page = text("url").map(address::read).unwrap_or_default();
        let referrer = text("referrer").map(address::read).unwrap_or_default();
        let agent = text("user_agent").map(|text| self.agents.read(text)).unwrap_or_default();
        let place = text("ip").map(|address| self.geo.place(address)).unwrap_or_default();
        let campaign: [Option<String>; CAMPAIGN.len()] = page.campaign;
        let parsed = [page.host, page.path]
            .into_iter()
            .chain(campaign)
            .chain(iter::once(referrer.host))
            .chain(iter::once(agent.device_type.map(str::to_owned)))
            .chain([
                agent.device_brand.clone(),
                agent.device_model.clone(),
                agent.browser.clone(),
                agent.browser_version.clone(),
                agent.os.clone(),
                agent.os_version.clone(),
            ])
            .chain([place.country, place.region, place.city]);
        let parsed: Vec<Value> = parsed.map(|text| text.map_or(Value::Null, Value::Text)).collect();
        let mut row = raw;
        let kafka = row.split_off(row.len().saturating_sub(KAFKA.len()));
        row.extend(parsed);
        row.extend(kafka);
        row
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_has_a_value_for_each_column() {
        let mut clicks = Clicks::new(Agents::new().unwrap(), Geo::default());
        let mut raw: Row = READ
            .iter()
            .map(|name| match *name {
                "url" => Value::Text("https://shop.example/p/7?utm_source=mail".into()),
                "referrer" => Value::Text("https://search.example/?q=x".into()),
                "user_agent" => {
                    Value::Text("Mozilla/5.0 (iPhone; CPU iPhone OS 17_1 like Mac OS X) Mobile".into())
                }
                "ip" => Value::Text("192.0.2.0".into()),
                _ => Value::Null,
            })
            .collect();
        raw.extend([Value::Text("t".into()), Value::Int(3), Value::Int(41), Value::TimestampTz(1)]);
        let row = clicks.row(raw);
        let columns = columns();
        assert_eq!(row.len(), columns.len());
        let cell = |name: &str| row[columns.iter().position(|column| column.name == name).unwrap()].to_text();
        for (name, expected) in [
            ("url_host", "shop.example"),
            ("url_path", "/p/7"),
            ("utm_source", "mail"),
            ("utm_medium", ""),
            ("referrer_host", "search.example"),
            ("device_type", "mobile"),
            ("device_brand", "Apple"),
            ("os", "iOS"),
            ("os_version", "17.1"),
            ("city", ""),
            ("_kafka_offset", "41"),
        ] {
            let value = &row[columns.iter().position(|column| column.name == name).unwrap()];
            assert_eq!(value.is_null(), expected.is_empty(), "{name}");
            assert!(value.is_null() || cell(name) == expected, "{name}: {value:?}");
        }
    }
}
