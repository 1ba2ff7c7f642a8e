//! Clicks from bytes: the request's body in, events and rejects out, in the order of the items.
//!
//! Pure: no clock, no network; what the request knows comes in as [`Arrival`]. Unknown members are kept
//! as they were written. Invariant: an item depends on its own bytes alone, never on its neighbours.

use super::json::{self, Fault, Kind, Raw};
use super::moment::{self, Clock};
use super::options::CollectOptions;
use super::proto;
use super::reason::{Reject, RejectReason};
use super::split::{Framing, Items};
use super::visitor::Visitors;
use affluent_model::ClickEvent;
use std::borrow::Cow;
use std::net::IpAddr;
use uuid::Uuid;

/// How a body is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// An object, an array of objects, or lines of objects: the content tells.
    Json,
    /// One object a line.
    Lines,
    /// `affluent.collect.v1.Events` of `deploy/proto/affluent/collect.proto`.
    Protobuf,
}

impl Content {
    /// By the media type of the request; `None` for one that is not taken. What browsers and curl send
    /// without being asked (`text/plain`, a form) is JSON.
    #[must_use]
    pub fn of(content_type: Option<&str>) -> Option<Self> {
        let media = content_type.unwrap_or_default().split(';').next().unwrap_or_default().trim();
        match media.to_ascii_lowercase().as_str() {
            "" | "application/json" | "text/plain" | "text/json" | "application/x-www-form-urlencoded" => {
                Some(Content::Json)
            }
            "application/x-ndjson"
            | "application/ndjson"
            | "application/jsonl"
            | "application/json-lines" => Some(Content::Lines),
            "application/x-protobuf" | "application/protobuf" => Some(Content::Protobuf),
            _ => None,
        }
    }
}

/// A click whose texts are those of the request.
pub(crate) type Click<'a> = ClickEvent<Cow<'a, str>>;

/// What is known of all items of a request.
#[derive(Debug, Clone, Copy)]
pub struct Arrival<'a> {
    /// Microseconds since the epoch.
    pub received_at: i64,
    /// Of the client, for items that name none.
    pub ip: Option<IpAddr>,
    /// Of the client, for items that name none.
    pub user_agent: Option<&'a str>,
}

/// Longest names and types, bytes.
const NAME_MAX: usize = 256;
/// Longest addresses of pages and user agents, bytes.
const URL_MAX: usize = 8_192;

/// Reads clicks by the rules of the configuration.
pub struct EventParser {
    visitors: Visitors,
    clock: Clock,
    item_bytes_max: usize,
    json_depth_max: usize,
}

impl EventParser {
    /// A parser with these options, which are checked already.
    #[must_use]
    pub fn new(options: &CollectOptions) -> Self {
        EventParser {
            visitors: Visitors::new(options.ip, options.ip_key.as_deref()),
            clock: clock(options),
            item_bytes_max: options.item_bytes_max,
            json_depth_max: options.json_depth_max,
        }
    }

    /// The items of a body, each an event or the reason why not.
    pub fn parse<'a>(
        &'a self,
        content: Content,
        body: &'a [u8],
        arrival: &'a Arrival<'a>,
    ) -> Box<dyn Iterator<Item = Result<Click<'a>, Reject>> + Send + 'a> {
        let lines = |framing| {
            Box::new(Items::new(body, framing).map(|item| {
                let draft = self.read_json(item)?;
                self.finish(draft, arrival)
            }))
        };
        match content {
            Content::Json => lines(Framing::ByContent),
            Content::Lines => lines(Framing::Lines),
            Content::Protobuf => Box::new(proto::items(body).map(|item| {
                let item = item?;
                self.sized(item)?;
                let draft = Draft::from_proto(proto::event(item)?, self.json_depth_max)?;
                self.finish(draft, arrival)
            })),
        }
    }

    fn sized(&self, item: &[u8]) -> Result<(), Reject> {
        if item.len() > self.item_bytes_max {
            return Err(Reject::new(RejectReason::TooLarge, "the item is larger than item_bytes_max"));
        }
        Ok(())
    }

    fn read_json<'a>(&self, item: &'a [u8]) -> Result<Draft<'a>, Reject> {
        let mut draft = Draft::default();
        let mut failure = None;
        let text = item_text(item, self.item_bytes_max)?;
        json::read_object(text, self.json_depth_max, |name, value| {
            if let Err(reject) = draft.take(&name, value) {
                failure.get_or_insert(reject);
            }
        })
        .map_err(|fault| reject_fault(fault, text))?;
        failure.map_or(Ok(draft), Err)
    }

    /// Fills in what the sender left out, and judges what it said.
    fn finish<'a>(&self, draft: Draft<'a>, arrival: &'a Arrival<'a>) -> Result<Click<'a>, Reject> {
        let event_type = draft.event_type.filter(|name| !name.is_empty()).ok_or_else(|| {
            Reject::new(RejectReason::MissingEventType, "event_type is missing: name what happened")
        })?;
        let occurred_at = draft.occurred_at.unwrap_or(arrival.received_at);
        let is_late = self.clock.judge(occurred_at, arrival.received_at)?;
        let user_agent =
            draft.user_agent.or_else(|| arrival.user_agent.map(|agent| clipped(agent, URL_MAX).into()));
        let is_bot = user_agent.as_deref().is_some_and(|agent| self.visitors.is_bot(agent));
        Ok(ClickEvent {
            event_id: draft.event_id.unwrap_or_else(Uuid::now_v7),
            user_id: draft.user_id,
            anonymous_id: draft.anonymous_id,
            session_id: draft.session_id,
            event_type,
            occurred_at,
            received_at: arrival.received_at,
            url: draft.url,
            referrer: draft.referrer,
            device: draft.device,
            ip: draft.ip.or(arrival.ip).and_then(|ip| self.visitors.ip(ip)).map(Cow::Owned),
            user_agent,
            is_bot,
            is_late,
            properties: draft.properties.into_object().into(),
        })
    }
}

