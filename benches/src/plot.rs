//! Plots of lines over time, as svg: small enough to be read in a diff, and seen by any browser.

use std::fmt::Write as _;

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 180.0;
const LEFT: f64 = 70.0;
const TOP: f64 = 30.0;
const COLOURS: [&str; 6] = ["#c0392b", "#2c7fb8", "#2ca25f", "#8856a7", "#d95f0e", "#636363"];

/// A line: its name, and points of time and height.
#[derive(Clone, Debug)]
pub struct Line {
    /// The name in the legend.
    pub name: String,
    /// In order of time.
    pub points: Vec<(f64, f64)>,
}

/// Several lines on the same axes, which begin at 0.
#[derive(Clone, Debug)]
pub struct Panel {
    /// What the height is, with its unit.
    pub title: String,
    /// The lines.
    pub lines: Vec<Line>,
}

/// Panels below each other. `across` says what goes from left to right.
pub fn svg(panels: &[Panel], across: &str) -> String {
    let height = TOP * 2.0 + (HEIGHT + TOP * 1.5) * panels.len() as f64;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{0}\" height=\"{height}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<rect width=\"{0}\" height=\"{height}\" fill=\"white\"/>\n",
        WIDTH + LEFT + 20.0
    );
    for (at, panel) in panels.iter().enumerate() {
        draw(&mut out, panel, TOP + (HEIGHT + TOP * 1.5) * at as f64, across);
    }
    out.push_str("</svg>\n");
    out
}

/// The end of an axis: the next round number.
fn end_of_axis(most: f64) -> f64 {
    let most = if most > 0.0 { most } else { 1.0 };
    let power = 10_f64.powf(most.log10().floor());
    let steps = [1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0];
    steps.iter().map(|step| step * power).find(|end| *end >= most).unwrap_or(most)
}

fn draw(out: &mut String, panel: &Panel, top: f64, across: &str) {
    let points = || panel.lines.iter().flat_map(|line| line.points.iter().copied());
    let right = end_of_axis(points().map(|p| p.0).fold(0.0, f64::max));
    let high = end_of_axis(points().map(|p| p.1).fold(0.0, f64::max));
    let (x, y) = (|t: f64| LEFT + t / right * WIDTH, |v: f64| top + HEIGHT - v / high * HEIGHT);
    // writing to a string can't fail
    let _ = writeln!(out, "<text x=\"{LEFT}\" y=\"{}\" font-weight=\"bold\">{}</text>", top - 8.0, panel.title);
    for quarter in 0..=4 {
        let part = f64::from(quarter) / 4.0;
        let _ = writeln!(
            out,
            "<path d=\"M{LEFT} {0:.1}H{1}\" stroke=\"#ddd\"/><text x=\"{2}\" y=\"{3:.1}\" text-anchor=\"end\">{4}</text>\
             <text x=\"{5:.1}\" y=\"{6:.1}\" text-anchor=\"middle\">{7}{8}</text>",
            y(high * part),
            LEFT + WIDTH,
            LEFT - 6.0,
            y(high * part) + 4.0,
            high * part,
            x(right * part),
            top + HEIGHT + 15.0,
            right * part,
            if quarter == 4 { format!(" {across}") } else { String::new() },
        );
    }
    for (nth, line) in panel.lines.iter().enumerate() {
        let colour = COLOURS[nth % COLOURS.len()];
        let path: Vec<String> = line.points.iter().map(|(t, v)| format!("{:.1} {:.1}", x(*t), y(*v))).collect();
        if !path.is_empty() {
            let _ = writeln!(out, "<path d=\"M{}\" fill=\"none\" stroke=\"{colour}\"/>", path.join("L"));
        }
        let _ = writeln!(
            out,
            "<text x=\"{}\" y=\"{}\" fill=\"{colour}\" text-anchor=\"end\">{}</text>",
            LEFT + WIDTH - 130.0 * nth as f64,
            top - 8.0,
            line.name
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_end_at_round_numbers() {
        for (most, end) in [(0.0, 1.0), (1.0, 1.0), (1.2, 1.5), (99.0, 100.0), (450.0, 500.0), (0.03, 0.03)] {
            assert!((end_of_axis(most) - end).abs() < 1e-9, "{most}");
        }
    }

    #[test]
    fn a_line_goes_from_corner_to_corner() {
        let line = Line { name: "a".into(), points: vec![(0.0, 0.0), (10.0, 100.0)] };
        let text = svg(&[Panel { title: "t".into(), lines: vec![line] }], "s");
        assert!(text.contains("<path d=\"M70.0 210.0L830.0 30.0\""), "{text}");
    }
}
