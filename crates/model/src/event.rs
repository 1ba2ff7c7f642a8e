//! What is collected beside the database: clicks of app and web, log lines of services.
//!
//! Both carry an `event_id` by which every store knows a repetition. Times are microseconds UTC. Texts are
//! owned by default; a decoder lends them from the record (`Cow<str>`).

use crate::names::{COLLECTION_CLICKS, COLLECTION_LOGS};
use std::borrow::Cow;
use uuid::Uuid;

/// What a topic of events holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EventKind {
    /// [`ClickEvent`]s.
    Clicks,
    /// [`LogEvent`]s.
    Logs,
}

impl EventKind {
    pub const ALL: [EventKind; 2] = [EventKind::Clicks, EventKind::Logs];

    /// The name of its collection in the document store, and of its tables in the zones of the lake.
    #[must_use]
    pub fn collection(self) -> &'static str {
        match self {
            EventKind::Clicks => COLLECTION_CLICKS,
            EventKind::Logs => COLLECTION_LOGS,
        }
    }

    /// The pipeline's name in metrics.
    #[must_use]
    pub fn pipeline(self) -> &'static str {
        match self {
            EventKind::Clicks => "clickstream",
            EventKind::Logs => "logs",
        }
    }
}

/// Something a visitor did. Keyed by user, else by the anonymous visitor.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ClickEvent<S = String> {
    pub event_id: Uuid,
    pub user_id: Option<S>,
    /// The tracker's own name for a visitor who is not signed in.
    pub anonymous_id: Option<S>,
    pub session_id: Option<S>,
    /// `page_view`, `content_viewed`, `conversion`, `cart_abandoned`, or the sender's own.
    pub event_type: S,
    /// When it happened, by the sender's clock.
    pub occurred_at: i64,
    /// When the collector had it.
    pub received_at: i64,
    pub url: Option<S>,
    pub referrer: Option<S>,
    pub device: Option<S>,
    /// As the configuration lets it pass: whole, truncated, hashed, or nothing.
    pub ip: Option<S>,
    pub user_agent: Option<S>,
    /// A known bot by its user agent.
    pub is_bot: bool,
    /// Occurred long before it was received.
    pub is_late: bool,
    /// Everything else that the sender sent: a JSON object, as text.
    pub properties: S,
}

impl<S: AsRef<str>> ClickEvent<S> {
    /// The user, else the anonymous visitor: what keeps a visitor's events in one partition, in order.
    #[must_use]
    pub fn visitor(&self) -> Option<&str> {
        self.user_id.as_ref().or(self.anonymous_id.as_ref()).map(AsRef::as_ref)
    }
}

impl<S: AsRef<str>> ClickEvent<S> {
    /// The same event, its texts lent.
    pub fn lent(&self) -> ClickEvent<&str> {
        fn text<S: AsRef<str>>(text: &Option<S>) -> Option<&str> {
            text.as_ref().map(AsRef::as_ref)
        }
        ClickEvent {
            event_id: self.event_id,
            user_id: text(&self.user_id),
            anonymous_id: text(&self.anonymous_id),
            session_id: text(&self.session_id),
            event_type: self.event_type.as_ref(),
            occurred_at: self.occurred_at,
            received_at: self.received_at,
            url: text(&self.url),
            referrer: text(&self.referrer),
            device: text(&self.device),
            ip: text(&self.ip),
            user_agent: text(&self.user_agent),
            is_bot: self.is_bot,
            is_late: self.is_late,
            properties: self.properties.as_ref(),
        }
    }
}

impl<S> ClickEvent<S> {
    /// The event with its texts in another form.
    pub fn map<T>(self, text: impl Fn(S) -> T) -> ClickEvent<T> {
        ClickEvent {
            event_id: self.event_id,
            user_id: self.user_id.map(&text),
            anonymous_id: self.anonymous_id.map(&text),
            session_id: self.session_id.map(&text),
            event_type: text(self.event_type),
            occurred_at: self.occurred_at,
            received_at: self.received_at,
            url: self.url.map(&text),
            referrer: self.referrer.map(&text),
            device: self.device.map(&text),
            ip: self.ip.map(&text),
            user_agent: self.user_agent.map(&text),
            is_bot: self.is_bot,
            is_late: self.is_late,
            properties: text(self.properties),
        }
    }
}

impl ClickEvent<Cow<'_, str>> {
    /// The event with texts of its own.
    #[must_use]
    pub fn into_owned(self) -> ClickEvent {
        self.map(Cow::into_owned)
    }
}

/// What a log line is about; each kind is kept for a time of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum LogKind {
    #[default]
    App,
    Error,
    Security,
    Auth,
    Audit,
}

impl LogKind {
    /// All of them.
    pub const ALL: [LogKind; 5] =
        [LogKind::App, LogKind::Error, LogKind::Security, LogKind::Auth, LogKind::Audit];

    /// `app`, `error`, `security`, `auth`, `audit`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            LogKind::App => "app",
            LogKind::Error => "error",
            LogKind::Security => "security",
            LogKind::Auth => "auth",
            LogKind::Audit => "audit",
        }
    }

    /// The kind of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// One line of a service's log.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct LogEvent<S = String> {
    pub event_id: Uuid,
    /// When it was written, by the sender's clock.
    pub occurred_at: i64,
    /// When the collector had it.
    pub received_at: i64,
    pub service: S,
    /// OpenTelemetry's severity number, 1 (trace) to 24 (fatal); 0 where the sender named none
    /// (<https://opentelemetry.io/docs/specs/otel/logs/data-model/#field-severitynumber>).
    pub severity: u8,
    pub kind: LogKind,
    /// Lower-case hexadecimal digits, 32 of them.
    pub trace_id: Option<S>,
    /// Lower-case hexadecimal digits, 16 of them.
    pub span_id: Option<S>,
    pub message: S,
    /// Everything else that the sender sent: a JSON object, as text.
    pub attributes: S,
}

impl<S> LogEvent<S> {
    /// The line with its texts in another form.
    pub fn map<T>(self, text: impl Fn(S) -> T) -> LogEvent<T> {
        LogEvent {
            event_id: self.event_id,
            occurred_at: self.occurred_at,
            received_at: self.received_at,
            service: text(self.service),
            severity: self.severity,
            kind: self.kind,
            trace_id: self.trace_id.map(&text),
            span_id: self.span_id.map(&text),
            message: text(self.message),
            attributes: text(self.attributes),
        }
    }
}

impl LogEvent<Cow<'_, str>> {
    /// The line with texts of its own.
    #[must_use]
    pub fn into_owned(self) -> LogEvent {
        self.map(Cow::into_owned)
    }
}

impl LogEvent {
    /// Severity from which a line counts as an error (`ERROR` of OpenTelemetry).
    pub const SEVERITY_ERROR: u8 = 17;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_found_by_their_names() {
        for kind in LogKind::ALL {
            assert_eq!(LogKind::from_name(kind.name()), Some(kind));
        }
        assert_eq!(LogKind::from_name("App"), None);
    }
}
