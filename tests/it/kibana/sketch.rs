//! Pictures for docs/kibana.md: every dashboard with the numbers of the tests' records, drawn from the declarations. They
//! show the layout and the content, not how Kibana draws it.
//!
//! `UPDATE=1 cargo test --test it kibana::sketch` redraws them.

use std::collections::BTreeMap;
use std::fmt::Write;

use podtap::setup::kibana::DASHBOARDS;
use podtap::setup::kibana::declare::{Chart, Compute, Dashboard, GroupBy, Panel, PanelMetric, PanelPlace, SavedSearch};
use serde_json::{Value, json};

use super::lines::{self, divide, holds};
use super::records;

/// Pixels of Kibana's units.
const ACROSS: u32 = 25;
const DOWN: u32 = 14;
/// Pixels of a line of text.
const LINE: u32 = 15;
/// Parts of the time.
const MILLIS: i64 = 100;
/// How many of them are drawn: most of the traffic is there.
const PARTS: i64 = 40;
const COLOURS: [&str; 8] = ["#54b399", "#6092c0", "#d36086", "#9170b8", "#ca8eae", "#d6bf57", "#b9a888", "#e7664c"];

type Lines<'a> = Vec<&'a Value>;
/// Values by the begin of their part of the time.
type Series = BTreeMap<i64, f64>;

#[test]
fn the_pictures_show_what_the_declarations_say() {
    let mut all = records::lines();
    // The only part of a record that changes with a release.
    all.iter_mut().for_each(|line| line["agent"]["version"] = json!("0.1.0"));
    let all: Lines<'_> = all.iter().collect();
    for dashboard in DASHBOARDS {
        let name = format!("docs/kibana/{}.svg", dashboard.id);
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(&name);
        let drawn = draw(dashboard, &all);
        if std::env::var_os("UPDATE").is_some() {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, &drawn).unwrap();
        }
        let file = std::fs::read_to_string(path).unwrap_or_default();
        // Numbers may be those of an earlier day; the layout may not.
        assert!(
            frames(&file) == frames(&drawn),
            "{name} is out of date; run: UPDATE=1 cargo test --test it kibana::sketch"
        );
    }
}

/// Panels and their titles.
fn frames(svg: &str) -> Vec<&str> {
    let classes = ["class=\"panel\"", "class=\"title\""];
    svg.lines().filter(|line| classes.iter().any(|class| line.contains(class))).collect()
}

/// A rectangle in pixels.
#[derive(Clone, Copy)]
struct Area {
    x: u32,
    y: u32,
    width: u32,
    height: u32,
}

struct Svg(String);

impl Svg {
    fn text(&mut self, x: u32, y: u32, class: &str, text: &str) {
        let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        let _ = writeln!(self.0, "<text x=\"{x}\" y=\"{y}\" class=\"{class}\">{text}</text>");
    }

    fn bar(&mut self, area: Area, colour: &str) {
        let Area { x, y, width, height } = area;
        let _ = writeln!(self.0, "<rect x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\" fill=\"{colour}\"/>");
    }

    /// A panel's frame; what is left inside.
    fn frame(&mut self, place: PanelPlace, title: &str) -> Area {
        let (x, y) = (place.x * ACROSS + 3, place.y * DOWN + 3);
        let (width, height) = (place.width * ACROSS - 6, place.height * DOWN - 6);
        let _ = writeln!(
            self.0,
            "<rect x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\" rx=\"4\" class=\"panel\"/>"
        );
        self.text(x + 8, y + LINE + 1, "title", title);
        Area { x: x + 8, y: y + 24, width: width - 16, height: height - 30 }
    }
}

