//! Our own Avro schemas, `click.avsc` and `log.avsc`, written and read in one go.
//!
//! The order of the lines here is the order of the fields there.

use crate::codec::avro::binary::{Malformed, Put, Take};
use affluent_model::{ClickEvent, LogEvent, LogKind};
use std::borrow::Cow;
use uuid::Uuid;

type Outcome<T> = Result<T, Malformed>;

pub(super) fn put_click(to: &mut impl Put, event: &ClickEvent<&str>) {
    put_uuid(to, event.event_id);
    put_optional(to, event.user_id);
    put_optional(to, event.anonymous_id);
    put_optional(to, event.session_id);
    to.put_text(event.event_type);
    to.put_long(event.occurred_at);
    to.put_long(event.received_at);
    put_optional(to, event.url);
    put_optional(to, event.referrer);
    put_optional(to, event.device);
    put_optional(to, event.ip);
    put_optional(to, event.user_agent);
    to.put_bool(event.is_bot);
    to.put_bool(event.is_late);
    to.put_text(event.properties);
}

/// Reads a click, whose texts are lent; bytes after it are an error. `None` for an id that is no UUID.
pub(super) fn take_click(body: &[u8]) -> Outcome<Option<ClickEvent<Cow<'_, str>>>> {
    let mut from = Take(body);
    let Some(event_id) = take_uuid(&mut from)? else { return Ok(None) };
    let event = ClickEvent {
        event_id,
        user_id: take_optional(&mut from)?,
        anonymous_id: take_optional(&mut from)?,
        session_id: take_optional(&mut from)?,
        event_type: Cow::Borrowed(from.text()?),
        occurred_at: from.long()?,
        received_at: from.long()?,
        url: take_optional(&mut from)?,
        referrer: take_optional(&mut from)?,
        device: take_optional(&mut from)?,
        ip: take_optional(&mut from)?,
        user_agent: take_optional(&mut from)?,
        is_bot: from.bool()?,
        is_late: from.bool()?,
        properties: Cow::Borrowed(from.text()?),
    };
    end(&from)?;
    Ok(Some(event))
}

pub(super) fn put_log(to: &mut impl Put, event: &LogEvent) {
    put_uuid(to, event.event_id);
    to.put_long(event.occurred_at);
    to.put_long(event.received_at);
    to.put_text(&event.service);
    to.put_long(i64::from(event.severity));
    to.put_text(event.kind.name());
    put_optional(to, event.trace_id.as_deref());
    put_optional(to, event.span_id.as_deref());
    to.put_text(&event.message);
    to.put_text(&event.attributes);
}

/// Reads a log line, whose texts are lent; bytes after it are an error. `None` for an id that is no UUID, a kind or a
/// severity that we do not have.
pub(super) fn take_log(body: &[u8]) -> Outcome<Option<LogEvent<Cow<'_, str>>>> {
    let mut from = Take(body);
    let Some(event_id) = take_uuid(&mut from)? else { return Ok(None) };
    let (occurred_at, received_at) = (from.long()?, from.long()?);
    let service = Cow::Borrowed(from.text()?);
    let Ok(severity) = u8::try_from(from.int()?) else { return Ok(None) };
    let Some(kind) = LogKind::from_name(from.text()?) else { return Ok(None) };
    let event = LogEvent {
        event_id,
        occurred_at,
        received_at,
        service,
        severity,
        kind,
        trace_id: take_optional(&mut from)?,
        span_id: take_optional(&mut from)?,
        message: Cow::Borrowed(from.text()?),
        attributes: Cow::Borrowed(from.text()?),
    };
    end(&from)?;
    Ok(Some(event))
}

fn put_uuid(to: &mut impl Put, id: Uuid) {
    let mut text = Uuid::encode_buffer();
    to.put_text(id.hyphenated().encode_lower(&mut text));
}

fn take_uuid(from: &mut Take<'_>) -> Outcome<Option<Uuid>> {
    Ok(Uuid::try_parse_ascii(from.bytes()?).ok())
}

fn put_optional(to: &mut impl Put, text: Option<&str>) {
    match text {
        None => to.put_long(0),
        Some(text) => {
            to.put_long(1);
            to.put_text(text);
        }
    }
}

fn take_optional<'a>(from: &mut Take<'a>) -> Outcome<Option<Cow<'a, str>>> {
    match from.long()? {
        0 => Ok(None),
        1 => Ok(Some(Cow::Borrowed(from.text()?))),
        _ => Err(Malformed("union has no such branch")),
    }
}

fn end(from: &Take<'_>) -> Outcome<()> {
    if from.0.is_empty() { Ok(()) } else { Err(Malformed("bytes after the end")) }
}
