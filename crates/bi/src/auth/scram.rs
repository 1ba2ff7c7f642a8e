//! The server's side of SCRAM-SHA-256 (RFC 5802 and 7677), as PostgreSQL speaks it: the user is the one of the start
//! of the connection, and no channel is bound.

use super::verifier::{Bytes32, Verifier, digest, keyed};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// The name of the mechanism.
pub(crate) const MECHANISM: &str = "SCRAM-SHA-256";
/// Bytes of our part of the nonce.
const NONCE_BYTES: usize = 18;

/// What was asked, to which the client's proof must fit.
pub(crate) struct Challenge {
    verifier: Verifier,
    /// The header of the client's first message, as it must come again.
    header: String,
    client_first: String,
    server_first: String,
    nonce: String,
}

impl Challenge {
    /// Answers the client's first message. `random` is new for every attempt.
    ///
    /// # Errors
    /// What is wrong with the message.
    pub(crate) fn new(
        message: &[u8],
        verifier: Verifier,
        random: &[u8; NONCE_BYTES],
    ) -> Result<Self, &'static str> {
        let message = std::str::from_utf8(message).map_err(|_| "no text")?;
        let mut parts = message.splitn(3, ',');
        let (flag, authorised, bare) = match (parts.next(), parts.next(), parts.next()) {
            (Some(flag), Some(authorised), Some(bare)) => (flag, authorised, bare),
            _ => return Err("no header"),
        };
        match flag {
            "n" | "y" => {}
            _ => return Err("a channel is to be bound, which was not offered"),
        }
        if !authorised.is_empty() {
            return Err("another user is to be acted for, which is not supported");
        }
        let mut attributes = bare.split(',');
        if !attributes.next().is_some_and(|name| name.starts_with("n=")) {
            return Err("no user, or an extension that is not supported");
        }
        let theirs = attributes.next().and_then(|nonce| nonce.strip_prefix("r=")).unwrap_or_default();
        if theirs.is_empty() {
            return Err("no nonce");
        }
        let nonce = format!("{theirs}{}", STANDARD.encode(random));
        let salt = STANDARD.encode(&verifier.salt);
        let server_first = format!("r={nonce},s={salt},i={}", verifier.rounds);
        let (header, client_first) = (format!("{flag},,"), bare.to_owned());
        Ok(Challenge { verifier, header, client_first, server_first, nonce })
    }

    /// What the client is asked.
    pub(crate) fn message(&self) -> &str {
        &self.server_first
    }

    /// Checks the proof; gives ours in return.
    ///
    /// # Errors
    /// What is wrong; a wrong password is an `Ok(None)`.
    pub(crate) fn answer(&self, message: &[u8]) -> Result<Option<String>, &'static str> {
        let message = std::str::from_utf8(message).map_err(|_| "no text")?;
        let (unproved, proof) = message.rsplit_once(",p=").ok_or("no proof")?;
        let mut attributes = unproved.split(',');
        let header = attributes.next().and_then(|header| header.strip_prefix("c=")).ok_or("no header")?;
        if STANDARD.decode(header).ok().as_deref() != Some(self.header.as_bytes()) {
            return Err("another header than before");
        }
        if attributes.next().and_then(|nonce| nonce.strip_prefix("r=")) != Some(self.nonce.as_str()) {
            return Err("another nonce than was given");
        }
        let proof = STANDARD.decode(proof).ok().and_then(|proof| Bytes32::try_from(proof).ok());
        let Some(proof) = proof else { return Err("no proof of 32 bytes") };
        let exchange = format!("{},{},{unproved}", self.client_first, self.server_first);
        let signature = keyed(&self.verifier.stored_key, exchange.as_bytes());
        let mut client_key = proof;
        client_key.iter_mut().zip(signature).for_each(|(byte, other)| *byte ^= other);
        if !same(&digest(&client_key), &self.verifier.stored_key) {
            return Ok(None);
        }
        let ours = keyed(&self.verifier.server_key, exchange.as_bytes());
        Ok(Some(format!("v={}", STANDARD.encode(ours))))
    }
}

/// Compares in a time that does not tell where the difference is.
fn same(a: &Bytes32, b: &Bytes32) -> bool {
    a.iter().zip(b).fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use postgres_protocol::authentication::sasl::{ChannelBinding, ScramSha256};

    /// A client nobody here wrote against our side.
    fn log_in(kept: &str, given: &str) -> Option<()> {
        let mut client = ScramSha256::new(given.as_bytes(), ChannelBinding::unsupported());
        let challenge = Challenge::new(client.message(), Verifier::of(kept).unwrap(), &[9; 18]).unwrap();
        client.update(challenge.message().as_bytes()).unwrap();
        let last = challenge.answer(client.message()).unwrap()?;
        client.finish(last.as_bytes()).unwrap();
        Some(())
    }

    #[test]
    fn the_right_password_and_no_other() {
        log_in("correct horse", "correct horse").unwrap();
        let verifier = postgres_protocol::password::scram_sha_256(b"correct horse");
        log_in(&verifier, "correct horse").unwrap();
        for wrong in ["", "correct hors", "Correct horse", &verifier] {
            assert_eq!(log_in("correct horse", wrong), None, "{wrong}");
        }
    }

    #[test]
    fn what_is_no_first_message_is_refused() {
        for wrong in [
            "",
            "n,,",
            "n,,n=x",
            "n,,n=x,r=",
            "n,,m=ext,n=x,r=abc",
            "n,a=other,n=x,r=abc",
            "p=tls-unique,,n=x,r=abc",
        ] {
            let verifier = Verifier::of("password").unwrap();
            assert!(Challenge::new(wrong.as_bytes(), verifier, &[9; 18]).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_was_changed_on_the_way_is_refused() {
        let mut client = ScramSha256::new(b"password", ChannelBinding::unsupported());
        let verifier = Verifier::of("password").unwrap();
        let challenge = Challenge::new(client.message(), verifier, &[9; 18]).unwrap();
        client.update(challenge.message().as_bytes()).unwrap();
        let last = String::from_utf8(client.message().to_vec()).unwrap();
        for wrong in [
            last.replacen("c=biws", "c=eSws", 1),
            last.replacen("r=", "r=x", 1),
            last.split(",p=").next().unwrap().to_owned(),
            format!("{}AA", last.split(",p=").next().unwrap().to_owned() + ",p="),
        ] {
            assert!(challenge.answer(wrong.as_bytes()).is_err(), "{wrong}");
        }
        assert!(challenge.answer(last.as_bytes()).unwrap().is_some());
    }
}