fn draw(dashboard: &Dashboard, all: &Lines<'_>) -> String {
    let (notes, places, records) = dashboard.places();
    let (width, height) = (podtap::setup::kibana::declare::WIDTH * ACROSS, (records.y + records.height) * DOWN);
    let mut svg = Svg(format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" \
         font-size=\"11\">\n<style>.panel{{fill:#fff;stroke:#d3dae6}}.title{{font-weight:bold;fill:#343741}}\
         .number{{font-size:26px;fill:#343741}}.cell{{fill:#343741}}.head{{fill:#69707d}}</style>\n\
         <rect width=\"{width}\" height=\"{height}\" fill=\"#f7f8fc\"/>\n"
    ));
    let inside = svg.frame(notes, dashboard.title);
    svg.text(inside.x, inside.y + 8, "head", dashboard.question);
    for (n, line) in podtap::settings::wrapped(&dashboard.notes.replace('*', ""), 210).iter().enumerate() {
        svg.text(inside.x, inside.y + 8 + LINE * (n as u32 + 1), "cell", line);
    }
    for (panel, place) in dashboard.panels.iter().zip(places) {
        let about = panel.about.filter();
        let of: Lines<'_> = all.iter().filter(|line| holds(&about, line) && holds(&panel.of, line)).copied().collect();
        let area = svg.frame(place, panel.title);
        match panel.chart {
            Chart::Number => {
                let metric = &panel.metrics[0];
                svg.text(area.x, area.y + 30, "number", &shown(metric, lines::value(metric, &of)));
            }
            Chart::Table => table(&mut svg, area, panel, &of),
            Chart::Ranking => ranking(&mut svg, area, panel, &of),
            Chart::Lines | Chart::Stack | Chart::Shares => over_time(&mut svg, area, panel, &of),
        }
    }
    let area = svg.frame(records, dashboard.records.title);
    found(&mut svg, area, dashboard.records, all);
    svg.0 + "</svg>\n"
}

/// As the data view has it shown.
fn shown(metric: &PanelMetric, value: Option<f64>) -> String {
    let Some(value) = value else { return "–".to_owned() };
    let field = metric.what.field().unwrap_or_default();
    match metric.what {
        Compute::Share => format!("{:.1} %", value * 100.0),
        Compute::Ratio(..) => format!("{:.4} %", value * 100.0),
        Compute::PerSecond => format!("{value:.2}"),
        Compute::Distinct(_) | Compute::Count => format!("{value}"),
        Compute::Sum(_) | Compute::Max(_) | Compute::Percentile(..) if field.ends_with("_us") => {
            format!("{:.2} ms", value / 1000.0)
        }
        Compute::Sum(_) | Compute::Max(_) | Compute::Percentile(..) if !field.ends_with("bytes") => format!("{value}"),
        Compute::Sum(_) | Compute::Max(_) | Compute::Percentile(..) => match value {
            1e6.. => format!("{:.1} MB", value / 1e6),
            1e3.. => format!("{:.1} kB", value / 1e3),
            _ => format!("{value} B"),
        },
    }
}

/// The parts in the order in which they are shown, no more than are.
fn parts<'a>(by: &GroupBy, metric: &PanelMetric, of: &Lines<'a>) -> Vec<(String, Lines<'a>)> {
    let mut all = divide(by, of, MILLIS);
    match by {
        GroupBy::Time => all.into_iter().collect(),
        GroupBy::Parts(named) => {
            named.iter().map(|(name, _)| ((*name).to_owned(), all.remove(*name).unwrap_or_default())).collect()
        }
        GroupBy::Top { size, .. } => {
            let mut all: Vec<_> = all.into_iter().collect();
            let rank = |lines: &Lines<'_>| lines::value(metric, lines).unwrap_or_default();
            all.sort_by(|a, b| rank(&b.1).total_cmp(&rank(&a.1)).then_with(|| a.0.cmp(&b.0)));
            all.truncate(*size as usize);
            all
        }
    }
}

fn label(by: &GroupBy) -> &str {
    match by {
        GroupBy::Time => "@timestamp",
        GroupBy::Top { label, .. } => label,
        GroupBy::Parts(_) => "",
    }
}

