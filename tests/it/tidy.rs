//! The structure that the compiler does not see: who may use whom, what the core must not touch, how long a file gets.
//!
//! `src/lib.rs` is the map: the order of its `pub mod` lines is the order of the floors, its comments name them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// From here on a file is two files.
const LONGEST_FILE: usize = 600;

/// At most this part of the types has a name of one word, percent. At the place where it is used a name says what it is.
const MOST_ONE_WORD: usize = 40;
/// Declared twice because only one of the two is compiled.
const EITHER_OR: [&str; 1] = ["LoadedProgram"];

/// What needs the machine: nothing for modules whose time and bytes are arguments.
const OUTSIDE: [&str; 12] = [
    "std::fs",
    "std::env",
    "std::thread",
    "std::process",
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "UnixStream",
    "tokio",
    "Instant::now",
    "SystemTime::now",
    "libc::",
];

/// One Rust file of the project.
struct Source {
    /// From the project's root.
    path: String,
    text: String,
}

impl Source {
    /// The top module it belongs to; none for `lib.rs`, `main.rs` and what is not in `src`.
    fn module(&self) -> Option<&str> {
        let first = self.path.strip_prefix("src/")?.split('/').next()?;
        let name = first.strip_suffix(".rs").unwrap_or(first);
        (!["lib", "main"].contains(&name)).then_some(name)
    }

    fn is_test(&self) -> bool {
        self.path.contains("/tests/") || self.path.ends_with("/tests.rs")
    }

    /// Tests are at the end of a file or in a separate file.
    fn without_tests(&self) -> &str {
        let inline = || self.text.find("#[cfg(test)]\nmod tests {").unwrap_or(self.text.len());
        let end = if self.is_test() { 0 } else { inline() };
        &self.text[..end]
    }

    fn at(&self, line: usize, what: &str) -> String {
        format!("{}:{}: {what}", self.path, line + 1)
    }
}

/// The modules of `lib.rs` in order, each with its floor.
fn floors(lib: &str) -> Vec<(String, String)> {
    let mut floor = String::new();
    let mut modules = Vec::new();
    for line in lib.lines() {
        if let Some(comment) = line.strip_prefix("// ") {
            floor = comment.split(':').next().unwrap_or_default().to_owned();
        } else if let Some(name) = line.strip_prefix("pub mod ").and_then(|rest| rest.strip_suffix(';')) {
            modules.push((name.to_owned(), floor.clone()));
        }
    }
    modules
}

/// Code lines with their numbers; comments do not count.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with("//"))
}

/// The top modules named after `crate::`, each with the number of its line.
fn used(text: &str) -> Vec<(usize, String)> {
    let text: Vec<_> = text.lines().map(|line| if line.trim_start().starts_with("//") { "" } else { line }).collect();
    let text = text.join("\n");
    let mut names = Vec::new();
    for (at, found) in text.match_indices("crate::") {
        let line = text[..at].matches('\n').count();
        let rest = &text[at + found.len()..];
        let modules = if let Some(list) = rest.strip_prefix('{') { listed(list) } else { vec![word(rest)] };
        names.extend(modules.into_iter().map(|name| (line, name.to_owned())));
    }
    names
}

/// The modules in `crate::{flow::{A, B}, record}`: names right inside the braces, which are open already.
fn listed(list: &str) -> Vec<&str> {
    let (mut depth, mut begins, mut names) = (1, true, Vec::new());
    for (at, c) in list.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' => begins = depth == 1,
            _ if begins && !c.is_whitespace() => {
                names.push(word(&list[at..]));
                begins = false;
            }
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    names
}

fn word(text: &str) -> &str {
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    &text[..end]
}

fn looks_up(source: &Source, floors: &[(String, String)]) -> Vec<String> {
    let height = |name: &str| floors.iter().position(|(module, _)| module == name);
    let Some(module) = source.module() else { return Vec::new() };
    let Some(own) = height(module) else { return vec![source.at(0, "its module is not in lib.rs")] };
    let lower = used(&source.text).into_iter().filter(|(_, name)| height(name).is_some_and(|other| other > own));
    lower.map(|(line, name)| source.at(line, &format!("{module} uses {name}, declared below it"))).collect()
}

/// A path as code writes it, or of a module: `http`, `session`, `heads`.
type Parts = Vec<String>;

impl Source {
    fn module_path(&self) -> Parts {
        let path = self.path.trim_start_matches("src/").trim_end_matches(".rs");
        path.split('/').filter(|part| *part != "mod").map(str::to_owned).collect()
    }
}

