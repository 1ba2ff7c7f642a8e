//! What is kept of a password: enough to check a proof of it, not enough to give one (RFC 5803, as PostgreSQL writes it).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac as _};
use sha2::{Digest as _, Sha256};

/// What a verifier begins with.
const PREFIX: &str = "SCRAM-SHA-256$";
/// Rounds that PostgreSQL takes, and RFC 7677 at least.
const ROUNDS_MIN: u32 = 4_096;

/// A digest or a key.
pub(super) type Bytes32 = [u8; 32];

/// `SCRAM-SHA-256$rounds:salt$stored key:server key`, as in `pg_authid`.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Verifier {
    pub(super) rounds: u32,
    pub(super) salt: Vec<u8>,
    pub(super) stored_key: Bytes32,
    pub(super) server_key: Bytes32,
}

impl std::fmt::Debug for Verifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Verifier").field("rounds", &self.rounds).finish_non_exhaustive()
    }
}

impl Verifier {
    /// The verifier of a password, or the one that is given in its place.
    ///
    /// # Errors
    /// A verifier that is none.
    pub(crate) fn of(password: &str) -> Result<Self, String> {
        if password.starts_with(PREFIX) {
            return Self::parse(password);
        }
        Self::parse(&postgres_protocol::password::scram_sha_256(password.as_bytes()))
    }

    /// Of nobody's password: it is asked for, and none is right. The same `name` gets the same salt, as a user would.
    pub(super) fn of_nobody(key: &Bytes32, name: &str) -> Self {
        let part = |what: &str| keyed(key, format!("{what}{name}").as_bytes());
        Verifier {
            rounds: ROUNDS_MIN,
            salt: part("salt of ")[..16].to_vec(),
            stored_key: part("stored key of "),
            server_key: part("server key of "),
        }
    }

    fn parse(text: &str) -> Result<Self, String> {
        let meant = || "it begins with SCRAM-SHA-256$ and is no verifier as PostgreSQL keeps them".to_owned();
        let rest = text.strip_prefix(PREFIX).ok_or_else(meant)?;
        let (first, keys) = rest.split_once('$').ok_or_else(meant)?;
        let (rounds, salt) = first.split_once(':').ok_or_else(meant)?;
        let (stored_key, server_key) = keys.split_once(':').ok_or_else(meant)?;
        let bytes = |text: &str| STANDARD.decode(text).map_err(|_| meant());
        let key = |text: &str| Bytes32::try_from(bytes(text)?).map_err(|_| meant());
        let rounds: u32 = rounds.parse().map_err(|_| meant())?;
        if rounds < ROUNDS_MIN {
            return Err(format!("it has {rounds} rounds; at least {ROUNDS_MIN} are safe"));
        }
        let salt = bytes(salt)?;
        Ok(Verifier { rounds, salt, stored_key: key(stored_key)?, server_key: key(server_key)? })
    }
}

/// HMAC-SHA-256.
pub(super) fn keyed(key: &[u8], message: &[u8]) -> Bytes32 {
    // A key of any length is taken.
    Hmac::<Sha256>::new_from_slice(key).map_or_else(
        |_| Bytes32::default(),
        |mut mac| {
            mac.update(message);
            mac.finalize().into_bytes().into()
        },
    )
}

/// SHA-256.
pub(super) fn digest(message: &[u8]) -> Bytes32 {
    Sha256::digest(message).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_and_its_verifier_are_told_apart() {
        let made = postgres_protocol::password::scram_sha_256(b"pencil");
        let verifier = Verifier::of(&made).unwrap();
        assert_eq!((verifier.rounds, verifier.salt.len()), (4096, 16));
        // A new salt each time.
        assert_ne!(Verifier::of("pencil").unwrap(), Verifier::of("pencil").unwrap());
        assert!(!format!("{verifier:?}").contains("key"), "{verifier:?}");
        for wrong in [
            "SCRAM-SHA-256$",
            "SCRAM-SHA-256$4096:c2FsdA==",
            "SCRAM-SHA-256$4096:c2FsdA==$AAAA:AAAA",
            "SCRAM-SHA-256$many:c2FsdA==$AAAA:AAAA",
            &made.replace("$4096:", "$1:"),
        ] {
            Verifier::of(wrong).unwrap_err();
        }
    }

    #[test]
    fn nobody_is_asked_like_a_user() {
        let nobody = |name: &str| Verifier::of_nobody(&[7; 32], name);
        assert_eq!(nobody("x"), nobody("x"));
        assert_ne!(nobody("x").salt, nobody("y").salt);
        assert_eq!((nobody("x").rounds, nobody("x").salt.len()), (4096, 16));
    }
}
