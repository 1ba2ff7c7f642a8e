//! The sample: some of the logged vectors, chosen anew each time.

use crate::online::log::{COLLECTION, Logged};
use affluent_documents::{Document, DocumentError, DocumentStore, Scan};
use affluent_features::event::fingerprint;
use std::collections::BTreeMap;

/// Documents of a page.
const PAGE: usize = 1_000;

/// Chooses some of many by their ids: each `salt` chooses others, and memory holds the chosen alone.
#[derive(Debug)]
pub struct Sampler {
    count: usize,
    salt: i64,
    chosen: BTreeMap<(u64, String), Logged>,
}

impl Sampler {
    /// A sampler of so many.
    #[must_use]
    pub fn new(count: usize, salt: i64) -> Self {
        Sampler { count, salt, chosen: BTreeMap::new() }
    }

    /// Takes a logged vector into account.
    pub fn offer(&mut self, id: &str, logged: Logged) {
        let rank = fingerprint(&format!("{} {id}", self.salt)).cast_unsigned();
        if self.chosen.len() == self.count {
            match self.chosen.last_key_value() {
                Some(((worst, _), _)) if rank < *worst => drop(self.chosen.pop_last()),
                Some(_) | None => return,
            }
        }
        self.chosen.insert((rank, id.to_owned()), logged);
    }

    /// The chosen ones.
    #[must_use]
    pub fn chosen(self) -> Vec<Logged> {
        self.chosen.into_values().collect()
    }
}

/// A sample of the vectors that are logged in a store.
///
/// # Errors
/// As the store; a store without logged vectors has none.
pub async fn sample(
    store: &dyn DocumentStore,
    count: usize,
    salt: i64,
) -> Result<Vec<Logged>, DocumentError> {
    let mut sampler = Sampler::new(count, salt);
    let mut scan = Scan::all(PAGE);
    loop {
        let page = match store.scan(COLLECTION, &scan).await {
            Ok(page) => page,
            Err(DocumentError::UnknownCollection(_)) => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        for document in &page.documents {
            let Document { id, .. } = document;
            if let Some(logged) = Logged::of(document) {
                sampler.offer(id, logged);
            }
        }
        match page.next {
            Some(next) => scan.after = Some(next),
            None => return Ok(sampler.chosen()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use affluent_features::At;

    #[test]
    fn so_many_are_chosen_and_others_each_time() {
        let logged = |key: i64| Logged {
            entity: "customer".to_owned(),
            key: key.to_string(),
            source: "transactions".to_owned(),
            at: At::time(key),
            applied: BTreeMap::new(),
            features: Vec::new(),
            values: Vec::new(),
        };
        let chosen = |salt: i64| {
            let mut sampler = Sampler::new(10, salt);
            (0..500).for_each(|key| sampler.offer(&key.to_string(), logged(key)));
            sampler.chosen().into_iter().map(|logged| logged.key).collect::<Vec<_>>()
        };
        assert_eq!(chosen(1).len(), 10);
        assert_eq!(chosen(1), chosen(1));
        assert_ne!(chosen(1), chosen(2));
        assert!(Sampler::new(0, 1).chosen().is_empty());
    }
}
