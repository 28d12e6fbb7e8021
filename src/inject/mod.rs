//! `podtap inject` and `podtap uninject`: a sidecar put into manifests, and taken out again. Text in, text out.
//!
//! Documents are edited by byte span, never rewritten: comments, quotes, anchors and indentation stay as they were,
//! and `uninject` gives back what `inject` was given, byte for byte. Every edit is checked against what it should mean
//! before anyone sees it. Reads no file, and knows no cluster: `podtap webhook` asks `plan` the same questions.

mod insert;
mod lines;
mod patch;
mod plan;
mod predecessor;
mod remove;
mod sidecar;
mod spec;
#[cfg(test)]
mod tests;
mod tree;
mod workload;

use serde_json::Value;

pub(crate) use self::sidecar::capabilities;
pub use self::sidecar::{Options, Resources};
pub use self::workload::Object;

#[cfg(feature = "webhook")]
pub(crate) use self::patch::operations;
#[cfg(feature = "webhook")]
pub(crate) use self::plan::Pod;
pub(crate) use self::plan::{Addition, Plan, plan};
pub(crate) use self::spec::{check, own_place};

use self::lines::{Edit, apply, documents};
use self::sidecar::Sidecar;
use self::workload::{Unreachable, Workload};
use crate::yaml::{self, Document, Malformed, Parsed};

/// A text after `inject` or `uninject`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The text.
    pub text: String,
    /// Every object in it that has a pod, in order.
    pub objects: Vec<Treated>,
}

/// What became of one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Treated {
    /// The object.
    pub object: Object,
    /// What became of it.
    pub outcome: Outcome,
    /// What is worth saying about it.
    pub notes: Vec<String>,
}

/// What became of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It got the sidecar.
    Injected,
    /// Its sidecar was another one.
    Updated,
    /// It had this sidecar, or had none to take out.
    Unchanged,
    /// The sidecar was taken out.
    Removed,
    /// It is left as it is, for this reason.
    Skipped(String),
    /// What was asked for cannot be done, for this reason; it is left as it is.
    Refused(String),
}

/// What is to happen to one object.
enum Wish {
    Leave,
    Have(Sidecar),
    Lose,
}

/// Why edits cannot be made.
enum Failed {
    /// The objects that they fail at, and why.
    At(Vec<(usize, String)>),
    /// At an object that cannot be distinguished from the others.
    Somewhere,
}

/// Gives every pod in `text` the sidecar.
pub fn inject(text: &str, options: &Options) -> Result<Report, Malformed> {
    carry_out(text, |workload| match plan(workload.pod(), options) {
        Plan::Skip(reason) => (Outcome::Skipped(reason), Vec::new(), Wish::Leave),
        Plan::Refuse(reason) => (Outcome::Refused(reason), Vec::new(), Wish::Leave),
        Plan::Add(addition) if !addition.complaints.is_empty() => {
            (Outcome::Refused(addition.complaints.join("; ")), Vec::new(), Wish::Leave)
        }
        Plan::Add(Addition { sidecar, mut notes, .. }) => {
            let (outcome, wish) = match own_place(&workload.spec) {
                None => (Outcome::Injected, Wish::Have(sidecar)),
                Some(_) if patch::has(&workload.spec, &sidecar) => (Outcome::Unchanged, Wish::Leave),
                Some(_) => {
                    let lost = patch::lost(&workload.spec, &sidecar);
                    if !lost.is_empty() {
                        notes.push(format!("its sidecar has no longer: {}", lost.join(", ")));
                    }
                    (Outcome::Updated, Wish::Have(sidecar))
                }
            };
            (outcome, notes, wish)
        }
    })
}

/// Takes the sidecar out of every pod in `text`.
pub fn uninject(text: &str) -> Result<Report, Malformed> {
    carry_out(text, |workload| match own_place(&workload.spec) {
        None => (Outcome::Unchanged, Vec::new(), Wish::Leave),
        Some(_) => (Outcome::Removed, Vec::new(), Wish::Lose),
    })
}

/// One document after the other, so that a long stream takes no more memory than its longest document does.
fn carry_out(
    text: &str,
    decide: impl Fn(&Workload<'_, '_>) -> (Outcome, Vec<String>, Wish),
) -> Result<Report, Malformed> {
    let mut report = Report { text: String::with_capacity(text.len()), objects: Vec::new() };
    for (lines_before, document) in documents(text) {
        let done = carry_out_one(document, &decide);
        let Report { text, mut objects } =
            done.map_err(|wrong| Malformed { line: wrong.line + lines_before, ..wrong })?;
        objects.iter_mut().for_each(|treated| treated.object.line += lines_before);
        report.text.push_str(&text);
        report.objects.append(&mut objects);
    }
    Ok(report)
}

