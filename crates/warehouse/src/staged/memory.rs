//! What was read from texts that come again and again.

use std::collections::HashMap;
use std::sync::Arc;

/// Remembered texts; a site sees a few thousand user agents and addresses. When there are more, all are
/// forgotten.
const KNOWN_MAX: usize = 20_000;

/// Remembers what texts told.
#[derive(Debug)]
pub(super) struct Memory<T>(HashMap<Box<str>, Arc<T>>);

impl<T> Default for Memory<T> {
    fn default() -> Self {
        Memory(HashMap::new())
    }
}

impl<T> Memory<T> {
    /// What this text tells: remembered, or read now.
    pub(super) fn get(&mut self, text: &str, read: impl FnOnce(&str) -> T) -> Arc<T> {
        if let Some(known) = self.0.get(text) {
            return Arc::clone(known);
        }
        let told = Arc::new(read(text));
        if self.0.len() == KNOWN_MAX {
            self.0.clear();
        }
        self.0.insert(text.into(), Arc::clone(&told));
        told
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_read_once_and_no_more_are_kept_than_fit() {
        let mut memory = Memory::default();
        let first = memory.get("a", str::to_owned);
        assert!(Arc::ptr_eq(&memory.get("a", |_| unreachable!("known")), &first));
        for n in 0..KNOWN_MAX + 5 {
            memory.get(&n.to_string(), str::to_owned);
        }
        assert!(memory.len() <= KNOWN_MAX);
    }
}
