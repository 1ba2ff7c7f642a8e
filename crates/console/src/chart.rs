//! Drawings in SVG: lines over time or a number, and bars. Colours and dashes come from the style sheet; each drawing says in words
//! what it shows.

use crate::lang::{Lang, Text, text};
use crate::units;
use affluent_model::time::format_micros;
use maud::{Markup, html};
use std::fmt::Write as _;

/// What the values of a drawing are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    Count,
    PerSecond,
    Seconds,
    Bytes,
    /// Shown as percent.
    Share,
}

impl Unit {
    /// A value as a person reads it.
    #[must_use]
    pub fn show(self, lang: Lang, value: f64) -> String {
        match self {
            Unit::Count => units::short(lang, value),
            Unit::PerSecond => format!("{}/s", units::short(lang, value)),
            Unit::Seconds => units::duration(lang, value),
            Unit::Bytes => units::bytes(lang, value),
            Unit::Share => units::percent(lang, value),
        }
    }
}

/// What goes from left to right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Across {
    /// Microseconds UTC.
    Time,
    Number,
}

/// One line: points from left to right. A value that is no number is a gap.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    pub name: String,
    pub points: Vec<(f64, f64)>,
}

/// A drawing of lines.
#[derive(Debug, Clone, Copy)]
pub struct Lines<'a> {
    pub title: &'a str,
    pub across: Across,
    pub unit: Unit,
    /// At most six are told apart by colour and dashes.
    pub series: &'a [Series],
    /// A dashed line: what is to be kept.
    pub goal: Option<f64>,
}

const EMPTY: Text = text("no values yet", "pas encore de valeurs");
const LAST: Text = text("last", "dernier");
const GOAL: Text = text("goal", "objectif");
const STYLES: usize = 6;
const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 190.0;
const LEFT: f64 = 62.0;
const RIGHT: f64 = 8.0;
const TOP: f64 = 10.0;
const BOTTOM: f64 = 22.0;

/// The drawing, with its title, its legend and the last value of each line.
#[must_use]
pub fn lines(lang: Lang, chart: &Lines<'_>) -> Markup {
    let Some(frame) = Frame::of(chart) else {
        return html! { figure { figcaption { (chart.title) } p.quiet { (lang.say(EMPTY)) } } };
    };
    let last = |series: &Series| {
        let known = series.points.iter().rev().find(|(_, y)| y.is_finite());
        known.map_or_else(|| "–".to_owned(), |(_, y)| chart.unit.show(lang, *y))
    };
    let said: Vec<String> =
        chart.series.iter().map(|s| format!("{}: {} {}", s.name, lang.say(LAST), last(s))).collect();
    html! {
        figure {
            figcaption { (chart.title) }
            svg viewBox=(format!("0 0 {WIDTH} {HEIGHT}")) role="img" aria-label=(format!("{}. {}", chart.title, said.join("; "))) {
                @for value in frame.rungs() {
                    @let y = frame.y(value);
                    line.axis x1=(LEFT) x2=(WIDTH - RIGHT) y1=(round(y)) y2=(round(y)) {}
                    text x=(LEFT - 6.0) y=(round(y + 4.0)) text-anchor="end" { (chart.unit.show(lang, value)) }
                }
                text x=(LEFT) y=(HEIGHT - 6.0) { (place(lang, chart.across, frame.x_min)) }
                text x=(WIDTH - RIGHT) y=(HEIGHT - 6.0) text-anchor="end" { (place(lang, chart.across, frame.x_max)) }
                @for (at, series) in chart.series.iter().enumerate() {
                    path class=(style(at)) d=(frame.path(&series.points)) {}
                }
                @if let Some(goal) = chart.goal.filter(|goal| *goal <= frame.y_max) {
                    line.goal x1=(LEFT) x2=(WIDTH - RIGHT) y1=(round(frame.y(goal))) y2=(round(frame.y(goal))) {}
                }
            }
            ul.legend {
                @for (at, series) in chart.series.iter().enumerate() {
                    li {
                        svg viewBox="0 0 22 10" aria-hidden="true" { path class=(style(at)) d="M0 5H22" {} }
                        (series.name) " " (last(series))
                    }
                }
                @if let Some(goal) = chart.goal { li { "┄ " (lang.say(GOAL)) " " (chart.unit.show(lang, goal)) } }
            }
        }
    }
}

