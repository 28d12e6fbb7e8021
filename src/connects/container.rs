//! The container of a process, by the names of its control group. Asks no one.
//!
//! Runtimes name the group of a container after its id, 64 hexadecimal digits: `cri-containerd-<id>.scope`,
//! `docker-<id>.scope`, or the bare id. The kubelet names the group around it after the pod's uid.

use compact_str::CompactString;

use crate::record::ProcessContainer;

/// Digits of a container's id.
const ID: usize = 64;

/// What runtimes write before the id, under systemd.
const RUNTIMES: [(&str, &str); 5] = [
    ("cri-containerd-", "containerd"),
    ("docker-", "docker"),
    ("crio-", "cri-o"),
    ("libpod-", "podman"),
    ("nerdctl-", "containerd"),
];

/// The container that the innermost of these groups belongs to; `groups` begins with the innermost.
pub(super) fn of_groups(groups: &[&[u8]]) -> Option<ProcessContainer> {
    let names = || groups.iter().filter_map(|name| std::str::from_utf8(name).ok());
    let (place, (id, prefix)) = names().enumerate().find_map(|(place, name)| Some((place, id_in(name)?)))?;
    let by_prefix = RUNTIMES.iter().find(|(before, _)| *before == prefix).map(|(_, runtime)| *runtime);
    // With cgroupfs Docker's parent group says who it is.
    let by_parent = || names().nth(place + 1).filter(|parent| *parent == "docker");
    Some(ProcessContainer {
        id: id.into(),
        name: None,
        runtime: by_prefix.or_else(by_parent).map(CompactString::from),
        pod_uid: names().skip(place + 1).find_map(pod_uid),
    })
}

/// The id in the name of a group, and what is before it.
fn id_in(name: &str) -> Option<(&str, &str)> {
    // CRI-O has a group for the process that watches a container.
    if name.starts_with("crio-conmon-") || name.starts_with("libpod-conmon-") {
        return None;
    }
    // containerd with its default of old: `pod…slice:cri-containerd:<id>`.
    let name = name.rsplit_once(':').map_or(name, |(_, last)| last);
    let bare = name.strip_suffix(".scope").unwrap_or(name);
    let (prefix, id) = bare.split_at_checked(bare.len().checked_sub(ID)?)?;
    let is_id = id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    (is_id && (prefix.is_empty() || prefix.ends_with('-'))).then_some((id, prefix))
}

/// The uid in the name of a pod's group: `pod<uid>`, `kubepods-burstable-pod<uid with _>.slice`.
fn pod_uid(name: &str) -> Option<CompactString> {
    let name = name.strip_suffix(".slice").unwrap_or(name);
    let (before, uid) = name.rsplit_once("pod")?;
    let is_uid = uid.len() >= 32 && uid.bytes().all(|byte| byte.is_ascii_hexdigit() || matches!(byte, b'-' | b'_'));
    let is_pods = before.is_empty() || before.ends_with('-');
    (is_uid && is_pods).then(|| uid.chars().map(|c| if c == '_' { '-' } else { c }).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runtimes_name_their_groups_in_many_ways() {
        let id = "0123456789abcdef".repeat(4);
        let uid = "0a1b2c3d-1111-2222-3333-444455556666";
        let slice = format!("kubepods-burstable-pod{}.slice", uid.replace('-', "_"));
        let cases: &[(&[String], Option<&str>, Option<&str>)] = &[
            (&[format!("cri-containerd-{id}.scope"), slice.clone()], Some("containerd"), Some(uid)),
            (&[format!("crio-{id}.scope"), slice.clone()], Some("cri-o"), Some(uid)),
            (&["init.scope".into(), format!("docker-{id}.scope"), "system.slice".into()], Some("docker"), None),
            (&[id.clone(), format!("pod{uid}"), "burstable".into(), "kubepods".into()], None, Some(uid)),
            (&[id.clone(), "docker".into()], Some("docker"), None),
            (&[format!("{slice}:cri-containerd:{id}"), "system.slice".into()], None, None),
            (&["container".into(), format!("libpod-{id}.scope")], Some("podman"), None),
        ];
        for (groups, runtime, pod) in cases {
            let groups: Vec<_> = groups.iter().map(|name| name.as_bytes()).collect();
            let found = of_groups(&groups).unwrap();
            assert_eq!((&*found.id, found.runtime.as_deref(), found.pod_uid.as_deref()), (&*id, *runtime, *pod));
        }
    }

    #[test]
    fn what_is_no_container_has_none() {
        let id = "0123456789abcdef".repeat(4);
        for name in [
            "",
            "session-3.scope",
            "user.slice",
            "podman.service",
            &id[1..],
            &format!("crio-conmon-{id}.scope"),
            &format!("x{id}"),
        ] {
            assert_eq!(of_groups(&[name.as_bytes()]), None, "{name}");
        }
        assert_eq!(of_groups(&[b"\xff"]), None);
    }
}