fn rows(panel: &Panel, depth: usize, keys: &[String], of: &Lines<'_>, out: &mut Vec<Vec<String>>) {
    let Some(by) = panel.by.get(depth) else {
        let numbers = panel.metrics.iter().map(|metric| shown(metric, lines::value(metric, of)));
        return out.push(keys.iter().cloned().chain(numbers).collect());
    };
    for (key, of) in parts(by, &panel.metrics[0], of) {
        rows(panel, depth + 1, &[keys, &[key]].concat(), &of, out);
    }
}

fn table(svg: &mut Svg, area: Area, panel: &Panel, of: &Lines<'_>) {
    let mut body = Vec::new();
    rows(panel, 0, &[], of, &mut body);
    let heads = panel.by.iter().map(label).chain(panel.metrics.iter().map(|metric| metric.label));
    grid(svg, area, heads.map(str::to_owned).collect(), &body, panel.by.len());
}

/// Divisions get more room than numbers.
fn grid(svg: &mut Svg, area: Area, heads: Vec<String>, body: &[Vec<String>], wide: usize) {
    let share = area.width / (2 * wide + heads.len() - wide).max(1) as u32;
    let begin = |column: usize| area.x + share * (column + column.min(wide)) as u32;
    let fit = |text: &str, column: usize| -> String {
        let most = (if column < wide { 2 } else { 1 } * share / 6) as usize;
        if text.chars().count() <= most {
            text.to_owned()
        } else {
            text.chars().take(most - 1).chain(['…']).collect()
        }
    };
    heads.iter().enumerate().for_each(|(n, head)| svg.text(begin(n), area.y + 10, "head", &fit(head, n)));
    let room = (area.height / LINE).saturating_sub(1) as usize;
    for (row, cells) in body.iter().take(room.min(10)).enumerate() {
        let y = area.y + 10 + LINE * (row as u32 + 1);
        cells.iter().enumerate().for_each(|(n, cell)| svg.text(begin(n), y, "cell", &fit(cell, n)));
    }
}

fn ranking(svg: &mut Svg, area: Area, panel: &Panel, of: &Lines<'_>) {
    let metric = &panel.metrics[0];
    let all = parts(&panel.by[0], metric, of);
    let most = all.iter().filter_map(|(_, of)| lines::value(metric, of)).fold(1.0, f64::max);
    for (row, (key, of)) in all.iter().take((area.height / LINE) as usize).enumerate() {
        let y = area.y + LINE * row as u32;
        let value = lines::value(metric, of);
        let width = (f64::from(area.width / 3) * value.unwrap_or_default() / most) as u32 + 1;
        let name: String = key.chars().take((area.width as usize / 2) / 6).collect();
        svg.text(area.x, y + 10, "cell", &name);
        svg.bar(Area { x: area.x + area.width / 2, y: y + 2, width, height: LINE - 4 }, COLOURS[0]);
        svg.text(area.x + area.width / 2 + width + 4, y + 10, "head", &shown(metric, value));
    }
}

/// Series by name, each the values of the parts of the time.
fn series(panel: &Panel, of: &Lines<'_>) -> (Vec<i64>, Vec<(String, Series)>) {
    let at = |of: &Lines<'_>, metric: &PanelMetric| -> Series {
        let parts = divide(&GroupBy::Time, of, MILLIS).into_iter();
        let value = |of: &Lines<'_>| {
            Some(
                lines::value(metric, of)?
                    * if metric.what == Compute::PerSecond { 1000.0 / MILLIS as f64 } else { 1.0 },
            )
        };
        parts.filter_map(|(key, of)| Some((key.parse().unwrap(), value(&of)?))).collect()
    };
    let times = divide(&GroupBy::Time, of, MILLIS).keys().map(|key| key.parse().unwrap()).collect();
    let series = match panel.by {
        [split, GroupBy::Time] => {
            let metric = &panel.metrics[0];
            parts(split, metric, of).into_iter().map(|(name, of)| (name, at(&of, metric))).collect()
        }
        _ => panel.metrics.iter().map(|metric| (metric.label.to_owned(), at(of, metric))).collect(),
    };
    (times, series)
}

