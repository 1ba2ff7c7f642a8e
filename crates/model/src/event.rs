//! What is collected beside the database: clicks of app and web, log lines of services.
//!
//! Both carry an `event_id` by which every store knows a repetition. Times are microseconds UTC.

use uuid::Uuid;

/// Something a visitor did. Keyed by user, else by the anonymous visitor.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ClickEvent {
    pub event_id: Uuid,
    pub user_id: Option<String>,
    /// The tracker's own name for a visitor who is not signed in.
    pub anonymous_id: Option<String>,
    pub session_id: Option<String>,
    /// `page_view`, `content_viewed`, `conversion`, `cart_abandoned`, or the sender's own.
    pub event_type: String,
    /// When it happened, by the sender's clock.
    pub occurred_at: i64,
    /// When the collector had it.
    pub received_at: i64,
    pub url: Option<String>,
    pub referrer: Option<String>,
    pub device: Option<String>,
    /// As the configuration lets it pass: whole, truncated, hashed, or nothing.
    pub ip: Option<String>,
    pub user_agent: Option<String>,
    /// A known bot by its user agent.
    pub is_bot: bool,
    /// Occurred long before it was received.
    pub is_late: bool,
    /// Everything else that the sender sent: a JSON object, as text.
    pub properties: String,
}

impl ClickEvent {
    /// The user, else the anonymous visitor: what keeps a visitor's events in one partition, in order.
    #[must_use]
    pub fn visitor(&self) -> Option<&str> {
        self.user_id.as_deref().or(self.anonymous_id.as_deref())
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
pub struct LogEvent {
    pub event_id: Uuid,
    /// When it was written, by the sender's clock.
    pub occurred_at: i64,
    /// When the collector had it.
    pub received_at: i64,
    pub service: String,
    /// OpenTelemetry's severity number, 1 (trace) to 24 (fatal); 0 where the sender named none
    /// (<https://opentelemetry.io/docs/specs/otel/logs/data-model/#field-severitynumber>).
    pub severity: u8,
    pub kind: LogKind,
    /// Lower-case hexadecimal digits, 32 of them.
    pub trace_id: Option<String>,
    /// Lower-case hexadecimal digits, 16 of them.
    pub span_id: Option<String>,
    pub message: String,
    /// Everything else that the sender sent: a JSON object, as text.
    pub attributes: String,
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