/// What code names from `crate`, `super` or `self` on; the paths in braces one by one.
fn named(text: &str) -> Vec<Parts> {
    let text: Vec<_> = code(text).map(|(_, line)| line).collect();
    let (text, mut paths) = (text.join("\n"), Vec::new());
    for root in ["crate::", "super::", "self::"] {
        for (at, _) in text.match_indices(root) {
            if !text[..at].ends_with(|before: char| before.is_alphanumeric() || before == '_' || before == ':') {
                branch(&text[at..], &[], &mut paths);
            }
        }
    }
    paths
}

/// One branch of such a tree, behind `stem`; returns how many bytes it has.
fn branch(text: &str, stem: &[String], paths: &mut Vec<Parts>) -> usize {
    let (mut path, mut at) = (stem.to_vec(), 0);
    loop {
        let name = word(&text[at..]);
        path.extend((!name.is_empty()).then(|| name.to_owned()));
        at += name.len();
        if !text[at..].starts_with("::") {
            break;
        }
        at += 2;
        if text[at..].starts_with('{') {
            return at + 1 + branches(&text[at + 1..], &path, paths);
        }
    }
    paths.push(path);
    at
}

/// The branches inside braces, and the closing one.
fn branches(text: &str, stem: &[String], paths: &mut Vec<Parts>) -> usize {
    let mut at = 0;
    while let Some(c) = text[at..].chars().next().filter(|c| *c != '}') {
        let length = if c.is_alphanumeric() || c == '_' { branch(&text[at..], stem, paths) } else { 0 };
        at += length.max(c.len_utf8());
    }
    at + 1
}

/// The module that `path` leads to, as `own` writes it.
fn leads_to(own: &[String], path: &[String], modules: &BTreeSet<Parts>) -> Parts {
    let ups = path.iter().take_while(|part| *part == "super").count();
    let (base, rest) = match path.first().map(String::as_str) {
        Some("crate") => (&own[..0], &path[1..]),
        Some("self") => (own, &path[1..]),
        _ => (&own[..own.len().saturating_sub(ups)], &path[ups..]),
    };
    let mut module = base.to_vec();
    for part in rest {
        module.push(part.clone());
        if !modules.contains(&module) {
            module.pop();
            break;
        }
    }
    module
}

/// Whether `from` needs `to`, by whatever way.
fn reaches(uses: &BTreeMap<Parts, BTreeSet<Parts>>, from: &Parts, to: &Parts) -> bool {
    let (mut open, mut seen) = (vec![from], BTreeSet::new());
    while let Some(next) = open.pop() {
        open.extend(uses.get(next).into_iter().flatten().filter(|other| seen.insert(*other)));
    }
    seen.contains(to)
}

/// Modules of one room that need each other: a room has an order, as the house has.
fn circles(sources: &[Source]) -> Vec<String> {
    let sources: Vec<_> = sources.iter().filter(|source| !source.is_test() && source.module().is_some()).collect();
    let modules: BTreeSet<Parts> = sources.iter().map(|source| source.module_path()).collect();
    let mut uses: BTreeMap<Parts, BTreeSet<Parts>> = BTreeMap::new();
    for source in sources {
        let own = source.module_path();
        for other in named(source.without_tests()).iter().map(|path| leads_to(&own, path, &modules)) {
            let shared = own.iter().zip(&other).take_while(|(a, b)| a == b).count();
            if shared > 0 && shared < own.len() && shared < other.len() {
                uses.entry(own[..=shared].to_vec()).or_default().insert(other[..=shared].to_vec());
            }
        }
    }
    let in_circle = |(own, others): (&Parts, &BTreeSet<Parts>)| {
        let back: Vec<_> = others.iter().filter(|other| reaches(&uses, other, own)).map(|o| o.join("::")).collect();
        (!back.is_empty()).then(|| format!("{} needs {}, which needs it", own.join("::"), back.join(", ")))
    };
    uses.iter().filter_map(in_circle).collect()
}

fn touches_the_machine(source: &Source, floors: &[(String, String)]) -> Vec<String> {
    let pure = |name| floors.iter().any(|(module, floor)| module == name && ["words", "sans-IO"].contains(&&**floor));
    if !source.module().is_some_and(pure) {
        return Vec::new();
    }
    let outside = |line: &str| OUTSIDE.into_iter().find(|word| line.contains(word));
    code(source.without_tests())
        .filter_map(|(n, line)| Some(source.at(n, &format!("{} in a module without IO", outside(line)?))))
        .collect()
}

fn too_long(source: &Source) -> Option<String> {
    let lines = source.text.lines().count();
    (lines > LONGEST_FILE).then(|| source.at(lines - 1, &format!("longer than {LONGEST_FILE} lines")))
}

fn says_nothing_of_itself(source: &Source) -> Option<String> {
    (!source.is_test() && !source.text.starts_with("//!"))
        .then(|| source.at(0, "does not begin with what it owns (//!)"))
}

