//! What README.md and docs/ show is what the program does. This covers the table of settings, and the examples, which
//! are made from the rendered traffic of `podtap demo`.

use std::path::Path;

use podtap::assembly::Assembly;
use podtap::config::RunConfig;
use podtap::demo::{RENDERED_SERVER, rendered};
use podtap::flow::Timestamp;
use podtap::format::{Observer, Pod, classic, ecs, text};
use podtap::ledger::RecordLedger;
use podtap::metrics::{KernelCounters, closing_lines};
use podtap::record::Record;
use podtap::settings::{MemoryBounds, Settings};
use podtap::shape::route::RouteRules;
use podtap::sink::SinkCounts;
use podtap::tcp::CloseReason;

const README: &str = "README.md";
/// The lines of `FORMAT=text` worth showing, by what is in them.
const SHOWN: [&str; 8] = ["/favicon.ico", "POST api", "orders/0 ", "2.0 MB", "payments", "/login/", "/hang", "/events"];
/// 2026-03-01, noon.
const NOON: Timestamp = Timestamp(1_772_366_400_000_000_000);

#[test]
fn the_documented_settings_are_the_declared_ones() {
    holds("docs/settings.md", "settings", &podtap::settings::markdown());
}

#[test]
fn the_examples_of_the_readme_are_really_produced() {
    let (records, ledger) = played();
    let line = |write: &dyn Fn(&mut Vec<u8>, &Record), record: &Record| {
        let mut out = Vec::new();
        write(&mut out, record);
        String::from_utf8(out).unwrap()
    };
    let style = text::TextStyle { width: Some(110), ..text::TextStyle::default() };
    let whole = text::TextStyle::default();
    let eyes: Vec<_> =
        records.iter().map(|record| line(&|out, it| text::write_line(out, it, &whole), record)).collect();
    let shown = SHOWN.map(|what| {
        let at = eyes.iter().position(|line| line.contains(what)).unwrap_or_else(|| panic!("no {what}"));
        line(&|out, it| text::write_line(out, it, &style), &records[at])
    });
    holds(README, "example text", &fenced("text", &shown.concat()));

    let order = &records[eyes.iter().position(|line| line.contains("POST api")).unwrap()];
    let json = line(&|out, it| _ = ecs::write_json_capped(out, it, &observer(), usize::MAX), order);
    holds(README, "example ecs", &fenced("json", &broken(&json)));
    let json = line(&|out, it| _ = classic::write_json_capped(out, it, &observer(), usize::MAX), order);
    holds("docs/migration.md", "example classic", &fenced("json", &json));

    let made = records.len() as u64;
    let mut stdout = SinkCounts::default();
    (stdout.ledger.offered, stdout.ledger.delivered) = (made, made);
    let counted = RecordLedger { made, offered: made, ..RecordLedger::default() };
    let lines = closing_lines(&ledger, &KernelCounters::default(), &counted, &[("stdout".to_owned(), stdout)]);
    holds(README, "example ledger", &fenced("text", &lines));
}

/// The part of `file` between `<!-- name -->` and `<!-- /name -->` is `expected`; with UPDATE it becomes so.
fn holds(file: &str, name: &str, expected: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    // Tests run side by side: one at a time, each from the newest text.
    static ONE: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let _one = ONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let text = std::fs::read_to_string(&path).unwrap();
    let (begin, end) = (format!("<!-- {name} -->\n"), format!("<!-- /{name} -->"));
    let (before, rest) = text.split_once(&begin).unwrap_or_else(|| panic!("{file} has no line {begin}"));
    let (_, after) = rest.split_once(&end).unwrap_or_else(|| panic!("{file} has no line {end}"));
    let wanted = format!("{before}{begin}{expected}{end}{after}");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, wanted).unwrap();
    } else {
        assert!(text == wanted, "\"{name}\" in {file} is out of date: UPDATE=1 cargo test --test it readme");
    }
}

fn played() -> (Vec<Record>, podtap::ledger::Ledger) {
    let (settings, notes) = Settings::from_pairs([], [], |_| Err(String::new())).unwrap();
    let bounds = MemoryBounds::of(&settings, None);
    let mut settings = settings;
    settings.observer_id = podtap::settings::Auto::Given("readme".to_owned());
    let assembly = Assembly::new(&RunConfig { settings, bounds, notes }, vec![RENDERED_SERVER.ip]).unwrap();
    let mut dissector = assembly.dissector();
    for frame in rendered(NOON) {
        dissector.handle_frame(&frame.as_frame(), |_| false);
    }
    dissector.finish(CloseReason::EndOfCapture);
    let mut records = std::mem::take(dissector.records());
    for record in &mut records {
        let Record::Http(exchange) = record else { unreachable!() };
        exchange.route = exchange.request.as_ref().and_then(|request| RouteRules::default().of_request(request));
    }
    (records, dissector.ledger())
}

fn observer() -> Observer {
    Observer {
        host_name: Some("node-1".into()),
        hostname: Some("shop-7f9f".into()),
        pod: Pod {
            namespace: Some("shop".into()),
            name: Some("shop-7f9f".into()),
            ip: Some(RENDERED_SERVER.ip),
            node: Some("node-1".into()),
            ..Pod::default()
        },
        ..Observer::default()
    }
}

fn fenced(language: &str, text: &str) -> String {
    format!("```{language}\n{text}```\n")
}

/// A JSON object with a line for each member: what is one line in reality, for a page.
fn broken(json: &str) -> String {
    let (mut depth, mut quoted, mut escaped) = (0, false, false);
    let mut out = String::new();
    for c in json.chars() {
        out.push(c);
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => quoted = !quoted,
            '{' | '[' if !quoted => depth += 1,
            '}' | ']' if !quoted => depth -= 1,
            ',' if !quoted && depth == 1 => out.push('\n'),
            _ => {}
        }
    }
    out
}