fn carry_out_one(
    text: &str,
    decide: impl Fn(&Workload<'_, '_>) -> (Outcome, Vec<String>, Wish),
) -> Result<Report, Malformed> {
    let parsed = yaml::parse(text)?;
    let documents = resolved(&parsed);
    let (mut objects, mut wishes) = (Vec::new(), Vec::new());
    for found in find(&documents) {
        let (object, (outcome, notes, wish)) = match found {
            Ok(workload) => (workload.object.clone(), decide(&workload)),
            Err(Unreachable { object, why }) => {
                let skipped = || Outcome::Skipped("it has no pod spec: a patch of something else?".to_owned());
                (object, (why.map_or_else(skipped, Outcome::Refused), Vec::new(), Wish::Leave))
            }
        };
        objects.push(Treated { object, outcome, notes });
        wishes.push(wish);
    }
    // Twice as many each time, so that one bad object among many does not cost as many attempts as there are.
    let mut given_up = 1;
    loop {
        let failed = match edit(text, &wishes) {
            Ok(text) => return Ok(Report { text, objects }),
            Err(Failed::At(failed)) => failed,
            Err(Failed::Somewhere) => {
                let wanted = wishes.iter().enumerate().filter(|(_, wish)| !wish.is_none());
                let first = wanted.take(given_up).map(|(at, _)| (at, insert::UNUSUAL.to_owned())).collect();
                given_up *= 2;
                first
            }
        };
        for (at, why) in failed {
            if let (Some(object), Some(wish)) = (objects.get_mut(at), wishes.get_mut(at)) {
                object.outcome = Outcome::Refused(why);
                *wish = Wish::Leave;
            }
        }
    }
}

fn resolved<'n, 'a>(parsed: &'n [Parsed<'a>]) -> Vec<Document<'n, 'a>> {
    parsed.iter().map(Parsed::document).collect()
}

/// The workloads of all documents.
fn find<'n, 'a>(documents: &'n [Document<'n, 'a>]) -> Vec<Result<Workload<'n, 'a>, Unreachable>> {
    documents.iter().flat_map(|document| workload::find(document)).collect()
}

/// The text with every wish fulfilled: what was ours goes, then the new comes, then it is seen whether that is so.
fn edit(text: &str, wishes: &[Wish]) -> Result<String, Failed> {
    if wishes.iter().all(Wish::is_none) {
        return Ok(text.to_owned());
    }
    let bare = each(text, wishes, |text, workload, wish| match wish {
        Wish::Leave => Ok(Vec::new()),
        Wish::Have(sidecar) if sidecar.replaces => remove::remove_with_predecessors(text, workload),
        Wish::Have(_) | Wish::Lose => remove::remove(text, workload),
    })?;
    let full = each(&bare, wishes, |text, workload, wish| match wish {
        Wish::Leave | Wish::Lose => Ok(Vec::new()),
        Wish::Have(sidecar) => insert::insert(text, workload, sidecar),
    })?;
    verify(wishes, &specs(text), &specs(&bare), &specs(&full))?;
    let undone = each(&full, wishes, |text, workload, wish| match wish {
        Wish::Leave | Wish::Lose => Ok(Vec::new()),
        Wish::Have(_) => remove::remove(text, workload),
    })?;
    if undone == bare { Ok(full) } else { Err(Failed::Somewhere) }
}

/// The text with the edits of every workload.
fn each(
    text: &str,
    wishes: &[Wish],
    edits: impl Fn(&str, &Workload<'_, '_>, &Wish) -> Result<Vec<Edit>, String>,
) -> Result<String, Failed> {
    let parsed = yaml::parse(text).map_err(|_| Failed::Somewhere)?;
    let (mut all, mut failed) = (Vec::new(), Vec::new());
    for (at, (found, wish)) in find(&resolved(&parsed)).iter().zip(wishes).enumerate() {
        match found.as_ref().map(|workload| edits(text, workload, wish)) {
            Ok(Ok(edits)) => all.extend(edits),
            Ok(Err(why)) => failed.push((at, why)),
            Err(_) => {}
        }
    }
    if failed.is_empty() { apply(text, all).ok_or(Failed::Somewhere) } else { Err(Failed::At(failed)) }
}

/// The spec of every workload's pod.
fn specs(text: &str) -> Vec<Value> {
    let parsed = yaml::parse(text).unwrap_or_default();
    let spec = |found: Result<Workload<'_, '_>, Unreachable>| found.map_or(Value::Null, |workload| workload.spec);
    find(&resolved(&parsed)).into_iter().map(spec).collect()
}

/// Whether every pod became what it should and nothing else: as it was, bare of the sidecar, and with it.
fn verify(wishes: &[Wish], was: &[Value], bare: &[Value], full: &[Value]) -> Result<(), Failed> {
    if [was.len(), bare.len(), full.len()] != [wishes.len(); 3] {
        return Err(Failed::Somewhere);
    }
    let mut failed = Vec::new();
    for (at, (wish, ((was, bare), full))) in wishes.iter().zip(was.iter().zip(bare).zip(full)).enumerate() {
        let right = match wish {
            Wish::Leave => was == bare && bare == full,
            Wish::Lose => patch::without(was) == patch::without(bare) && bare == full,
            Wish::Have(sidecar) => {
                let kept = if sidecar.replaces { patch::without_predecessors(was) } else { patch::without(was) };
                kept == patch::without(bare) && patch::with(bare, sidecar) == *full
            }
        };
        match wish {
            _ if right => {}
            // An edit of another one did that.
            Wish::Leave => return Err(Failed::Somewhere),
            Wish::Have(_) | Wish::Lose => failed.push((at, insert::UNUSUAL.to_owned())),
        }
    }
    if failed.is_empty() { Ok(()) } else { Err(Failed::At(failed)) }
}

impl Wish {
    fn is_none(&self) -> bool {
        matches!(self, Self::Leave)
    }
}
