//! How a connection begins: encryption, who it is, what is agreed.
//!
//! Invariants: where TLS is configured no password is asked for and nothing is told without it; a password that is wrong,
//! empty or nobody's is refused in the same words.

use super::{Session, Shared, Transaction, Who};
use crate::auth::{Challenge, MECHANISM, Verifier};
use crate::catalog::DATABASE;
use crate::error::{PgError, code};
use crate::wire::{Request, Start, TransactionStatus, Wire, first_of_sasl};
use affluent_telemetry::metrics_list;
use bytes::Bytes;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

/// From the first byte to the password this long.
const BEGIN: Duration = Duration::from_secs(15);
/// A client that is refused is told so within this time.
const REFUSE: Duration = Duration::from_secs(2);
/// Questions about encryption before the first message.
const QUESTIONS_MAX: usize = 4;

/// A client that wants a session.
struct Opening {
    is_secure: bool,
    minor: u32,
    parameters: Vec<(String, String)>,
}

/// Serves a connection to its end. `is_full`: there are as many as there may be, and the client is told so.
pub(crate) async fn connect(
    tcp: TcpStream,
    peer: SocketAddr,
    shared: Arc<Shared>,
    is_full: bool,
    stop: CancellationToken,
) {
    let begun = Box::pin(begin(tcp, peer, shared, is_full));
    match tokio::time::timeout(BEGIN, begun).await {
        Ok(Some(session)) => session.serve(&stop).await,
        Ok(None) => {}
        Err(_) => tracing::debug!(%peer, "connection without a user given up"),
    }
}

/// A session; `None`: the client was refused, or asked for something else.
async fn begin(tcp: TcpStream, peer: SocketAddr, shared: Arc<Shared>, is_full: bool) -> Option<Session> {
    let (mut wire, opening) = open(tcp, peer, &shared).await?;
    match let_in(&mut wire, &opening, peer, &shared, is_full).await {
        Ok(who) => greet(wire, who, &opening, peer, shared).await,
        Err(error) => {
            refuse(wire, peer, &error).await;
            None
        }
    }
}

/// The first message, encrypted where that was asked for and can be.
async fn open(tcp: TcpStream, peer: SocketAddr, shared: &Shared) -> Option<(Wire, Opening)> {
    let (mut wire, mut is_secure) = (Wire::new(Box::new(tcp)), false);
    for _ in 0..QUESTIONS_MAX {
        match wire.start().await {
            Ok(Some(Start::Session { minor, parameters })) => {
                return Some((wire, Opening { is_secure, minor, parameters }));
            }
            Ok(Some(Start::Tls)) => match &shared.tls {
                Some(acceptor) if !is_secure => {
                    if !wire.is_drained() {
                        // Somebody between may have put it there.
                        let message = "bytes came before encryption was agreed on";
                        refuse(wire, peer, &PgError::fatal(code::PROTOCOL_VIOLATION, message)).await;
                        return None;
                    }
                    wire.send_byte(b'S').await.ok()?;
                    match acceptor.accept(wire.into_stream()).await {
                        Ok(stream) => (wire, is_secure) = (Wire::new(Box::new(stream)), true),
                        Err(error) => {
                            tracing::debug!(%peer, %error, "no TLS");
                            return None;
                        }
                    }
                }
                Some(_) | None => wire.send_byte(b'N').await.ok()?,
            },
            Ok(Some(Start::Gss)) => wire.send_byte(b'N').await.ok()?,
            Ok(Some(Start::Cancel { pid, secret })) => {
                shared.cancels.cancel(pid, &secret);
                wire.close().await;
                return None;
            }
            Ok(None) => return None,
            Err(error) => {
                refuse(wire, peer, &error).await;
                return None;
            }
        }
    }
    None
}

/// Checks who wants in.
async fn let_in(
    wire: &mut Wire,
    opening: &Opening,
    peer: SocketAddr,
    shared: &Shared,
    is_full: bool,
) -> Result<(String, String), PgError> {
    if shared.tls.is_some() && !opening.is_secure {
        return Err(PgError::fatal(code::NOT_AUTHENTICATED, "connections are encrypted here")
            .with_hint("connect with sslmode=require, or stricter"));
    }
    if is_full {
        return Err(PgError::fatal(code::TOO_MANY_CONNECTIONS, "sorry, too many clients already"));
    }
    let given = |name: &str| {
        let found = opening.parameters.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.clone()).filter(|value| !value.is_empty())
    };
    let user = given("user");
    let user = user.ok_or_else(|| PgError::fatal(code::NOT_AUTHENTICATED, "no user is named"))?;
    if given("replication").is_some_and(|value| !["false", "off", "no", "0"].contains(&value.as_str())) {
        return Err(PgError::fatal(code::NOT_SUPPORTED, "there is nothing to replicate from here"));
    }
    let unknown: Vec<&str> = opening.parameters.iter().map(|(name, _)| name.as_str()).collect();
    let unknown: Vec<&str> = unknown.into_iter().filter(|name| name.starts_with("_pq_.")).collect();
    if opening.minor > 0 || !unknown.is_empty() {
        wire.out.negotiate(&unknown);
    }
    match shared.users.verifier(&user) {
        Some(verifier) => prove(wire, &user, verifier).await?,
        None if peer.ip().is_loopback() => {}
        None => return Err(wrong_password(&user)),
    }
    let database = given("database").unwrap_or_else(|| user.clone());
    if database != DATABASE {
        let message = format!("database \"{database}\" does not exist");
        return Err(PgError::fatal(code::UNKNOWN_DATABASE, message)
            .with_hint(format!("the database here is \"{DATABASE}\"")));
    }
    Ok((user, database))
}

