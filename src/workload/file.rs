//! A table of workloads in a file, JSON or YAML: read again when it changes.
//!
//! Owns the file's format and the watch over it. Says what is wrong with it by line; keeps what it had where a new one is
//! of no use.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use compact_str::CompactString;
use serde::Deserialize;

use super::Rank;
use super::table::{AddressHolder, EVER, WorkloadTable};
use crate::flow::Timestamp;
use crate::record::{LabelSet, NameSet, Workload};
use crate::settings::{printable, printable_up_to};
use crate::yaml;

/// Longest file read.
const LONGEST_FILE: u64 = 8 << 20;
/// Longest name in it, as DNS limits them.
const LONGEST_NAME: usize = 253;
/// Maximum labels of one workload, and their bytes: every record carries them.
const MAX_LABELS: usize = 64;
const MAX_LABEL_BYTES: usize = 4096;
/// Maximum Services of one workload.
const MAX_SERVICES: usize = 16;
/// Longest message about a file.
const LONGEST_MESSAGE: usize = 400;

/// What changes when a file does. Kubernetes swaps a link to a directory, so it is another file then.
type WatchStamp = (u64, u64, u64, Option<SystemTime>);

/// Who has which address, as a file says.
type FileEntries = HashMap<IpAddr, Arc<Workload>>;

/// A file and what was read of it.
#[derive(Debug)]
pub(super) struct WatchedFile {
    path: PathBuf,
    rank: Rank,
    read: Option<WatchStamp>,
    entries: HashMap<IpAddr, (AddressHolder, Arc<Workload>)>,
    next: u64,
    /// How often it was read, and how often that was of no use.
    pub(super) reads: [u64; 2],
}

impl WatchedFile {
    /// Reads it for the first time: what it says holds for all that was before.
    pub(super) fn open(path: &Path, rank: Rank, table: &WorkloadTable) -> Result<Self, String> {
        let (path_owned, entries) = (path.to_owned(), HashMap::new());
        let mut file = Self { path: path_owned, rank, read: stamp(path), entries, next: 0, reads: [1, 0] };
        let entries = read(path).map_err(|why| file.named(&why))?;
        file.take(entries, table, EVER);
        Ok(file)
    }

    /// Reads it again where it is another one. What it says now holds from `now` on.
    pub(super) fn refresh(&mut self, table: &WorkloadTable, now: Timestamp) {
        // Stamp first: what changes while it is read is read again at the next look.
        let stamp = stamp(&self.path);
        if stamp == self.read {
            return;
        }
        self.read = stamp;
        let [reads, refused] = &mut self.reads;
        *reads += 1;
        match read(&self.path) {
            Ok(entries) => {
                self.take(entries, table, now);
                tracing::info!("read again: {}", self.in_words());
            }
            Err(why) => {
                *refused += 1;
                tracing::warn!("{}; keeping what was read before", self.named(&why));
            }
        }
    }

    /// The file, and how much it knows.
    pub(super) fn in_words(&self) -> String {
        let shown = printable(&self.path.to_string_lossy());
        format!("file {shown}: {} addresses", self.entries.len())
    }

    fn named(&self, why: &str) -> String {
        printable_up_to(LONGEST_MESSAGE, &format!("{}: {why}", self.path.display()))
    }

    fn take(&mut self, mut entries: FileEntries, table: &WorkloadTable, now: Timestamp) {
        let rank = self.rank;
        self.entries.retain(|ip, (holder, workload)| {
            let stays = entries.get(ip) == Some(workload);
            if stays {
                entries.remove(ip);
            } else {
                table.release(rank, *ip, *holder, now);
            }
            stays
        });
        for (ip, workload) in entries {
            self.next += 1;
            table.hold(rank, ip, AddressHolder(self.next), [now, now], &workload);
            self.entries.insert(ip, (AddressHolder(self.next), workload));
        }
    }
}

fn stamp(path: &Path) -> Option<WatchStamp> {
    let file = std::fs::metadata(path).ok()?;
    Some((file.dev(), file.ino(), file.len(), file.modified().ok()))
}

fn read(path: &Path) -> Result<FileEntries, String> {
    let mut text = Vec::new();
    let file = File::open(path).map_err(|error| error.to_string())?;
    file.take(LONGEST_FILE + 1).read_to_end(&mut text).map_err(|error| error.to_string())?;
    if text.len() as u64 > LONGEST_FILE {
        return Err(format!("larger than {} MiB", LONGEST_FILE >> 20));
    }
    parse(&String::from_utf8(text).map_err(|_| "is not UTF-8".to_owned())?)
}

/// What a workload is in the file; or only its name, as a string.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WorkloadFields {
    namespace: Option<CompactString>,
    name: Option<CompactString>,
    kind: Option<CompactString>,
    node: Option<CompactString>,
    #[serde(default)]
    service: OneOrMany,
    #[serde(default)]
    labels: std::collections::BTreeMap<CompactString, CompactString>,
}

#[derive(Default, Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    #[default]
    None,
    One(CompactString),
    Many(Vec<CompactString>),
}