/// The text of an item: bounded, and UTF-8.
pub(crate) fn item_text(item: &[u8], bytes_max: usize) -> Result<&str, Reject> {
    if item.len() > bytes_max {
        return Err(Reject::new(RejectReason::TooLarge, "the item is larger than item_bytes_max"));
    }
    std::str::from_utf8(item).map_err(|error| {
        let at = error.valid_up_to();
        Reject::new(RejectReason::InvalidUtf8, format!("not UTF-8 from byte {at} of the item on"))
    })
}

pub(crate) fn clock(options: &CollectOptions) -> Clock {
    let micros = |seconds: u64| i64::try_from(seconds).unwrap_or(i64::MAX).saturating_mul(1_000_000);
    Clock { ahead_max: micros(options.ahead_max_s), late_after: micros(options.late_after_s) }
}

pub(crate) fn reject_fault(fault: Fault, text: &str) -> Reject {
    match fault {
        Fault::TooDeep => Reject::new(RejectReason::TooDeep, "nested deeper than json_depth_max"),
        Fault::Syntax(_) if !text.trim_start().starts_with('{') && Raw::parse(text, 127).is_ok() => {
            Reject::new(RejectReason::NotAnObject, "an item is a JSON object")
        }
        Fault::Syntax(at) => Reject::new(RejectReason::BadJson, format!("not JSON at byte {at} of the item")),
    }
}

/// What the sender said of an event.
#[derive(Default)]
struct Draft<'a> {
    event_id: Option<Uuid>,
    user_id: Option<Cow<'a, str>>,
    anonymous_id: Option<Cow<'a, str>>,
    session_id: Option<Cow<'a, str>>,
    event_type: Option<Cow<'a, str>>,
    occurred_at: Option<i64>,
    url: Option<Cow<'a, str>>,
    referrer: Option<Cow<'a, str>>,
    device: Option<Cow<'a, str>>,
    ip: Option<IpAddr>,
    user_agent: Option<Cow<'a, str>>,
    properties: Properties,
}

impl<'a> Draft<'a> {
    /// One member of the sender's object.
    fn take(&mut self, name: &str, value: Raw<'a>) -> Result<(), Reject> {
        match name {
            "event_id" => self.event_id = event_id(text(value, "event_id", NAME_MAX)?)?,
            "user_id" => self.user_id = identifier(value, "user_id")?,
            "anonymous_id" => self.anonymous_id = identifier(value, "anonymous_id")?,
            "session_id" => self.session_id = identifier(value, "session_id")?,
            "event_type" => self.event_type = text(value, "event_type", NAME_MAX)?,
            "occurred_at" => self.occurred_at = time(value, "occurred_at")?,
            "url" => self.url = text(value, "url", URL_MAX)?,
            "referrer" => self.referrer = text(value, "referrer", URL_MAX)?,
            "device" => self.device = text(value, "device", NAME_MAX)?,
            "ip" => self.ip = address(text(value, "ip", NAME_MAX)?)?,
            "user_agent" => self.user_agent = text(value, "user_agent", URL_MAX)?,
            "properties" => match value.kind() {
                Kind::Object => self.properties.splice(value.inner()),
                Kind::Null => {}
                _ => return Err(wrong_type("properties", "an object")),
            },
            other => json::write_member(&mut self.properties.members, other, value.text()),
        }
        Ok(())
    }