/// Horizontal bars, the values beside them.
#[must_use]
pub fn bars(lang: Lang, title: &str, unit: Unit, bars: &[(String, f64)]) -> Markup {
    let max = bars.iter().map(|(_, value)| *value).filter(|value| value.is_finite()).fold(0.0, f64::max);
    let (row, from, room) = (20.0, 170.0, WIDTH - 170.0 - 90.0);
    let width = |value: f64| if max > 0.0 && value > 0.0 { round(value / max * room) } else { 0.0 };
    let rows = || bars.iter().enumerate().map(|(at, (name, value))| (at as f64 * row, name, *value));
    let said: Vec<String> =
        bars.iter().map(|(name, value)| format!("{name}: {}", unit.show(lang, *value))).collect();
    html! {
        figure {
            figcaption { (title) }
            @if bars.is_empty() { p.quiet { (lang.say(EMPTY)) } }
            @else {
                svg viewBox=(format!("0 0 {WIDTH} {}", bars.len() as f64 * row)) role="img"
                    aria-label=(format!("{title}. {}", said.join("; "))) {
                    @for (y, name, value) in rows() {
                        text x=(from - 6.0) y=(y + 14.0) text-anchor="end" { (cut(name)) }
                        rect.bar x=(from) y=(y + 3.0) width=(width(value)) height=(row - 6.0) {}
                        text x=(round(from + width(value) + 6.0)) y=(y + 14.0) { (unit.show(lang, value)) }
                    }
                }
            }
        }
    }
}

/// What is shown of the plane.
struct Frame {
    x_min: f64,
    x_max: f64,
    y_min: f64,
    y_max: f64,
}

impl Frame {
    /// Around all points that are numbers; none where there is none.
    fn of(chart: &Lines<'_>) -> Option<Self> {
        let points = chart.series.iter().flat_map(|series| &series.points).filter(|(_, y)| y.is_finite());
        let mut frame: Option<Frame> = None;
        for &(x, y) in points {
            let around = frame.get_or_insert(Frame { x_min: x, x_max: x, y_min: y.min(0.0), y_max: y });
            around.x_min = around.x_min.min(x);
            around.x_max = around.x_max.max(x);
            around.y_min = around.y_min.min(y);
            around.y_max = around.y_max.max(y);
        }
        let mut frame = frame?;
        // The goal is shown where the values are near it.
        if let Some(goal) = chart.goal.filter(|goal| frame.y_max >= goal / 4.0) {
            frame.y_max = frame.y_max.max(goal);
        }
        frame.y_max = ceiling(frame.y_max.max(0.0));
        if frame.y_max <= frame.y_min {
            frame.y_max = frame.y_min + 1.0;
        }
        Some(frame)
    }

    fn x(&self, x: f64) -> f64 {
        let width = self.x_max - self.x_min;
        let part = if width > 0.0 { (x - self.x_min) / width } else { 1.0 };
        LEFT + part * (WIDTH - LEFT - RIGHT)
    }

    fn y(&self, y: f64) -> f64 {
        let part = (y - self.y_min) / (self.y_max - self.y_min);
        HEIGHT - BOTTOM - part * (HEIGHT - TOP - BOTTOM)
    }

    /// The values of the horizontal lines.
    fn rungs(&self) -> [f64; 3] {
        [self.y_min, f64::midpoint(self.y_min, self.y_max), self.y_max]
    }

