//! What may be known of a visitor: the address as far as the configuration lets it pass, and whether the
//! user agent is a known bot.

use super::options::IpPolicy;
use aho_corasick::{AhoCorasick, AhoCorasickKind};
use hmac::{Hmac, Mac};
use sha2::Sha256;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Parts of user agents of programs that are no visitors, whatever their case: crawlers (which call
/// themselves bot, crawler or spider), link previews, monitors, headless browsers, HTTP libraries.
const BOTS: &[&str] = &[
    "bot",
    "crawl",
    "spider",
    "slurp",
    "headless",
    "lighthouse",
    "phantomjs",
    "puppeteer",
    "playwright",
    "facebookexternalhit",
    "embedly",
    "whatsapp/",
    "bingpreview",
    "google-inspectiontool",
    "mediapartners",
    "pingdom",
    "uptime",
    "monitor",
    "statuscake",
    "curl/",
    "wget/",
    "python-requests",
    "python-urllib",
    "aiohttp",
    "httpx",
    "go-http-client",
    "okhttp",
    "java/",
    "apache-httpclient",
    "libwww",
    "axios/",
    "node-fetch",
    "scrapy",
    "feedfetcher",
    "archive.org",
    "semrush",
    "ahrefs",
    "dataprovider",
    "gptbot",
];
/// A maker of telephones whose name ends in `bot`.
const NO_BOT: &[u8] = b"cubot";

/// Applies the policy; made once.
pub(crate) struct Visitors {
    policy: IpPolicy,
    key: Vec<u8>,
    bots: Option<AhoCorasick>,
}

impl Visitors {
    pub(crate) fn new(policy: IpPolicy, key: Option<&str>) -> Self {
        let mut builder = AhoCorasick::builder();
        builder.ascii_case_insensitive(true).kind(Some(AhoCorasickKind::DFA));
        Visitors {
            policy,
            key: key.unwrap_or_default().as_bytes().to_vec(),
            // The list is constant; a test holds that it compiles.
            bots: builder.build(BOTS).ok(),
        }
    }

    /// The address as it may be kept.
    pub(crate) fn ip(&self, ip: IpAddr) -> Option<String> {
        let ip = ip.to_canonical();
        match self.policy {
            IpPolicy::Keep => Some(ip.to_string()),
            IpPolicy::Truncate => Some(truncate(ip).to_string()),
            IpPolicy::Hash => Some(self.hash(ip)),
            IpPolicy::Drop => None,
        }
    }

    /// 32 hexadecimal digits of HMAC-SHA-256: equal for equal addresses, nothing without the key.
    fn hash(&self, ip: IpAddr) -> String {
        // HMAC takes keys of every length.
        Hmac::<Sha256>::new_from_slice(&self.key).map_or_else(
            |_| String::new(),
            |mut mac| {
                mac.update(b"affluent ip\0");
                mac.update(ip.to_string().as_bytes());
                hex::encode(&mac.finalize().into_bytes()[..16])
            },
        )
    }

    /// A known bot.
    pub(crate) fn is_bot(&self, user_agent: &str) -> bool {
        let Some(bots) = &self.bots else { return false };
        bots.find_iter(user_agent).any(|found| {
            let from = found.end().saturating_sub(NO_BOT.len());
            !user_agent.as_bytes()[from..found.end()].eq_ignore_ascii_case(NO_BOT)
        })
    }
}

/// The network: /24 of IPv4, /48 of IPv6.
fn truncate(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(ip) => {
            let [a, b, c, _] = ip.octets();
            Ipv4Addr::new(a, b, c, 0).into()
        }
        IpAddr::V6(ip) => {
            let [a, b, c, ..] = ip.segments();
            Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0).into()
        }
    }
}

/// The client's address: the peer, or what the outermost of `hops` trusted proxies saw, which each of
/// them appends to `X-Forwarded-For`. What stands further left was written by the client.
pub(crate) fn client_ip(peer: Option<IpAddr>, forwarded: &[&str], hops: usize) -> Option<IpAddr> {
    if hops == 0 {
        return peer;
    }
    let addresses: Vec<&str> = forwarded.iter().flat_map(|header| header.split(',')).map(str::trim).collect();
    let seen = addresses.get(addresses.len().checked_sub(hops)?)?;
    seen.parse().ok().or_else(|| seen.parse::<std::net::SocketAddr>().ok().map(|address| address.ip()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_pass_as_configured() {
        let v4: IpAddr = "203.0.113.77".parse().unwrap();
        let v6: IpAddr = "2001:db8:1:2:3:4:5:6".parse().unwrap();
        let mapped: IpAddr = "::ffff:203.0.113.77".parse().unwrap();
        let with = |policy| Visitors::new(policy, Some("a key of some length"));
        let truncated = with(IpPolicy::Truncate);
        assert_eq!(truncated.ip(v4).unwrap(), "203.0.113.0");
        assert_eq!(truncated.ip(mapped).unwrap(), "203.0.113.0");
        assert_eq!(truncated.ip(v6).unwrap(), "2001:db8:1::");
        assert_eq!(with(IpPolicy::Keep).ip(v4).unwrap(), "203.0.113.77");
        assert_eq!(with(IpPolicy::Drop).ip(v4), None);
        let hashed = with(IpPolicy::Hash).ip(v4).unwrap();
        assert_eq!(hashed.len(), 32);
        assert_eq!(with(IpPolicy::Hash).ip(mapped).unwrap(), hashed);
        assert_ne!(Visitors::new(IpPolicy::Hash, Some("another key")).ip(v4).unwrap(), hashed);
    }

    #[test]
    fn only_what_trusted_proxies_wrote_counts() {
        let peer: Option<IpAddr> = "10.0.0.1".parse().ok();
        let header = ["6.6.6.6, 198.51.100.7", "10.0.0.2"];
        for (hops, expected) in
            [(0, Some("10.0.0.1")), (1, Some("10.0.0.2")), (2, Some("198.51.100.7")), (4, None)]
        {
            assert_eq!(client_ip(peer, &header, hops), expected.map(|ip| ip.parse().unwrap()), "{hops}");
        }
        assert_eq!(client_ip(peer, &["198.51.100.7:4711"], 1), "198.51.100.7".parse().ok());
        assert_eq!(client_ip(peer, &["unknown"], 1), None);
    }

    #[test]
    fn bots_are_known_by_their_names() {
        let visitors = Visitors::new(IpPolicy::Drop, None);
        for (agent, expected) in [
            ("Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)", true),
            ("Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 HeadlessChrome/130.0 Safari/537.36", true),
            ("curl/8.5.0", true),
            (
                "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/130.0 Safari/537.36",
                false,
            ),
            ("Mozilla/5.0 (Linux; Android 12; CUBOT KING KONG) AppleWebKit/537.36 Chrome/119 Mobile", false),
            ("Mozilla/5.0 (Linux; Android 12; CUBOT X) Googlebot", true),
            ("", false),
        ] {
            assert_eq!(visitors.is_bot(agent), expected, "{agent}");
        }
    }
}
