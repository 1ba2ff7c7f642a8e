//! Our own Protobuf messages, `click.proto` and `log.proto`, written and read in one go.
//!
//! Written are all fields but absent optional ones, also those with a default value: so a reader
//! tells what a foreign producer left out from what is empty. Encoding:
//! <https://protobuf.dev/programming-guides/encoding/>.

use super::fields::NO_PROPERTIES;
use crate::codec::avro::binary::{Malformed, Put, Take};
use affluent_model::{ClickEvent, LogEvent, LogKind};
use uuid::Uuid;

type Outcome<T> = Result<T, Malformed>;

const VARINT: u8 = 0;
const BYTES: u8 = 2;

pub(super) fn put_click(to: &mut impl Put, event: &ClickEvent<&str>) {
    put_uuid(to, 1, event.event_id);
    put_optional(to, 2, event.user_id);
    put_optional(to, 3, event.anonymous_id);
    put_optional(to, 4, event.session_id);
    put_text(to, 5, event.event_type);
    put_number(to, 6, event.occurred_at);
    put_number(to, 7, event.received_at);
    put_optional(to, 8, event.url);
    put_optional(to, 9, event.referrer);
    put_optional(to, 10, event.device);
    put_optional(to, 11, event.ip);
    put_optional(to, 12, event.user_agent);
    put_number(to, 13, i64::from(event.is_bot));
    put_number(to, 14, i64::from(event.is_late));
    put_text(to, 15, event.properties);
}

/// A click; what the message must have and has not is for the caller to make up or to refuse.
#[derive(Debug, Default)]
pub(super) struct PartialClick {
    pub(super) event: ClickEvent,
    pub(super) has_event_type: bool,
    pub(super) event_id: Option<Uuid>,
    pub(super) occurred_at: Option<i64>,
    pub(super) received_at: Option<i64>,
}

/// Reads a click. `None` for an id that is no UUID.
pub(super) fn take_click(body: &[u8]) -> Outcome<Option<PartialClick>> {
    let mut from = Take(body);
    let mut read = PartialClick::default();
    read.event.properties = NO_PROPERTIES.to_owned();
    while let Some((field, wire_type)) = tag(&mut from)? {
        let event = &mut read.event;
        match (field, wire_type) {
            (1, BYTES) => match uuid(bytes(&mut from)?) {
                Ok(id) => read.event_id = id,
                Err(NotUuid) => return Ok(None),
            },
            (2, BYTES) => event.user_id = Some(text(&mut from)?),
            (3, BYTES) => event.anonymous_id = Some(text(&mut from)?),
            (4, BYTES) => event.session_id = Some(text(&mut from)?),
            (5, BYTES) => {
                event.event_type = text(&mut from)?;
                read.has_event_type = true;
            }
            (6, VARINT) => read.occurred_at = Some(varint(&mut from)?.cast_signed()),
            (7, VARINT) => read.received_at = Some(varint(&mut from)?.cast_signed()),
            (8, BYTES) => event.url = Some(text(&mut from)?),
            (9, BYTES) => event.referrer = Some(text(&mut from)?),
            (10, BYTES) => event.device = Some(text(&mut from)?),
            (11, BYTES) => event.ip = Some(text(&mut from)?),
            (12, BYTES) => event.user_agent = Some(text(&mut from)?),
            (13, VARINT) => event.is_bot = varint(&mut from)? != 0,
            (14, VARINT) => event.is_late = varint(&mut from)? != 0,
            (15, BYTES) => event.properties = text(&mut from)?,
            _ => skip(&mut from, wire_type)?,
        }
    }
    Ok(Some(read))
}

pub(super) fn put_log(to: &mut impl Put, event: &LogEvent) {
    put_uuid(to, 1, event.event_id);
    put_number(to, 2, event.occurred_at);
    put_number(to, 3, event.received_at);
    put_text(to, 4, &event.service);
    put_number(to, 5, i64::from(event.severity));
    put_text(to, 6, event.kind.name());
    put_optional(to, 7, event.trace_id.as_deref());
    put_optional(to, 8, event.span_id.as_deref());
    put_text(to, 9, &event.message);
    put_text(to, 10, &event.attributes);
}

/// A log line; as [`PartialClick`].
#[derive(Debug, Default)]
pub(super) struct PartialLog {
    pub(super) event: LogEvent,
    pub(super) has_service: bool,
    pub(super) event_id: Option<Uuid>,
    pub(super) occurred_at: Option<i64>,
    pub(super) received_at: Option<i64>,
}

