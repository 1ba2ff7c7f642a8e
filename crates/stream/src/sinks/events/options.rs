//! Which topics hold events, and how long their documents stay.

use affluent_model::names::{TOPIC_CLICKS, TOPIC_LOGS};
use affluent_model::{EventKind, LogKind};
use serde::{Deserialize, Serialize};

/// Topics and lifetimes of events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EventOptions {
    /// Topics of clicks.
    pub clicks: Vec<String>,
    /// Topics of log lines.
    pub logs: Vec<String>,
    /// Days that the document of a click stays, counted from its receipt.
    pub clicks_days: u32,
    /// Days that the document of a log line stays, by its kind.
    pub app_days: u32,
    pub error_days: u32,
    pub security_days: u32,
    pub auth_days: u32,
    pub audit_days: u32,
    /// Days that a group of errors stays after the last of them arrived.
    pub error_groups_days: u32,
}

impl Default for EventOptions {
    fn default() -> Self {
        EventOptions {
            clicks: vec![TOPIC_CLICKS.to_owned()],
            logs: vec![TOPIC_LOGS.to_owned()],
            clicks_days: 90,
            app_days: 14,
            error_days: 30,
            security_days: 180,
            auth_days: 180,
            audit_days: 730,
            error_groups_days: 90,
        }
    }
}

impl EventOptions {
    /// What the topic holds; `None` where it holds no events.
    #[must_use]
    pub fn kind(&self, topic: &str) -> Option<EventKind> {
        if self.clicks.iter().any(|name| name == topic) {
            return Some(EventKind::Clicks);
        }
        self.logs.iter().any(|name| name == topic).then_some(EventKind::Logs)
    }

    /// Days that a log line of this kind stays.
    #[must_use]
    pub fn log_days(&self, kind: LogKind) -> u32 {
        match kind {
            LogKind::App => self.app_days,
            LogKind::Error => self.error_days,
            LogKind::Security => self.security_days,
            LogKind::Auth => self.auth_days,
            LogKind::Audit => self.audit_days,
        }
    }

    /// Every topic, each as an expression that matches it alone.
    #[must_use]
    pub fn topics(&self) -> Vec<String> {
        let exact = |topic: &String| format!("^{}$", topic.replace('.', "\\."));
        self.clicks.iter().chain(&self.logs).map(exact).collect()
    }
}
