//! `podtap inject` and `podtap uninject`: a sidecar put into manifests, and taken out again. Text in, text out.
//!
//! Documents are edited by byte span, never written anew: comments, quotes, anchors and indentation stay as they were,
//! and `uninject` gives back what `inject` was given, byte for byte. Every edit is checked against what it should mean
//! before anyone sees it. Reads no file, and knows no cluster: `podtap webhook` asks `plan` the same questions.

mod insert;
mod lines;
mod patch;
mod plan;
mod remove;
mod sidecar;
#[cfg(test)]
mod tests;
mod tree;
mod workload;
mod yaml;

use serde_json::Value;

pub use self::sidecar::{Options, Resources};
pub use self::workload::Object;
pub use self::yaml::Malformed;

pub(crate) use self::patch::operations;
pub(crate) use self::plan::{Addition, Plan, Pod, check, own_place, plan};

use self::lines::{Edit, apply};
use self::sidecar::Sidecar;
use self::workload::{Unreachable, Workload};
use self::yaml::Document;

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

/// Why an edit cannot be made: the object it fails at.
struct Failed {
    at: usize,
    why: String,
}

/// Gives every pod in `text` the sidecar.
pub fn inject(text: &str, options: &Options) -> Result<Report, Malformed> {
    carry_out(text, |workload| match plan(workload.pod(), options) {
        Plan::Skip(reason) => (Outcome::Skipped(reason), Vec::new(), Wish::Leave),
        Plan::Refuse(reason) => (Outcome::Refused(reason), Vec::new(), Wish::Leave),
        Plan::Add(addition) if !addition.complaints.is_empty() => {
            (Outcome::Refused(addition.complaints.join("; ")), Vec::new(), Wish::Leave)
        }
        Plan::Add(Addition { sidecar, notes, .. }) => {
            let (outcome, wish) = match own_place(&workload.spec) {
                None => (Outcome::Injected, Wish::Have(sidecar)),
                Some(_) if patch::has(&workload.spec, &sidecar) => (Outcome::Unchanged, Wish::Leave),
                Some(_) => (Outcome::Updated, Wish::Have(sidecar)),
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

fn carry_out(
    text: &str,
    decide: impl Fn(&Workload<'_, '_>) -> (Outcome, Vec<String>, Wish),
) -> Result<Report, Malformed> {
    let documents = yaml::parse(text)?;
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
    loop {
        let Failed { at, why } = match edit(text, &wishes) {
            Ok(text) => return Ok(Report { text, objects }),
            Err(failed) => failed,
        };
        if let (Some(object), Some(wish)) = (objects.get_mut(at), wishes.get_mut(at)) {
            object.outcome = Outcome::Refused(why);
            *wish = Wish::Leave;
        }
    }
}

/// The workloads of all documents.
fn find<'n, 'a>(documents: &'n [Document<'a>]) -> Vec<Result<Workload<'n, 'a>, Unreachable>> {
    documents.iter().flat_map(|document| workload::find(document)).collect()
}

/// The text with every wish fulfilled: what was ours goes, then the new comes, then it is seen whether that is so.
fn edit(text: &str, wishes: &[Wish]) -> Result<String, Failed> {
    if wishes.iter().all(Wish::is_none) {
        return Ok(text.to_owned());
    }
    let bare = each(text, wishes, |text, workload, wish| match wish {
        Wish::Leave => Ok(Vec::new()),
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
    if undone == bare { Ok(full) } else { Err(Failed::somewhere(wishes)) }
}

/// The text with the edits of every workload.
fn each(
    text: &str,
    wishes: &[Wish],
    edits: impl Fn(&str, &Workload<'_, '_>, &Wish) -> Result<Vec<Edit>, String>,
) -> Result<String, Failed> {
    let documents = yaml::parse(text).map_err(|_| Failed::somewhere(wishes))?;
    let mut all = Vec::new();
    for (at, (found, wish)) in find(&documents).iter().zip(wishes).enumerate() {
        if let Ok(workload) = found {
            all.extend(edits(text, workload, wish).map_err(|why| Failed { at, why })?);
        }
    }
    apply(text, all).ok_or_else(|| Failed::somewhere(wishes))
}

/// The spec of every workload's pod.
fn specs(text: &str) -> Vec<Value> {
    let documents = yaml::parse(text).unwrap_or_default();
    let spec = |found: Result<Workload<'_, '_>, Unreachable>| found.map_or(Value::Null, |workload| workload.spec);
    find(&documents).into_iter().map(spec).collect()
}

/// Whether every pod became what it should and nothing else: as it was, bare of the sidecar, and with it.
fn verify(wishes: &[Wish], was: &[Value], bare: &[Value], full: &[Value]) -> Result<(), Failed> {
    if [was.len(), bare.len(), full.len()] != [wishes.len(); 3] {
        return Err(Failed::somewhere(wishes));
    }
    for (at, (wish, ((was, bare), full))) in wishes.iter().zip(was.iter().zip(bare).zip(full)).enumerate() {
        let right = match wish {
            Wish::Leave => was == bare && bare == full,
            Wish::Lose => patch::without(was) == patch::without(bare) && bare == full,
            Wish::Have(sidecar) => patch::without(was) == patch::without(bare) && patch::with(bare, sidecar) == *full,
        };
        if !right {
            let at = if wish.is_none() { Failed::somewhere(wishes).at } else { at };
            return Err(Failed { at, why: insert::UNUSUAL.to_owned() });
        }
    }
    Ok(())
}

impl Wish {
    fn is_none(&self) -> bool {
        matches!(self, Self::Leave)
    }
}

impl Failed {
    /// Something is wrong that cannot be told apart: the first to be edited is given up, then the next.
    fn somewhere(wishes: &[Wish]) -> Self {
        let at = wishes.iter().position(|wish| !wish.is_none()).unwrap_or_default();
        Self { at, why: insert::UNUSUAL.to_owned() }
    }
}