    fn path(&self, points: &[(f64, f64)]) -> String {
        let (mut path, mut is_down) = (String::new(), false);
        for &(x, y) in points {
            if !y.is_finite() {
                is_down = false;
                continue;
            }
            let step = if is_down { 'L' } else { 'M' };
            // A point alone is drawn, too.
            let dot = if is_down { "" } else { "h0.1" };
            let _ = write!(path, "{step}{} {}{dot}", round(self.x(x)), round(self.y(y)));
            is_down = true;
        }
        path
    }
}

fn style(at: usize) -> String {
    format!("series s{}", at % STYLES)
}

/// The next of 1, 2, 2.5, 5, 10 times a power of ten.
fn ceiling(value: f64) -> f64 {
    if value <= 0.0 {
        return 0.0;
    }
    let power = 10f64.powf(value.log10().floor());
    let steps = [1.0, 2.0, 2.5, 5.0, 10.0];
    steps.iter().map(|step| step * power).find(|bound| *bound >= value).unwrap_or(value)
}

/// A tenth of a pixel is enough.
fn round(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

fn place(lang: Lang, across: Across, x: f64) -> String {
    match across {
        Across::Time => format_micros(x as i64, true).get(11..16).unwrap_or_default().to_owned() + " UTC",
        Across::Number => units::short(lang, x),
    }
}

fn cut(name: &str) -> String {
    const CHARS_MAX: usize = 26;
    if name.chars().count() <= CHARS_MAX {
        return name.to_owned();
    }
    name.chars().take(CHARS_MAX - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(points: Vec<(f64, f64)>, goal: Option<f64>) -> String {
        let series = [Series { name: "a<b".to_owned(), points }];
        let lines_ = Lines { title: "t", across: Across::Number, unit: Unit::Seconds, series: &series, goal };
        lines(Lang::En, &lines_).into_string()
    }

    #[test]
    fn a_gap_lifts_the_pen() {
        let drawn = chart(vec![(0.0, 1.0), (1.0, 2.0), (2.0, f64::NAN), (3.0, 1.0)], None);
        let path = drawn.split("class=\"series s0\" d=\"").nth(1).unwrap().split('"').next().unwrap();
        assert_eq!((path.matches('M').count(), path.matches('L').count()), (2, 1), "{path}");
        assert!(!drawn.contains("NaN") && drawn.contains("a&lt;b: last 1.00 s"), "{drawn}");
    }

    #[test]
    fn nothing_and_one_point_can_be_drawn() {
        assert!(chart(Vec::new(), None).contains("no values yet"));
        assert!(chart(vec![(0.0, f64::NAN)], Some(1.0)).contains("no values yet"));
        for value in [0.0, -3.0, 1e9] {
            assert!(!chart(vec![(5.0, value)], None).contains("NaN"));
        }
    }

    #[test]
    fn a_goal_is_drawn_where_values_are_near() {
        assert!(chart(vec![(0.0, 1.0)], Some(3.0)).contains("line class=\"goal\""));
        assert!(!chart(vec![(0.0, 0.01)], Some(3.0)).contains("line class=\"goal\""));
    }

    #[test]
    fn the_scale_ends_at_a_round_number() {
        for (value, expected) in
            [(0.0, 0.0), (1.0, 1.0), (1.2, 2.0), (23.0, 25.0), (0.003, 0.005), (99.0, 100.0)]
        {
            assert!((ceiling(value) - expected).abs() < 1e-9, "{value}");
        }
    }

    #[test]
    fn bars_are_as_long_as_their_values() {
        let drawn =
            bars(Lang::En, "t", Unit::Count, &[("a".to_owned(), 2.0), ("b".to_owned(), 1.0)]).into_string();
        assert!(drawn.contains("width=\"380\"") && drawn.contains("width=\"190\""), "{drawn}");
        assert!(bars(Lang::En, "t", Unit::Count, &[]).into_string().contains("no values yet"));
    }
}
