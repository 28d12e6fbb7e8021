//! What an object of the API says: names, times, addresses. Knows no cluster.

use std::net::IpAddr;

use compact_str::CompactString;
use ring::digest::{Context, SHA256};

use super::Uid;
use crate::flow::Timestamp;
use crate::record::{LabelSet, Workload};
use crate::workload::kubernetes::objects::{ObjectMeta, ObjectStatus};

/// Maximum labels of one object, and their bytes: every record carries them.
const MAX_LABELS: usize = 64;
const MAX_LABEL_BYTES: usize = 4096;
pub(super) fn named(meta: ObjectMeta, kind: &'static str) -> Workload {
    let ObjectMeta { name, namespace, labels, .. } = meta;
    Workload {
        namespace,
        name: Some(name),
        kind: Some(CompactString::const_new(kind)),
        labels: bounded(labels.unwrap_or_default()),
        ..Workload::default()
    }
}

/// As many labels as a record may carry, in the order of their names.
fn bounded(labels: std::collections::BTreeMap<CompactString, CompactString>) -> LabelSet {
    let mut left = MAX_LABEL_BYTES;
    let fits = labels.into_iter().take(MAX_LABELS).filter(|(name, value)| {
        let fits = left.checked_sub(name.len() + value.len());
        left = fits.unwrap_or(left);
        fits.is_some()
    });
    fits.collect()
}

/// Name and id of each container of a Pod that runs or has run.
pub(super) fn named_containers(status: &ObjectStatus) -> impl Iterator<Item = (&str, &str)> {
    let all = [&status.container_statuses, &status.init_container_statuses, &status.ephemeral_container_statuses];
    let all = all.into_iter().flat_map(|some| some.iter().flatten());
    all.filter_map(|container| Some((container.name.as_str(), container.id.as_deref()?)))
}

/// When the last container ended, to the end of that second, where all have.
pub(super) fn ended(status: Option<&ObjectStatus>) -> Option<Timestamp> {
    let containers = status?.container_statuses.as_deref().filter(|all| !all.is_empty())?;
    let ends = containers.iter().map(|container| container.state.as_ref()?.terminated.as_ref()?.finished_at.as_ref());
    let ends: Option<Vec<_>> = ends.map(time).collect();
    ends?.into_iter().max().map(|last| last.plus(1_000_000_000))
}

pub(super) fn time(text: Option<&CompactString>) -> Option<Timestamp> {
    let time: jiff::Timestamp = text?.parse().ok()?;
    i64::try_from(time.as_nanosecond()).ok().map(Timestamp)
}

pub(super) fn parsed(ip: &str) -> Option<IpAddr> {
    ip.parse::<IpAddr>().ok().map(|ip| ip.to_canonical())
}

pub(super) fn dedup(ips: &mut Vec<IpAddr>) {
    ips.sort_unstable();
    ips.dedup();
}

/// The hexadecimal digits of a UUID are a number; anything else is hashed.
pub(super) fn uid(meta: &ObjectMeta) -> Uid {
    let digits = meta.uid.bytes().filter(|byte| *byte != b'-');
    let number = digits.clone().try_fold(0u128, |sum, byte| {
        let digit = char::from(byte).to_digit(16)?;
        sum.checked_mul(16)?.checked_add(digit.into())
    });
    if let (32, Some(number)) = (digits.count(), number) {
        return number;
    }
    let mut hash = Context::new(&SHA256);
    for part in [&meta.uid, meta.namespace.as_ref().unwrap_or(&CompactString::const_new("")), &meta.name] {
        hash.update(&(part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    let digest = hash.finish();
    digest.as_ref().first_chunk::<16>().map_or(0, |head| u128::from_be_bytes(*head))
}
