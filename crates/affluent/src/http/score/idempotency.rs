//! Requests that are sent again: the same key and body have the same answer, the same key with another body is refused.
//!
//! Answers are kept in the memory of this process, for a time and within a number of bytes; the oldest make room. A request that failed
//! is not kept: sent again, it is tried again.

use super::super::Problem;
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The header.
pub(super) const HEADER: &str = "idempotency-key";
/// The answer is that of an earlier request.
pub(super) const REPLAYED: &str = "idempotent-replayed";
/// Bytes of a key.
const KEY_MAX: usize = 255;
/// What an answer takes beside its bytes.
const OVERHEAD: usize = 200;

type Hash = [u8; 32];

/// What was asked and answered.
#[derive(Debug)]
pub(crate) struct Idempotency {
    ttl: Duration,
    bytes_max: usize,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    requests: HashMap<Hash, Request>,
    /// When each answer was given, the oldest first.
    order: VecDeque<(Instant, Hash)>,
    bytes: usize,
}

#[derive(Debug)]
struct Request {
    body: Hash,
    /// None while it is under way.
    answer: Option<Arc<[u8]>>,
}

/// What to do with a request.
pub(super) enum Begun<'a> {
    /// It is the first of its key.
    First(First<'a>),
    /// It was answered with this.
    Known(Arc<[u8]>),
}

/// A request under way. Dropped without an answer it is forgotten.
pub(super) struct First<'a> {
    of: &'a Idempotency,
    key: Hash,
    is_answered: bool,
}

impl Idempotency {
    pub(crate) fn new(ttl: Duration, bytes_max: usize) -> Self {
        Idempotency { ttl, bytes_max, kept: Mutex::default() }
    }

    /// Looks a request up by who sends it, its path, its key and its body.
    ///
    /// # Errors
    /// 400 for a key that is none, 409 while the first is under way, 422 where its body was another.
    pub(super) fn begin(
        &self,
        (bearer, path): (Option<usize>, &str),
        key: &str,
        body: &[u8],
        now: Instant,
    ) -> Result<Begun<'_>, Problem> {
        if key.is_empty() || key.len() > KEY_MAX {
            return Err(Problem::bad_request(format!("{HEADER}: must have 1 to {KEY_MAX} characters")));
        }
        let whose = bearer.map_or(String::new(), |place| place.to_string());
        let key = hash(&[whose.as_bytes(), path.as_bytes(), key.as_bytes()]);
        let body = hash(&[body]);
        let mut kept = self.kept.lock();
        kept.forget(now, self.ttl, self.bytes_max);
        match kept.requests.get(&key) {
            Some(request) if request.body != body => {
                Err(Problem::unprocessable(format!("{HEADER}: this key was used for another body")))
            }
            Some(Request { answer: Some(answer), .. }) => Ok(Begun::Known(Arc::clone(answer))),
            Some(Request { answer: None, .. }) => {
                Err(Problem::conflict(format!("{HEADER}: the first request of this key is under way")))
            }
            None => {
                kept.requests.insert(key, Request { body, answer: None });
                Ok(Begun::First(First { of: self, key, is_answered: false }))
            }
        }
    }
}

impl Kept {
    fn forget(&mut self, now: Instant, ttl: Duration, bytes_max: usize) {
        while let Some(&(at, key)) = self.order.front()
            && (self.bytes > bytes_max || now.saturating_duration_since(at) >= ttl)
        {
            self.order.pop_front();
            let answer = self.requests.remove(&key).and_then(|request| request.answer);
            self.bytes = self.bytes.saturating_sub(answer.map_or(0, |answer| answer.len() + OVERHEAD));
        }
    }
}

impl First<'_> {
    /// Keeps the answer.
    pub(super) fn answered(mut self, answer: &[u8], now: Instant) {
        self.is_answered = true;
        let mut kept = self.of.kept.lock();
        if let Some(request) = kept.requests.get_mut(&self.key) {
            request.answer = Some(answer.into());
            kept.bytes += answer.len() + OVERHEAD;
            kept.order.push_back((now, self.key));
        }
        kept.forget(now, self.of.ttl, self.of.bytes_max);
    }
}

impl Drop for First<'_> {
    fn drop(&mut self) {
        if !self.is_answered {
            self.of.kept.lock().requests.remove(&self.key);
        }
    }
}

/// Of the parts with their lengths, so that no two lists of parts look alike.
fn hash(parts: &[&[u8]]) -> Hash {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(kept: &Idempotency, key: &str, body: &str, at: Instant) -> Result<Option<Vec<u8>>, u16> {
        match kept.begin((None, "/v1/score"), key, body.as_bytes(), at) {
            Ok(Begun::First(_)) => Ok(None),
            Ok(Begun::Known(answer)) => Ok(Some(answer.to_vec())),
            Err(problem) => Err(problem.status().as_u16()),
        }
    }

    fn answer(kept: &Idempotency, key: &str, body: &str, at: Instant) {
        match kept.begin((None, "/v1/score"), key, body.as_bytes(), at) {
            Ok(Begun::First(first)) => first.answered(b"answer", at),
            Ok(Begun::Known(_)) | Err(_) => panic!("{key} is known"),
        }
    }

    #[test]
    fn a_key_stands_for_one_body_and_one_answer() {
        let (kept, now) = (Idempotency::new(Duration::from_secs(60), 1 << 20), Instant::now());
        assert_eq!(known(&kept, "a", "1", now), Ok(None), "dropped without an answer");
        answer(&kept, "a", "1", now);
        assert_eq!(known(&kept, "a", "1", now), Ok(Some(b"answer".to_vec())));
        assert_eq!(known(&kept, "a", "2", now), Err(422));
        assert_eq!(known(&kept, "", "1", now), Err(400));
        assert_eq!(known(&kept, &"k".repeat(256), "1", now), Err(400));
        let first = kept.begin((None, "/v1/score"), "b", b"1", now).ok();
        assert_eq!(known(&kept, "b", "1", now), Err(409));
        drop(first);
        assert_eq!(known(&kept, "b", "1", now), Ok(None));
        let other = kept.begin((Some(1), "/v1/score"), "a", b"2", now);
        assert!(matches!(other, Ok(Begun::First(_))), "another token has keys of its own");
    }

    #[test]
    fn what_is_old_or_too_much_is_forgotten() {
        let (kept, now) = (Idempotency::new(Duration::from_secs(60), 3 * (OVERHEAD + 6)), Instant::now());
        for key in ["a", "b", "c", "d"] {
            answer(&kept, key, "1", now);
        }
        assert_eq!(known(&kept, "a", "1", now), Ok(None));
        assert!(known(&kept, "b", "1", now).unwrap().is_some());
        assert_eq!(known(&kept, "d", "1", now + Duration::from_secs(60)), Ok(None));
        let kept = kept.kept.lock();
        assert_eq!((kept.bytes, kept.order.len(), kept.requests.len()), (0, 0, 0));
    }
}
