//! `podtap inject` and `podtap uninject`: a sidecar put into manifests, and taken out again. Text in, text out.
//!
//! Documents are edited by byte span, never rewritten: comments, quotes, anchors and indentation stay as they were. So
//! `uninject` gives back what `inject` was given, byte for byte. Every edit is checked against what it should mean
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
pub use self::sidecar::{SidecarOptions, SidecarResources};
pub use self::workload::NamedObject;

#[cfg(feature = "webhook")]
pub(crate) use self::patch::operations;
#[cfg(feature = "webhook")]
pub(crate) use self::plan::PodTemplate;
pub(crate) use self::plan::{Addition, PodPlan, plan};
pub(crate) use self::spec::{check, own_place};

use self::lines::{Edit, apply, documents};
use self::sidecar::Sidecar;
use self::workload::{PodManifest, UnreachablePod};
use crate::yaml::{self, MalformedYaml, ParsedDocument, YamlDocument};

/// A text after `inject` or `uninject`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InjectReport {
    /// The text.
    pub text: String,
    /// Every object in it that has a pod, in order.
    pub objects: Vec<TreatedObject>,
}

/// What became of one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TreatedObject {
    /// The object.
    pub object: NamedObject,
    /// What became of it.
    pub outcome: InjectOutcome,
    /// What is worth saying about it.
    pub notes: Vec<String>,
}

/// What became of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InjectOutcome {
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
enum InjectIntent {
    Leave,
    Have(Sidecar),
    Lose,
}

/// Why edits cannot be made.
enum EditFailure {
    /// The objects that they fail at, and why.
    At(Vec<(usize, String)>),
    /// At an object that cannot be distinguished from the others.
    Somewhere,
}

/// Gives every pod in `text` the sidecar.
pub fn inject(text: &str, options: &SidecarOptions) -> Result<InjectReport, MalformedYaml> {
    carry_out(text, |workload| match plan(workload.pod(), options) {
        PodPlan::Skip(reason) => (InjectOutcome::Skipped(reason), Vec::new(), InjectIntent::Leave),
        PodPlan::Refuse(reason) => (InjectOutcome::Refused(reason), Vec::new(), InjectIntent::Leave),
        PodPlan::Add(addition) if !addition.complaints.is_empty() => {
            (InjectOutcome::Refused(addition.complaints.join("; ")), Vec::new(), InjectIntent::Leave)
        }
        PodPlan::Add(Addition { sidecar, mut notes, .. }) => {
            let (outcome, wish) = match own_place(&workload.spec) {
                None => (InjectOutcome::Injected, InjectIntent::Have(sidecar)),
                Some(_) if patch::has(&workload.spec, &sidecar) => (InjectOutcome::Unchanged, InjectIntent::Leave),
                Some(_) => {
                    let lost = patch::lost(&workload.spec, &sidecar);
                    if !lost.is_empty() {
                        notes.push(format!("its sidecar has no longer: {}", lost.join(", ")));
                    }
                    (InjectOutcome::Updated, InjectIntent::Have(sidecar))
                }
            };
            (outcome, notes, wish)
        }
    })
}

/// Takes the sidecar out of every pod in `text`.
pub fn uninject(text: &str) -> Result<InjectReport, MalformedYaml> {
    carry_out(text, |workload| match own_place(&workload.spec) {
        None => (InjectOutcome::Unchanged, Vec::new(), InjectIntent::Leave),
        Some(_) => (InjectOutcome::Removed, Vec::new(), InjectIntent::Lose),
    })
}

/// One document after the other, so that a long stream takes no more memory than its longest document does.
fn carry_out(
    text: &str,
    decide: impl Fn(&PodManifest<'_, '_>) -> (InjectOutcome, Vec<String>, InjectIntent),
) -> Result<InjectReport, MalformedYaml> {
    let mut report = InjectReport { text: String::with_capacity(text.len()), objects: Vec::new() };
    for (lines_before, document) in documents(text) {
        let done = carry_out_one(document, &decide);
        let InjectReport { text, mut objects } =
            done.map_err(|wrong| MalformedYaml { line: wrong.line + lines_before, ..wrong })?;
        objects.iter_mut().for_each(|treated| treated.object.line += lines_before);
        report.text.push_str(&text);
        report.objects.append(&mut objects);
    }
    Ok(report)
}

fn carry_out_one(
    text: &str,
    decide: impl Fn(&PodManifest<'_, '_>) -> (InjectOutcome, Vec<String>, InjectIntent),
) -> Result<InjectReport, MalformedYaml> {
    let parsed = yaml::parse(text)?;
    let documents = resolved(&parsed);
    let (mut objects, mut wishes) = (Vec::new(), Vec::new());
    for found in find(&documents) {
        let (object, (outcome, notes, wish)) = match found {
            Ok(workload) => (workload.object.clone(), decide(&workload)),
            Err(UnreachablePod { object, why }) => {
                let skipped = || InjectOutcome::Skipped("it has no pod spec: a patch of something else?".to_owned());
                (object, (why.map_or_else(skipped, InjectOutcome::Refused), Vec::new(), InjectIntent::Leave))
            }
        };
        objects.push(TreatedObject { object, outcome, notes });
        wishes.push(wish);
    }
    // Twice as many each time, so that one bad object among many does not cost as many attempts as there are.
    let mut given_up = 1;
    loop {
        let failed = match edit(text, &wishes) {
            Ok(text) => return Ok(InjectReport { text, objects }),
            Err(EditFailure::At(failed)) => failed,
            Err(EditFailure::Somewhere) => {
                let wanted = wishes.iter().enumerate().filter(|(_, wish)| !wish.is_none());
                let first = wanted.take(given_up).map(|(at, _)| (at, insert::UNUSUAL.to_owned())).collect();
                given_up *= 2;
                first
            }
        };
        for (at, why) in failed {
            if let (Some(object), Some(wish)) = (objects.get_mut(at), wishes.get_mut(at)) {
                object.outcome = InjectOutcome::Refused(why);
                *wish = InjectIntent::Leave;
            }
        }
    }
}

