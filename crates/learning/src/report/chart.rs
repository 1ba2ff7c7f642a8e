//! Plots as SVG text: lines and dots over a square from nought to one, and bars.

use super::escaped;
use std::fmt::Write as _;

const WIDTH: f64 = 480.0;
const HEIGHT: f64 = 360.0;
/// Left, top, right, bottom of the square.
const LEFT: f64 = 52.0;
const TOP: f64 = 34.0;
const RIGHT: f64 = WIDTH - 16.0;
const BOTTOM: f64 = HEIGHT - 44.0;
const INK: &str = "#1c2430";
const PALE: &str = "#e3e7ec";

/// A plot over a square from nought to one.
#[derive(Debug)]
pub(super) struct Chart {
    body: String,
    names: Vec<(String, &'static str)>,
}

fn place(x: f64, y: f64) -> (f64, f64) {
    (LEFT + x.clamp(0.0, 1.0) * (RIGHT - LEFT), BOTTOM - y.clamp(0.0, 1.0) * (BOTTOM - TOP))
}

impl Chart {
    pub(super) fn new(title: &str, x: &str, y: &str) -> Self {
        let mut body = String::new();
        for step in 0..=5 {
            let part = f64::from(step) / 5.0;
            let ((across, _), (_, up)) = (place(part, 0.0), place(0.0, part));
            let _ = write!(
                body,
                "<path d=\"M{LEFT} {up:.1}H{RIGHT}M{across:.1} {TOP}V{BOTTOM}\" stroke=\"{PALE}\"/>\
                 <text x=\"{across:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{part:.1}</text>\
                 <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{part:.1}</text>",
                BOTTOM + 16.0,
                LEFT - 7.0,
                up + 4.0
            );
        }
        let (middle, side) = (f64::midpoint(LEFT, RIGHT), f64::midpoint(TOP, BOTTOM));
        let _ = write!(
            body,
            "<text x=\"{LEFT}\" y=\"20\" font-weight=\"600\" font-size=\"14\">{}</text>\
             <text x=\"{middle}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>\
             <text transform=\"translate(14 {side}) rotate(-90)\" text-anchor=\"middle\">{}</text>",
            escaped(title),
            HEIGHT - 10.0,
            escaped(x),
            escaped(y)
        );
        Chart { body, names: Vec::new() }
    }

    pub(super) fn line(mut self, name: &str, colour: &'static str, points: &[(f64, f64)]) -> Self {
        let mut path = String::new();
        for (nth, &(x, y)) in points.iter().filter(|(x, y)| x.is_finite() && y.is_finite()).enumerate() {
            let (x, y) = place(x, y);
            let _ = write!(path, "{}{x:.1} {y:.1}", if nth == 0 { 'M' } else { 'L' });
        }
        let _ =
            write!(self.body, "<path d=\"{path}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>");
        self.names.push((name.to_owned(), colour));
        self
    }

    pub(super) fn dots(mut self, name: &str, colour: &'static str, points: &[(f64, f64)]) -> Self {
        for &(x, y) in points.iter().filter(|(x, y)| x.is_finite() && y.is_finite()) {
            let (x, y) = place(x, y);
            let _ = write!(self.body, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\" fill=\"{colour}\"/>");
        }
        self.names.push((name.to_owned(), colour));
        self
    }

    pub(super) fn diagonal(mut self) -> Self {
        let ((x0, y0), (x1, y1)) = (place(0.0, 0.0), place(1.0, 1.0));
        let _ = write!(
            self.body,
            "<path d=\"M{x0:.1} {y0:.1}L{x1:.1} {y1:.1}\" stroke=\"#97a1ae\" stroke-dasharray=\"4 4\"/>"
        );
        self
    }

    pub(super) fn svg(self) -> String {
        let mut body = self.body;
        let mut x = RIGHT;
        for (name, colour) in self.names.iter().rev() {
            let _ = write!(
                body,
                "<text x=\"{x:.0}\" y=\"20\" text-anchor=\"end\" fill=\"{colour}\">● {}</text>",
                escaped(name)
            );
            x -= 26.0 + 6.4 * name.chars().count() as f64;
        }
        wrapped(HEIGHT, &body)
    }
}

/// Horizontal bars, the first on top, with lines at thresholds.
pub(super) fn bars(title: &str, values: &[(String, f64)], thresholds: &[f64]) -> String {
    const ROW: f64 = 18.0;
    const NAMES: f64 = 232.0;
    let height = TOP + 12.0 + ROW * values.len().max(1) as f64;
    let finite = values.iter().map(|(_, value)| *value).chain(thresholds.iter().copied());
    let largest = finite.filter(|value| value.is_finite()).fold(0.0, f64::max).max(1e-9);
    let scale = (RIGHT - 46.0 - NAMES) / largest;
    let mut body =
        format!("<text x=\"8\" y=\"20\" font-weight=\"600\" font-size=\"14\">{}</text>", escaped(title));
    for (nth, (name, value)) in values.iter().enumerate() {
        let y = TOP + ROW * nth as f64;
        let width = (value * scale).max(0.0);
        let _ = write!(
            body,
            "<text x=\"{:.0}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>\
             <rect x=\"{NAMES}\" y=\"{:.1}\" width=\"{width:.1}\" height=\"12\" fill=\"#1858c6\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\">{value:.3}</text>",
            NAMES - 6.0,
            y + 11.0,
            escaped(name),
            y + 1.0,
            NAMES + width + 5.0,
            y + 11.0
        );
    }
    for threshold in thresholds {
        let x = NAMES + threshold * scale;
        let _ = write!(
            body,
            "<path d=\"M{x:.1} {TOP}V{:.1}\" stroke=\"#b3261e\" stroke-dasharray=\"3 3\"/>",
            height - 8.0
        );
    }
    wrapped(height, &body)
}

fn wrapped(height: f64, body: &str) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height:.0}\" font-family=\"system-ui,sans-serif\" \
         font-size=\"11\" fill=\"{INK}\">{body}</svg>"
    )
}