/// Reads a log line. `None` for an id that is no UUID, a kind or a severity that we do not have.
pub(super) fn take_log(body: &[u8]) -> Outcome<Option<PartialLog>> {
    let mut from = Take(body);
    let mut read = PartialLog::default();
    read.event.attributes = NO_PROPERTIES.to_owned();
    while let Some((field, wire_type)) = tag(&mut from)? {
        let event = &mut read.event;
        match (field, wire_type) {
            (1, BYTES) => match uuid(bytes(&mut from)?) {
                Ok(id) => read.event_id = id,
                Err(NotUuid) => return Ok(None),
            },
            (2, VARINT) => read.occurred_at = Some(varint(&mut from)?.cast_signed()),
            (3, VARINT) => read.received_at = Some(varint(&mut from)?.cast_signed()),
            (4, BYTES) => {
                event.service = text(&mut from)?;
                read.has_service = true;
            }
            (5, VARINT) => match u8::try_from(varint(&mut from)?) {
                Ok(severity) => event.severity = severity,
                Err(_) => return Ok(None),
            },
            (6, BYTES) => match bytes(&mut from)? {
                b"" => event.kind = LogKind::default(),
                name => match std::str::from_utf8(name).ok().and_then(LogKind::from_name) {
                    Some(kind) => event.kind = kind,
                    None => return Ok(None),
                },
            },
            (7, BYTES) => event.trace_id = Some(text(&mut from)?),
            (8, BYTES) => event.span_id = Some(text(&mut from)?),
            (9, BYTES) => event.message = text(&mut from)?,
            (10, BYTES) => event.attributes = text(&mut from)?,
            _ => skip(&mut from, wire_type)?,
        }
    }
    Ok(Some(read))
}

fn put_tag(to: &mut impl Put, field: u8, wire_type: u8) {
    // All our fields are below 16: one byte.
    to.put_raw(&[field << 3 | wire_type]);
}

fn put_varint(to: &mut impl Put, mut value: u64) {
    let mut encoded = [0; 10];
    let mut length = 0;
    while value >= 0x80 {
        encoded[length] = (value & 0x7F) as u8 | 0x80;
        value >>= 7;
        length += 1;
    }
    encoded[length] = value as u8;
    to.put_raw(&encoded[..=length]);
}

fn put_number(to: &mut impl Put, field: u8, value: i64) {
    put_tag(to, field, VARINT);
    put_varint(to, value.cast_unsigned());
}

fn put_text(to: &mut impl Put, field: u8, text: &str) {
    put_tag(to, field, BYTES);
    put_varint(to, text.len() as u64);
    to.put_raw(text.as_bytes());
}

fn put_optional(to: &mut impl Put, field: u8, text: Option<&str>) {
    if let Some(text) = text {
        put_text(to, field, text);
    }
}

fn put_uuid(to: &mut impl Put, field: u8, id: Uuid) {
    let mut text = Uuid::encode_buffer();
    put_text(to, field, id.hyphenated().encode_lower(&mut text));
}

/// The next field's number and wire type; `None` at the end.
fn tag(from: &mut Take<'_>) -> Outcome<Option<(u64, u8)>> {
    if from.0.is_empty() {
        return Ok(None);
    }
    let tag = varint(from)?;
    match tag >> 3 {
        0 => Err(Malformed("field number is 0")),
        field => Ok(Some((field, (tag & 7) as u8))),
    }
}

fn varint(from: &mut Take<'_>) -> Outcome<u64> {
    let mut value = 0_u64;
    for (index, &byte) in from.0.iter().take(10).enumerate() {
        value |= u64::from(byte & 0x7F) << (7 * index);
        if byte < 0x80 {
            if index == 9 && byte > 1 {
                break;
            }
            from.0 = &from.0[index + 1..];
            return Ok(value);
        }
    }
    Err(Malformed("integer of more than 64 bits, or input ends too early"))
}

fn bytes<'a>(from: &mut Take<'a>) -> Outcome<&'a [u8]> {
    let length = usize::try_from(varint(from)?).map_err(|_| Malformed("impossible length"))?;
    from.raw(length)
}

fn text(from: &mut Take<'_>) -> Outcome<String> {
    std::str::from_utf8(bytes(from)?).map(ToOwned::to_owned).map_err(|_| Malformed("text is not UTF-8"))
}

struct NotUuid;

/// `None` where the text is empty, as Protobuf leaves it where nobody set it.
fn uuid(text: &[u8]) -> Result<Option<Uuid>, NotUuid> {
    if text.is_empty() { Ok(None) } else { Uuid::try_parse_ascii(text).map(Some).map_err(|_| NotUuid) }
}

fn skip(from: &mut Take<'_>, wire_type: u8) -> Outcome<()> {
    match wire_type {
        VARINT => varint(from).map(|_| ()),
        1 => from.raw(8).map(|_| ()),
        BYTES => bytes(from).map(|_| ()),
        5 => from.raw(4).map(|_| ()),
        _ => Err(Malformed("unknown wire type")),
    }
}
