//! The days as one picture: on each the leased addresses, and how many are free by the one and by the other.

use std::fmt::Write as _;

use super::trace::Trace;
use super::{Figures, Point};

const WIDTH: u32 = 860;
const ROW: u32 = 150;
const LEFT: u32 = 40;
const PLOT: (u32, u32) = (560, 100);

/// One day, both ways.
pub(super) struct Day {
    pub(super) trace: Trace,
    pub(super) set: (Figures, Vec<Point>),
    pub(super) learned: (Figures, Vec<Point>),
}

const COLOURS: [(&str, &str); 3] =
    [("#888888", "leased"), ("#c0392b", "free, WARM_ENI_TARGET=1"), ("#1f6fb2", "free, adaptive")];

/// As SVG.
pub(super) fn svg(days: &[Day]) -> String {
    let height = ROW * u32::try_from(days.len()).unwrap() + 40;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" font-size=\"11\">\n\
         <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"white\"/>\n"
    );
    for ((colour, name), x) in COLOURS.into_iter().zip([40, 120, 300]) {
        writeln!(out, "<text x=\"{x}\" y=\"20\" fill=\"{colour}\">{name}</text>").unwrap();
    }
    for (day, top) in days.iter().zip((0..).map(|row| 40 + ROW * row)) {
        draw(&mut out, day, top);
    }
    out.push_str("</svg>\n");
    out
}

fn draw(out: &mut String, day: &Day, top: u32) {
    let all = || day.set.1.iter().chain(&day.learned.1);
    let most = all().map(|point| point.free.max(point.leased)).max().unwrap_or(1).max(1);
    let bottom = top + PLOT.1;
    let lasts = day.trace.lasts.as_secs();
    let line = |points: &[Point], of: fn(&Point) -> u32| {
        let place = |point: &Point| {
            let x = u64::from(LEFT) + point.at.as_secs() * u64::from(PLOT.0) / lasts;
            format!("{x},{}", bottom - of(point) * PLOT.1 / most)
        };
        points.iter().map(place).collect::<Vec<_>>().join(" ")
    };
    writeln!(out, "<text x=\"4\" y=\"{}\">{most}</text><text x=\"4\" y=\"{bottom}\">0</text>", top + 10)
        .unwrap();
    writeln!(
        out,
        "<rect x=\"{LEFT}\" y=\"{top}\" width=\"{}\" height=\"{}\" fill=\"none\" stroke=\"#dddddd\"/>",
        PLOT.0, PLOT.1
    )
    .unwrap();
    let lines = [
        line(&day.learned.1, |point| point.leased),
        line(&day.set.1, |point| point.free),
        line(&day.learned.1, |point| point.free),
    ];
    for (points, (colour, _)) in lines.into_iter().zip(COLOURS) {
        writeln!(out, "<polyline points=\"{points}\" fill=\"none\" stroke=\"{colour}\"/>").unwrap();
    }
    let (set, learned) = (day.set.0, day.learned.0);
    let said = [
        format!("{} ({}, {} h)", day.trace.name, day.trace.instance_type, lasts / 3600),
        format!("{} ADDs", set.adds),
        format!("waited: {} by target, {} adaptive", set.waited, learned.waited),
        format!("free on average: {:.1}, {:.1}", set.spares, learned.spares),
        format!("calls that change: {}, {}", set.changes, learned.changes),
    ];
    for (text, y) in said.into_iter().zip((0..).map(|nth| top + 14 + 18 * nth)) {
        writeln!(out, "<text x=\"{}\" y=\"{y}\">{text}</text>", LEFT + PLOT.0 + 12).unwrap();
    }
}

/// As a table.
pub(super) fn table(days: &[Day]) -> String {
    let mut out = "| day | ADDs | waited: by target | adaptive | free: by target | adaptive | changing calls: by target | adaptive |\n\
                   |---|---|---|---|---|---|---|---|\n"
        .to_owned();
    for day in days {
        let (set, learned) = (day.set.0, day.learned.0);
        writeln!(
            out,
            "| {}: {} ({}, {} h) | {} | {} | {} | {:.1} | {:.1} | {} | {} |",
            day.trace.name,
            day.trace.what,
            day.trace.instance_type,
            day.trace.lasts.as_secs() / 3600,
            set.adds,
            set.waited,
            learned.waited,
            set.spares,
            learned.spares,
            set.changes,
            learned.changes
        )
        .unwrap();
    }
    out
}