    fn from_proto(event: proto::Event, depth_max: usize) -> Result<Self, Reject> {
        let given =
            |text: String, name, max| bounded(text, name, max).map(|text| present(text).map(Cow::Owned));
        let mut draft = Draft {
            event_id: event_id(present(event.event_id).map(Cow::Owned))?,
            user_id: given(event.user_id, "user_id", NAME_MAX)?,
            anonymous_id: given(event.anonymous_id, "anonymous_id", NAME_MAX)?,
            session_id: given(event.session_id, "session_id", NAME_MAX)?,
            event_type: given(event.event_type, "event_type", NAME_MAX)?,
            occurred_at: (event.occurred_at_us != 0).then_some(event.occurred_at_us),
            url: given(event.url, "url", URL_MAX)?,
            referrer: given(event.referrer, "referrer", URL_MAX)?,
            device: given(event.device, "device", NAME_MAX)?,
            ip: address(present(event.ip).map(Cow::Owned))?,
            user_agent: given(event.user_agent, "user_agent", URL_MAX)?,
            properties: Properties::default(),
        };
        if draft.occurred_at.is_some_and(|at| at < 0) {
            return Err(bad_time("occurred_at_us"));
        }
        if !event.properties.is_empty() {
            let raw = Raw::parse(&event.properties, depth_max)
                .map_err(|fault| reject_fault(fault, &event.properties))?;
            if raw.kind() != Kind::Object {
                return Err(wrong_type("properties", "a JSON object as text"));
            }
            draft.properties.splice(raw.inner());
        }
        Ok(draft)
    }
}

/// Members of the sender's object that have no field of their own, without the braces around them.
#[derive(Default)]
struct Properties {
    members: String,
}

impl Properties {
    /// Appends the members of an object.
    fn splice(&mut self, inner: &str) {
        if !inner.is_empty() {
            if !self.members.is_empty() {
                self.members.push(',');
            }
            self.members.push_str(inner);
        }
    }

    fn into_object(self) -> String {
        let mut members = self.members;
        members.reserve_exact(2);
        members.insert(0, '{');
        members.push('}');
        members
    }
}

fn present(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

fn wrong_type(name: &str, wanted: &str) -> Reject {
    Reject::new(RejectReason::WrongType, format!("{name} must be {wanted}"))
}

fn bad_time(name: &str) -> Reject {
    let error = format!("{name} must be RFC 3339 with an offset, or a number since the epoch");
    Reject::new(RejectReason::BadTime, error)
}

fn bounded(text: String, name: &str, max: usize) -> Result<String, Reject> {
    if text.len() > max {
        return Err(Reject::new(RejectReason::TooLong, format!("{name} is longer than {max} bytes")));
    }
    Ok(text)
}

fn text<'a>(value: Raw<'a>, name: &str, max: usize) -> Result<Option<Cow<'a, str>>, Reject> {
    match value.kind() {
        Kind::Null => Ok(None),
        Kind::String => {
            let text = value.string().unwrap_or_default();
            if text.len() > max {
                return Err(Reject::new(RejectReason::TooLong, format!("{name} is longer than {max} bytes")));
            }
            Ok(Some(text))
        }
        Kind::Bool | Kind::Number | Kind::Array | Kind::Object => Err(wrong_type(name, "a string")),
    }
}

/// A name; whole numbers are taken as their digits, for databases number their users. Empty is none.
fn identifier<'a>(value: Raw<'a>, name: &str) -> Result<Option<Cow<'a, str>>, Reject> {
    let digits = value.text();
    if value.kind() == Kind::Number {
        let whole = digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
        return if whole && digits.len() <= NAME_MAX {
            Ok(Some(Cow::Borrowed(digits)))
        } else {
            Err(wrong_type(name, "a string or a whole number"))
        };
    }
    Ok(text(value, name, NAME_MAX)?.filter(|text| !text.is_empty()))
}

pub(crate) fn event_id(text: Option<Cow<'_, str>>) -> Result<Option<Uuid>, Reject> {
    let Some(text) = text else { return Ok(None) };
    match Uuid::parse_str(&text) {
        Ok(id) if !id.is_nil() => Ok(Some(id)),
        _ => Err(Reject::new(RejectReason::BadEventId, "event_id must be a UUID")),
    }
}

fn address(text: Option<Cow<'_, str>>) -> Result<Option<IpAddr>, Reject> {
    let Some(text) = text.filter(|text| !text.is_empty()) else { return Ok(None) };
    text.parse().map(Some).map_err(|_| Reject::new(RejectReason::BadIp, "ip must be an IP address"))
}

/// A time; null is none.
pub(crate) fn time(value: Raw<'_>, name: &str) -> Result<Option<i64>, Reject> {
    let micros = match value.kind() {
        Kind::Null => return Ok(None),
        Kind::String => value.string().and_then(|text| moment::from_text(&text)),
        Kind::Number => {
            value.integer().map_or_else(|| value.float().and_then(moment::from_number), moment::from_integer)
        }
        Kind::Bool | Kind::Array | Kind::Object => {
            return Err(wrong_type(name, "a time: RFC 3339, or a number since the epoch"));
        }
    };
    micros.map(Some).ok_or_else(|| bad_time(name))
}

/// The beginning of a text, at most `max` bytes.
pub(crate) fn clip(text: &str, max: usize) -> String {
    clipped(text, max).to_owned()
}

fn clipped(text: &str, max: usize) -> &str {
    &text[..text.floor_char_boundary(max)]
}