/// Has the client prove that it knows the password.
async fn prove(wire: &mut Wire, user: &str, verifier: Verifier) -> Result<(), PgError> {
    let wrong = |problem: &str| PgError::fatal(code::PROTOCOL_VIOLATION, format!("{MECHANISM}: {problem}"));
    wire.out.ask_for_proof(MECHANISM);
    let (mechanism, message) = first_of_sasl(answer(wire).await?)?;
    if mechanism != MECHANISM {
        let message = format!("{MECHANISM} was offered, not {mechanism}");
        return Err(PgError::fatal(code::NOT_AUTHENTICATED, message));
    }
    let challenge = Challenge::new(&message, verifier, &rand::random()).map_err(wrong)?;
    wire.out.challenge(challenge.message());
    let proof = challenge.answer(&answer(wire).await?).map_err(wrong)?;
    wire.out.proof_accepted(&proof.ok_or_else(|| wrong_password(user))?);
    Ok(())
}

/// Asks, and waits for the answer.
async fn answer(wire: &mut Wire) -> Result<Bytes, PgError> {
    let left = || PgError::fatal(code::NOT_AUTHENTICATED, "the client has left");
    wire.send().await.map_err(|_| left())?;
    match wire.request().await? {
        Some(Request::Password(bytes)) => Ok(bytes),
        Some(_) => Err(PgError::fatal(code::PROTOCOL_VIOLATION, "a password was asked for")),
        None => Err(left()),
    }
}

fn wrong_password(user: &str) -> PgError {
    let message = format!("password authentication failed for user \"{user}\"");
    PgError::fatal(code::WRONG_PASSWORD, message)
}

/// Makes the session of a client that was let in, and tells it what it has to know.
async fn greet(
    mut wire: Wire,
    (user, database): (String, String),
    opening: &Opening,
    peer: SocketAddr,
    shared: Arc<Shared>,
) -> Option<Session> {
    let Some(user) = shared.users.get(&user).cloned() else {
        refuse(wire, peer, &wrong_password(&user)).await;
        return None;
    };
    let ticket = shared.cancels.register();
    let mut who = Who::new(user.name.clone(), database, ticket.pid);
    for (name, value) in &opening.parameters {
        match name.as_str() {
            "user" | "database" | "replication" => {}
            "options" => {
                for (name, value) in settings_of(value) {
                    who.start_with(&name, &value);
                }
            }
            _ => who.start_with(name, value),
        }
    }
    wire.allow(shared.options.message_bytes_max);
    wire.out.authenticated();
    for (name, value) in who.reported() {
        wire.out.parameter(name, &value);
    }
    wire.out.cancel_key(ticket.pid, ticket.secret);
    wire.out.ready(TransactionStatus::Idle);
    wire.send().await.ok()?;
    Some(Session {
        shared,
        wire,
        peer,
        user,
        who,
        ticket,
        transaction: Transaction::default(),
        statements: HashMap::new(),
        portals: HashMap::new(),
        is_skipping: false,
    })
}

/// Tells a client why it is refused.
async fn refuse(mut wire: Wire, peer: SocketAddr, error: &PgError) {
    tracing::info!(%peer, %error, "connection refused");
    metrics_list::bi_refused(error.code);
    wire.out.error(error);
    let telling = async {
        if wire.send().await.is_ok() {
            wire.close().await;
        }
    };
    if tokio::time::timeout(REFUSE, telling).await.is_err() {
        tracing::debug!(%peer, "a refused client does not listen");
    }
}

/// `-c name=value`, `--name=value`: what libpq calls options. A backslash keeps the letter behind it.
fn settings_of(options: &str) -> Vec<(String, String)> {
    let mut words = vec![String::new()];
    let mut letters = options.chars();
    while let Some(letter) = letters.next() {
        let is_between = letter.is_whitespace();
        let letter = if letter == '\\' { letters.next().unwrap_or('\\') } else { letter };
        match words.last_mut() {
            Some(word) if !is_between => word.push(letter),
            Some(_) | None => words.push(String::new()),
        }
    }
    let mut settings = Vec::new();
    let mut words = words.into_iter().filter(|word| !word.is_empty());
    while let Some(word) = words.next() {
        let setting = match word.as_str() {
            "-c" => words.next(),
            _ => word.strip_prefix("-c").or_else(|| word.strip_prefix("--")).map(str::to_owned),
        };
        if let Some((name, value)) = setting.as_deref().and_then(|setting| setting.split_once('=')) {
            settings.push((name.replace('-', "_"), value.to_owned()));
        }
    }
    settings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_of_libpq_are_settings() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        for (options, expected) in [
            ("", vec![]),
            ("-c statement_timeout=5s", vec![pair("statement_timeout", "5s")]),
            ("-csearch_path=a,b  --work-mem=1", vec![pair("search_path", "a,b"), pair("work_mem", "1")]),
            ("-c application_name=my\\ tool", vec![pair("application_name", "my tool")]),
            ("-x -c", vec![]),
        ] {
            assert_eq!(settings_of(options), expected, "{options}");
        }
    }
}