fn over_time(svg: &mut Svg, area: Area, panel: &Panel, of: &Lines<'_>) {
    let (times, series) = series(panel, of);
    let area = Area { y: area.y + 12, height: area.height - 12, ..area };
    let Some(first) = times.first() else { return };
    let legend = 120;
    let across = f64::from(area.width - legend) / PARTS as f64;
    let x = |at: i64| area.x + (f64::from(((at - first) / MILLIS) as u32) * across) as u32;
    let total = |at: i64| series.iter().filter_map(|(_, values)| values.get(&at)).sum::<f64>();
    let highest = |at: i64| series.iter().filter_map(|(_, values)| values.get(&at)).copied().fold(0.0, f64::max);
    let stacked = panel.chart != Chart::Lines;
    let most = times.iter().map(|at| if stacked { total(*at) } else { highest(*at) }).fold(1e-9, f64::max);
    let mut below: BTreeMap<i64, u32> = BTreeMap::new();
    for (number, (name, values)) in series.iter().enumerate() {
        let colour = COLOURS[number % COLOURS.len()];
        if number < (area.height / LINE) as usize {
            let y = area.y + LINE * number as u32;
            svg.bar(Area { x: area.x + area.width - legend + 10, y: y + 3, width: 8, height: 8 }, colour);
            svg.text(area.x + area.width - legend + 22, y + 11, "cell", &name.chars().take(16).collect::<String>());
        }
        let drawn = values.iter().filter(|(at, _)| (**at - first) / MILLIS < PARTS);
        let mut before: Option<(i64, u32)> = None;
        for (at, value) in drawn {
            let whole = if panel.chart == Chart::Shares { total(*at) } else { most };
            let height = (f64::from(area.height) * value / whole) as u32;
            let base = below.entry(*at).or_default();
            let foot = area.y + area.height;
            if stacked {
                let width = (across as u32).max(2) - 1;
                svg.bar(Area { x: x(*at), y: foot - *base - height, width, height }, colour);
                *base += height;
            } else {
                let y = foot - height.max(2);
                // Only between what was seen and what was seen right after it.
                if let Some((_, last)) = before.filter(|(last, _)| at - last == MILLIS) {
                    let _ = writeln!(
                        svg.0,
                        "<line x1=\"{}\" y1=\"{last}\" x2=\"{}\" y2=\"{y}\" stroke=\"{colour}\"/>",
                        x(at - MILLIS) + 2,
                        x(*at) + 2
                    );
                }
                svg.bar(Area { x: x(*at), y: y - 1, width: 4, height: 3 }, colour);
                before = Some((*at, y));
            }
        }
    }
    let metric = &panel.metrics[0];
    let top = if panel.chart == Chart::Shares { "100 %".to_owned() } else { shown(metric, Some(most)) };
    svg.text(area.x, area.y - 4, "head", &top);
}

fn found(svg: &mut Svg, area: Area, search: &SavedSearch, all: &Lines<'_>) {
    let heads: Vec<_> = ["@timestamp"].iter().chain(search.columns).map(|name| (*name).to_owned()).collect();
    let about = search.about.filter();
    let mut of: Lines<'_> = all.iter().filter(|line| holds(&about, line) && holds(&search.of, line)).copied().collect();
    of.sort_by_key(|line| std::cmp::Reverse(line["@timestamp"].as_str().unwrap().to_owned()));
    let cell = |line: &Value, name: &String| {
        if name == "@timestamp" {
            return line[name].as_str().unwrap().chars().skip(11).take(12).collect();
        }
        lines::values(line, name).into_iter().map(lines::key).collect::<Vec<_>>().join(", ")
    };
    let body: Vec<_> = of.iter().map(|line| heads.iter().map(|name| cell(line, name)).collect()).collect();
    grid(svg, area, heads, &body, 0);
}
