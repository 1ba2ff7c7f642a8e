//! What became of a form, until its reader has seen it once.

use super::session::secret;
use affluent_console::frame::Notice;
use parking_lot::Mutex;
use std::collections::VecDeque;

/// Notices that wait; the oldest make room.
const WAITING_MAX: usize = 256;
/// The part of a query that names one.
const PARAMETER: &str = "notice=";

#[derive(Default)]
pub(super) struct Notices(Mutex<VecDeque<(String, Notice)>>);

impl Notices {
    /// The path to go back to, which shows the notice.
    pub(super) fn back(&self, path: &str, notice: Notice) -> String {
        let name = secret();
        let mut waiting = self.0.lock();
        if waiting.len() >= WAITING_MAX {
            waiting.pop_front();
        }
        waiting.push_back((name.clone(), notice));
        let joint = if path.contains('?') { '&' } else { '?' };
        format!("{path}{joint}{PARAMETER}{name}")
    }

    /// Takes out what the query of a request names.
    pub(super) fn take(&self, query: Option<&str>) -> Option<Notice> {
        let name = query?.split('&').find_map(|part| part.strip_prefix(PARAMETER))?;
        let mut waiting = self.0.lock();
        let place = waiting.iter().position(|(known, _)| known == name)?;
        waiting.remove(place).map(|(_, notice)| notice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use affluent_console::frame::State;

    #[test]
    fn a_notice_is_shown_once() {
        let notices = Notices::default();
        let notice = Notice { state: State::Good, text: "done".to_owned() };
        let path = notices.back("/x?a=1", notice.clone());
        let query = path.split_once('?').unwrap().1;
        assert!(query.starts_with("a=1&notice="), "{path}");
        assert_eq!(notices.take(Some(query)), Some(notice.clone()));
        assert_eq!(notices.take(Some(query)), None);
        assert_eq!((notices.take(None), notices.take(Some("notice=x"))), (None, None));
        for _ in 0..2 * WAITING_MAX {
            notices.back("/", notice.clone());
        }
        assert_eq!(notices.0.lock().len(), WAITING_MAX);
    }
}