/// The table that a text is; what is wrong with it, by line.
fn parse(text: &str) -> Result<FileEntries, String> {
    let documents = yaml::parse(text).map_err(|malformed| malformed.to_string())?;
    let [parsed] = documents.as_slice() else {
        return if documents.is_empty() {
            Ok(FileEntries::new())
        } else {
            Err("holds more than one document".to_owned())
        };
    };
    let document = parsed.document();
    if document.root.is_nothing() {
        return Ok(FileEntries::new());
    }
    let is_map = matches!(document.root.kind, yaml::NodeKind::Map { .. });
    if !is_map {
        return Err("is not a mapping of addresses to workloads".to_owned());
    }
    let mut entries = FileEntries::new();
    for entry in document.root.entries() {
        let at = |why: String| format!("line {}: {why}", entry.key.line);
        let key = entry.key.text().unwrap_or_default();
        let ip: IpAddr = key.parse().map_err(|_| at(format!("{key:?} is not an IP address")))?;
        let value = document.value(&entry.value).map_err(at)?;
        let workload = workload(value).map_err(at)?;
        if entries.insert(ip.to_canonical(), Arc::new(workload)).is_some() {
            return Err(at(format!("{key} is in the table twice")));
        }
    }
    Ok(entries)
}

fn workload(value: serde_json::Value) -> Result<Workload, String> {
    if let serde_json::Value::String(name) = value {
        return Ok(Workload { name: Some(short(name.into())?), ..Workload::default() });
    }
    let fields: WorkloadFields = serde_json::from_value(value).map_err(|error| error.to_string())?;
    let maybe = |text: Option<CompactString>| text.map(short).transpose();
    let services = match fields.service {
        OneOrMany::None => Vec::new(),
        OneOrMany::One(name) => vec![name],
        OneOrMany::Many(names) => names,
    };
    let bytes = fields.labels.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>();
    if fields.labels.len() > MAX_LABELS || bytes > MAX_LABEL_BYTES {
        return Err(format!("more labels than {MAX_LABELS}, or more bytes in them than {MAX_LABEL_BYTES}"));
    }
    if services.len() > MAX_SERVICES {
        return Err(format!("more Services than {MAX_SERVICES}"));
    }
    Ok(Workload {
        namespace: maybe(fields.namespace)?,
        name: maybe(fields.name)?,
        kind: maybe(fields.kind)?,
        node: maybe(fields.node)?,
        services: services.into_iter().map(short).collect::<Result<Vec<_>, _>>()?.into_iter().collect::<NameSet>(),
        labels: fields.labels.into_iter().collect::<LabelSet>(),
    })
}

fn short(text: CompactString) -> Result<CompactString, String> {
    if text.is_empty() || text.len() > LONGEST_NAME {
        return Err(format!("a name is empty, or longer than {LONGEST_NAME} bytes"));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<String> {
        let entries = parse(text).unwrap();
        let mut names: Vec<_> = entries
            .iter()
            .map(|(ip, workload)| format!("{ip} {}", workload.name.as_deref().unwrap_or_default()))
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_table_is_yaml_or_json_and_a_workload_is_a_name_or_its_fields() {
        let yaml = "# who is who\n10.0.0.1: billing\n\"fd00::1\": {name: cart, namespace: shop}\n::ffff:10.0.0.2:\n  name: x\n";
        let json =
            r#"{"10.0.0.1": "billing", "fd00::1": {"name": "cart", "namespace": "shop"}, "10.0.0.2": {"name": "x"}}"#;
        for text in [yaml, json] {
            assert_eq!(names(text), ["10.0.0.1 billing", "10.0.0.2 x", "fd00::1 cart"], "{text}");
        }
        for empty in ["", "{}", "# nothing\n", "---\n"] {
            assert_eq!(names(empty), [""; 0], "{empty:?}");
        }
        let all = "10.0.0.1: {namespace: n, name: a, kind: Pod, node: n1, service: [s2, s1], labels: {a.b: 'true'}}";
        let found = parse(all).unwrap();
        let expected = Workload {
            namespace: Some("n".into()),
            name: Some("a".into()),
            kind: Some("Pod".into()),
            services: ["s1", "s2"].into_iter().collect(),
            node: Some("n1".into()),
            labels: [("a_b", "true")].into_iter().collect(),
        };
        assert_eq!(*found[&IpAddr::from([10, 0, 0, 1])], expected);
    }

    #[test]
    fn what_is_no_table_is_refused_with_its_line() {
        let long = format!("10.0.0.1: {}", "a".repeat(254));
        let labels: String = (0..65).map(|n| format!("l{n}: x, ")).collect();
        let labels = format!("10.0.0.1: {{labels: {{{labels}}}}}");
        for (text, why) in [
            ("10.0.0.1: a\n10.0.0: b", "line 2: \"10.0.0\" is not an IP address"),
            ("10.0.0.0/8: a", "line 1: \"10.0.0.0/8\" is not an IP address"),
            ("10.0.0.1: {nmae: a}", "line 1: unknown field `nmae`"),
            ("10.0.0.1: 7", "line 1: invalid type"),
            ("10.0.0.1: ''", "line 1: a name is empty"),
            ("10.0.0.1: a\n\"::ffff:10.0.0.1\": b", "line 2: ::ffff:10.0.0.1 is in the table twice"),
            ("10.0.0.1: a\n10.0.0.1: b", "twice"),
            ("- a", "is not a mapping"),
            ("a: [", "line "),
            ("---\n{}\n---\n{}\n", "more than one document"),
            (&long, "longer than 253 bytes"),
            (&labels, "more labels than 64"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