fn allows_without_reason(source: &Source) -> Vec<String> {
    let attributes = ["#[allow(", "#![allow(", "#[expect(", "#![expect("];
    let begins = |line: &str| attributes.into_iter().any(|attribute| line.trim_start().starts_with(attribute));
    let lines: Vec<_> = source.text.lines().collect();
    let whole = |n: usize| {
        let end = lines[n..].iter().position(|line| line.trim_end().ends_with(")]")).unwrap_or(0);
        lines[n..=n + end].concat()
    };
    code(&source.text)
        .filter(|(n, line)| begins(line) && !whole(*n).contains("reason = \""))
        .map(|(n, _)| source.at(n, "an allow without a reason"))
        .collect()
}

/// The types that a file declares, but for its tests.
fn types(source: &Source) -> impl Iterator<Item = (usize, &str)> {
    let kinds = ["struct ", "enum ", "trait ", "union "];
    code(source.without_tests()).filter_map(move |(n, line)| {
        let line = line.trim_start();
        let line = line.strip_prefix("pub").map_or(line, |rest| {
            let rest = rest.strip_prefix('(').and_then(|rest| rest.split_once(')')).map_or(rest, |(_, rest)| rest);
            rest.trim_start()
        });
        let name = word(kinds.into_iter().find_map(|kind| line.strip_prefix(kind))?);
        name.starts_with(char::is_uppercase).then_some((n, name))
    })
}

/// Types of one name: who meets it has to ask which.
fn ambiguous(sources: &[Source]) -> Vec<String> {
    let mut first = BTreeMap::new();
    let mut found = Vec::new();
    for source in sources {
        for (n, name) in types(source).filter(|(_, name)| !EITHER_OR.contains(name)) {
            if let Some(other) = first.insert(name, &source.path) {
                found.push(source.at(n, &format!("{name} is also a type of {other}")));
            }
        }
    }
    found
}

