//! Where a cluster is: `ballista://host:port`, the address of its scheduler.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

const SCHEME: &str = "ballista://";

/// The address of a cluster's scheduler.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ClusterAddress {
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl ClusterAddress {
    /// As HTTP/2 has it.
    pub(crate) fn url(&self) -> String {
        format!("http://{}:{}", self.host, self.port)
    }
}

impl FromStr for ClusterAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = text.strip_prefix(SCHEME).and_then(|rest| rest.rsplit_once(':'));
        let parsed =
            parsed.and_then(|(host, port)| Some((host, port.parse().ok().filter(|&port| port > 0)?)));
        match parsed {
            Some((host, port)) if !host.is_empty() && !host.contains('/') => {
                Ok(ClusterAddress { host: host.to_owned(), port })
            }
            _ => Err(format!("\"{text}\" is not the address of a cluster, as ballista://host:50050")),
        }
    }
}

impl fmt::Display for ClusterAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}:{}", self.host, self.port)
    }
}

impl TryFrom<String> for ClusterAddress {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<ClusterAddress> for String {
    fn from(address: ClusterAddress) -> String {
        address.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_and_written_alike() {
        for text in ["ballista://node-1.lan:50050", "ballista://[::1]:1"] {
            let address: ClusterAddress = text.parse().unwrap();
            assert_eq!(address.to_string(), text);
        }
        assert_eq!("ballista://h:7".parse::<ClusterAddress>().unwrap().url(), "http://h:7");
        for wrong in
            ["", "h:7", "http://h:7", "ballista://h", "ballista://:7", "ballista://h:0", "ballista://h/x:7"]
        {
            let error = wrong.parse::<ClusterAddress>().unwrap_err();
            assert!(error.contains("ballista://host:50050"), "{wrong}: {error}");
        }
    }
}