fn resolved<'n, 'a>(parsed: &'n [ParsedDocument<'a>]) -> Vec<YamlDocument<'n, 'a>> {
    parsed.iter().map(ParsedDocument::document).collect()
}

/// The workloads of all documents.
fn find<'n, 'a>(documents: &'n [YamlDocument<'n, 'a>]) -> Vec<Result<PodManifest<'n, 'a>, UnreachablePod>> {
    documents.iter().flat_map(|document| workload::find(document)).collect()
}

/// The text with every wish fulfilled: what was ours goes, then the new comes, then it is seen whether that is so.
fn edit(text: &str, wishes: &[InjectIntent]) -> Result<String, EditFailure> {
    if wishes.iter().all(InjectIntent::is_none) {
        return Ok(text.to_owned());
    }
    let bare = each(text, wishes, |text, workload, wish| match wish {
        InjectIntent::Leave => Ok(Vec::new()),
        InjectIntent::Have(sidecar) if sidecar.replaces => remove::remove_with_predecessors(text, workload),
        InjectIntent::Have(_) | InjectIntent::Lose => remove::remove(text, workload),
    })?;
    let full = each(&bare, wishes, |text, workload, wish| match wish {
        InjectIntent::Leave | InjectIntent::Lose => Ok(Vec::new()),
        InjectIntent::Have(sidecar) => insert::insert(text, workload, sidecar),
    })?;
    verify(wishes, &specs(text), &specs(&bare), &specs(&full))?;
    let undone = each(&full, wishes, |text, workload, wish| match wish {
        InjectIntent::Leave | InjectIntent::Lose => Ok(Vec::new()),
        InjectIntent::Have(_) => remove::remove(text, workload),
    })?;
    if undone == bare { Ok(full) } else { Err(EditFailure::Somewhere) }
}

/// The text with the edits of every workload.
fn each(
    text: &str,
    wishes: &[InjectIntent],
    edits: impl Fn(&str, &PodManifest<'_, '_>, &InjectIntent) -> Result<Vec<Edit>, String>,
) -> Result<String, EditFailure> {
    let parsed = yaml::parse(text).map_err(|_| EditFailure::Somewhere)?;
    let (mut all, mut failed) = (Vec::new(), Vec::new());
    for (at, (found, wish)) in find(&resolved(&parsed)).iter().zip(wishes).enumerate() {
        match found.as_ref().map(|workload| edits(text, workload, wish)) {
            Ok(Ok(edits)) => all.extend(edits),
            Ok(Err(why)) => failed.push((at, why)),
            Err(_) => {}
        }
    }
    if failed.is_empty() { apply(text, all).ok_or(EditFailure::Somewhere) } else { Err(EditFailure::At(failed)) }
}

/// The spec of every workload's pod.
fn specs(text: &str) -> Vec<Value> {
    let parsed = yaml::parse(text).unwrap_or_default();
    let spec = |found: Result<PodManifest<'_, '_>, UnreachablePod>| found.map_or(Value::Null, |workload| workload.spec);
    find(&resolved(&parsed)).into_iter().map(spec).collect()
}

/// Whether every pod became what it should and nothing else: as it was, bare of the sidecar, and with it.
fn verify(wishes: &[InjectIntent], was: &[Value], bare: &[Value], full: &[Value]) -> Result<(), EditFailure> {
    if [was.len(), bare.len(), full.len()] != [wishes.len(); 3] {
        return Err(EditFailure::Somewhere);
    }
    let mut failed = Vec::new();
    for (at, (wish, ((was, bare), full))) in wishes.iter().zip(was.iter().zip(bare).zip(full)).enumerate() {
        let right = match wish {
            InjectIntent::Leave => was == bare && bare == full,
            InjectIntent::Lose => patch::without(was) == patch::without(bare) && bare == full,
            InjectIntent::Have(sidecar) => {
                let kept = if sidecar.replaces { patch::without_predecessors(was) } else { patch::without(was) };
                kept == patch::without(bare) && patch::with(bare, sidecar) == *full
            }
        };
        match wish {
            _ if right => {}
            // An edit of another one did that.
            InjectIntent::Leave => return Err(EditFailure::Somewhere),
            InjectIntent::Have(_) | InjectIntent::Lose => failed.push((at, insert::UNUSUAL.to_owned())),
        }
    }
    if failed.is_empty() { Ok(()) } else { Err(EditFailure::At(failed)) }
}

impl InjectIntent {
    fn is_none(&self) -> bool {
        matches!(self, Self::Leave)
    }
}
