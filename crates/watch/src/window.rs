//! How much a value has changed over a time that lies behind, in bounded memory.

use std::collections::VecDeque;

/// Points of a window: it is exact to this part of its length.
const POINTS: i64 = 240;

/// The values of one series over the last `span` microseconds.
#[derive(Debug)]
pub(crate) struct Window {
    span: i64,
    /// When, and what it was.
    points: VecDeque<(i64, f64)>,
}

impl Window {
    /// A window that begins now, with this value: 0 of a counter, which began with the process.
    pub(crate) fn new(span: i64, now: i64, value: f64) -> Self {
        Window { span, points: [(now, value)].into() }
    }

    /// What `value`, which is so now, has changed since the window's begin, or since the series is known.
    pub(crate) fn change(&mut self, now: i64, value: f64) -> f64 {
        // One that is known to have been so at the begin is kept.
        while self.points.get(1).is_some_and(|&(at, _)| at <= now - self.span) {
            self.points.pop_front();
        }
        let begin = self.points.front().map_or(value, |&(_, value)| value);
        if self.points.back().is_none_or(|&(at, _)| now - at >= self.step()) {
            self.points.push_back((now, value));
        }
        value - begin
    }

    /// Begins anew with the newest point.
    pub(crate) fn restart(&mut self) {
        let before = self.points.len().saturating_sub(1);
        self.points.drain(..before);
    }

    /// Points are at least so far apart.
    fn step(&self) -> i64 {
        (self.span + POINTS - 1) / POINTS
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_change_is_forgotten_after_the_window() {
        let mut window = Window::new(100, 0, 0.0);
        let changes: Vec<f64> = [(1, 5.0), (50, 5.0), (100, 7.0), (102, 7.0), (201, 7.0), (300, 7.0)]
            .map(|(at, value)| window.change(at, value))
            .into();
        assert_eq!(changes, [5.0, 5.0, 7.0, 2.0, 0.0, 0.0]);
    }

    #[test]
    fn what_was_before_a_new_begin_does_not_count() {
        let mut window = Window::new(100, 0, 0.0);
        assert_eq!(window.change(1, 5.0), 5.0);
        window.restart();
        assert_eq!((window.change(2, 5.0), window.change(3, 6.0)), (0.0, 1.0));
    }

    proptest! {
        #[test]
        fn memory_is_bounded_and_nothing_of_the_window_is_missed(steps in prop::collection::vec((1_i64..50, 0_u32..4), 1..2000)) {
            let span = 10_000;
            let mut window = Window::new(span, 0, 0.0);
            let (mut now, mut total, mut history) = (0, 0.0, vec![(0, 0.0)]);
            for (step, added) in steps {
                now += step;
                total += f64::from(added);
                history.push((now, total));
                let change = window.change(now, total);
                // Between what happened in the window, and in one that is longer by what it is exact to.
                let since = |begin: i64| total - history.iter().rev().find(|(at, _)| *at <= begin).map_or(0.0, |(_, v)| *v);
                prop_assert!(change >= since(now - span));
                prop_assert!(change <= since(now - span - window.step() - 50));
                prop_assert!(window.points.len() as i64 <= POINTS + 2);
            }
        }
    }
}