fn is_one_word(name: &str) -> bool {
    name.chars().filter(|c| c.is_uppercase()).count() == 1
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn sources(folders: &[&str]) -> Vec<Source> {
    let mut open: Vec<PathBuf> =
        folders.iter().map(|folder| root().join(folder)).filter(|path| path.exists()).collect();
    let mut found = Vec::new();
    while let Some(path) = open.pop() {
        if path.is_dir() {
            open.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            found.push(Source { path: path.strip_prefix(root()).unwrap().display().to_string(), text });
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

fn map() -> Vec<(String, String)> {
    floors(&fs::read_to_string(root().join("src/lib.rs")).unwrap())
}

fn nothing(found: Vec<String>) {
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

#[test]
fn a_module_uses_only_modules_declared_above_it() {
    let floors = map();
    assert!(floors.len() > 20, "lib.rs was not understood");
    nothing(sources(&["src"]).iter().flat_map(|source| looks_up(source, &floors)).collect());
}

#[test]
fn no_modules_of_a_room_need_each_other() {
    nothing(circles(&sources(&["src"])));
}

#[test]
fn the_core_touches_no_clock_socket_thread_or_file() {
    let floors = map();
    assert!(floors.iter().filter(|(_, floor)| floor == "sans-IO").count() > 5, "lib.rs names no sans-IO floor");
    nothing(sources(&["src"]).iter().flat_map(|source| touches_the_machine(source, &floors)).collect());
}

#[test]
fn no_file_is_longer_than_anyone_reads() {
    nothing(sources(&["src", "tests", "examples", "fuzz/fuzz_targets"]).iter().filter_map(too_long).collect());
}

#[test]
fn every_file_says_what_it_owns() {
    nothing(sources(&["src", "tests/it", "examples"]).iter().filter_map(says_nothing_of_itself).collect());
}

#[test]
fn every_allow_has_a_reason() {
    nothing(sources(&["src", "tests", "examples"]).iter().flat_map(allows_without_reason).collect());
}

#[test]
fn a_type_has_a_name_that_no_other_has_and_most_have_one_that_says_what_they_are() {
    let sources = sources(&["src"]);
    nothing(ambiguous(&sources));
    let names: Vec<_> = sources.iter().flat_map(types).map(|(_, name)| name).collect();
    let one_word = names.iter().filter(|name| is_one_word(name)).count();
    assert!(names.len() > 500, "the types were not found");
    assert!(one_word * 100 <= MOST_ONE_WORD * names.len(), "{one_word} of {} types have one word", names.len());
}

#[test]
fn two_types_of_one_name_are_found_wherever_they_are() {
    let file = |path: &str, text: &str| Source { path: path.to_owned(), text: text.to_owned() };
    let one = file(
        "src/a.rs",
        "pub struct Slot;\n    enum Kind<T> {}\n// struct Other;\n#[cfg(test)]\nmod tests {\nstruct Kind;\n}",
    );
    let other = file("src/b.rs", "pub(in crate::b) trait Kind {}\nstruct Other;\nlet structure = 1;");
    assert_eq!(types(&one).collect::<Vec<_>>(), [(0, "Slot"), (1, "Kind")]);
    assert_eq!(ambiguous(&[one, other]), ["src/b.rs:1: Kind is also a type of src/a.rs"]);
    assert_eq!(["Slot", "RequestSlot", "Http2"].map(is_one_word), [true, false, true]);
}

#[test]
fn a_circle_is_found_however_it_is_written() {
    let file = |path: &str, text: &str| Source { path: path.to_owned(), text: text.to_owned() };
    for (front, back, there) in [
        ("use super::b::B;", "use super::a::A;", true),
        ("use super::b::B;", "fn f(a: crate::room::a::A) {}", true),
        ("use crate::{flow, room::b::{self, B}};", "use super::{\n    x::X as Y,\n    a,\n};", true),
        ("use super::b::deep::D;", "use super::a::A;", true),
        ("use super::b::B;", "use super::A;", false),
        ("use super::b::B;", "// use super::a::A;", false),
        ("use super::b::B;", "#[cfg(test)]\nmod tests {\nuse super::super::a::A;\n}", false),
        ("use super::b::B;", "use crate::other::a::A;", false),
    ] {
        let (room, deep) = (file("src/room/mod.rs", ""), file("src/room/b/deep.rs", "use super::B;"));
        let found = circles(&[room, file("src/room/a.rs", front), file("src/room/b.rs", back), deep]);
        assert_eq!(found.len(), if there { 2 } else { 0 }, "{front} {back}: {found:?}");
    }
    let three = [("a", "b"), ("b", "c"), ("c", "a")];
    let three = three.map(|(own, other)| file(&format!("src/room/{own}.rs"), &format!("use super::{other}::X;")));
    assert_eq!(circles(&three).len(), 3);
}

/// Each rule against a file that breaks it and one that does not.
#[test]
fn the_rules_find_what_breaks_them() {
    let floors = floors("// words: few\npub mod flow;\n// sans-IO: none\npub mod tcp;\n// edges\npub mod sink;\n");
    assert_eq!(floors[1], ("tcp".to_owned(), "sans-IO".to_owned()));
    let file = |path: &str, text: &str| Source { path: path.to_owned(), text: text.to_owned() };
    let rules = |source: &Source| {
        [
            looks_up(source, &floors).len(),
            touches_the_machine(source, &floors).len(),
            usize::from(too_long(source).is_some()),
            allows_without_reason(source).len(),
        ]
    };
    for (path, text, broken) in [
        ("src/tcp/mod.rs", "use crate::flow::A;", [0, 0, 0, 0]),
        ("src/tcp/mod.rs", "use crate::sink;", [1, 0, 0, 0]),
        ("src/tcp.rs", "use crate::{flow, sink::{A, B}};", [1, 0, 0, 0]),
        ("src/tcp.rs", "use crate::{\n    flow,\n    sink,\n};", [1, 0, 0, 0]),
        ("src/tcp.rs", "use crate::{flow::{sink, A}, tcp};", [0, 0, 0, 0]),
        ("src/tcp.rs", "let x: crate::sink::B = crate::flow::C;", [1, 0, 0, 0]),
        ("src/tcp.rs", "// crate::sink uses this\n/// tokio", [0, 0, 0, 0]),
        ("src/sink/mod.rs", "use std::fs;\nuse crate::tcp;", [0, 0, 0, 0]),
        ("src/tcp.rs", "use std::fs;", [0, 1, 0, 0]),
        ("src/flow.rs", "let now = Instant::now();", [0, 1, 0, 0]),
        ("src/flow.rs", "#[cfg(test)]\nmod tests {\nuse std::fs;\n}", [0, 0, 0, 0]),
        ("src/tcp/tests/a.rs", "use std::thread;", [0, 0, 0, 0]),
        ("src/flow.rs", "#[allow(unused)]", [0, 0, 0, 1]),
        ("src/flow.rs", "#[allow(\n    unused,\n    reason = \"x\"\n)]", [0, 0, 0, 0]),
        ("src/flow.rs", &"\n".repeat(601), [0, 0, 1, 0]),
        ("src/nowhere.rs", "", [1, 0, 0, 0]),
        ("src/lib.rs", "use crate::sink;", [0, 0, 0, 0]),
    ] {
        assert_eq!(rules(&file(path, text)), broken, "{path}: {text}");
    }
}
