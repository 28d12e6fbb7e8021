//! Reads settings from outside: the environment, files with secrets, the memory limit of the cgroup.
//!
//! Judges no value: `settings` does.

use std::fs::File;
use std::io::Read;
use std::path::{Component, Path, PathBuf};

use crate::settings::{MemoryBounds, ResolvedSettings, SettingNote, SettingPairs, Settings, WrongValues, resolve};

/// Longest secret read from a file; a certificate chain fits, a disk image does not.
const LONGEST_SECRET: u64 = 1 << 20;

/// A memory limit from here on is cgroup v1's way to say that there is none.
const NO_LIMIT: u64 = 1 << 60;

/// What one start of podtap runs with.
#[derive(Debug)]
pub struct RunConfig {
    /// The settings.
    pub settings: Settings,
    /// The limits that follow the memory limit, as numbers.
    pub bounds: MemoryBounds,
    /// What is worth saying about the settings.
    pub notes: Vec<SettingNote>,
}

impl RunConfig {
    /// The settings and what follows from this machine, unless some are wrong.
    pub fn of(resolution: ResolvedSettings) -> Result<Self, WrongValues> {
        let settings = resolution.outcome?;
        let bounds = MemoryBounds::of(&settings, memory_limit());
        Ok(Self { settings, bounds, notes: resolution.notes })
    }
}

/// Every setting's text and origin, also when some are wrong; `flags` are named as the settings are.
pub fn look(flags: &SettingPairs) -> ResolvedSettings {
    resolve(&environment(), flags, read_secret)
}

/// The environment; what is not UTF-8 in it is replaced (`settings` refuses such values).
fn environment() -> SettingPairs {
    let lossy = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
    std::env::vars_os().map(|(name, value)| (lossy(name), lossy(value))).collect()
}

/// What a file that a setting names holds.
pub fn read_secret(path: &str) -> Result<String, String> {
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|error| error.to_string())?;
    file.take(LONGEST_SECRET + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if bytes.len() as u64 > LONGEST_SECRET {
        return Err("longer than 1 MiB".to_owned());
    }
    String::from_utf8(bytes).map_err(|_| "not UTF-8".to_owned())
}

/// The memory this process may use, in bytes: the least of all limits on the way up its cgroups.
pub fn memory_limit() -> Option<u64> {
    let groups = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    memory_limit_in(&groups, Path::new("/sys/fs/cgroup"))
}

/// `groups` is the content of `/proc/self/cgroup`, `mount` where the cgroups are.
fn memory_limit_in(groups: &str, mount: &Path) -> Option<u64> {
    let unified = groups.lines().find_map(|line| line.strip_prefix("0::"));
    let controller = groups.lines().find_map(|line| {
        let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
        controllers.split(',').any(|controller| controller == "memory").then_some(path)
    });
    let second = unified.and_then(|path| least_limit(mount, path, "memory.max"));
    let first = controller.and_then(|path| least_limit(&mount.join("memory"), path, "memory.limit_in_bytes"));
    [second, first].into_iter().flatten().min()
}

/// The least limit of `path` and all above it. In a container the mount may show the container's own group as its root,
/// while `path` is the host's. What does not exist is passed over.
fn least_limit(mount: &Path, path: &str, file: &str) -> Option<u64> {
    let inside: PathBuf = Path::new(path).components().filter(|part| matches!(part, Component::Normal(_))).collect();
    let limits = inside.ancestors().filter_map(|group| {
        let text = std::fs::read_to_string(mount.join(group).join(file)).ok()?;
        text.trim().parse::<u64>().ok().filter(|limit| *limit < NO_LIMIT)
    });
    limits.min()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Its own directory with these files in it, gone when dropped.
    struct Tree(PathBuf);

    impl Tree {
        fn new(name: &str, files: &[(&str, &str)]) -> Self {
            let root = std::env::temp_dir().join(format!("podtap-config-{name}-{}", std::process::id()));
            for (path, content) in files {
                let path = root.join(path);
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(path, content).unwrap();
            }
            Self(root)
        }
    }

    impl Drop for Tree {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn the_least_limit_on_the_way_up_counts() {
        let tree = Tree::new(
            "v2",
            &[("pods/memory.max", "67108864\n"), ("pods/a/memory.max", "max\n"), ("pods/b/memory.max", "33554432\n")],
        );
        assert_eq!(memory_limit_in("0::/pods/a", &tree.0), Some(64 << 20));
        assert_eq!(memory_limit_in("0::/pods/b", &tree.0), Some(32 << 20));
        assert_eq!(memory_limit_in("0::/", &tree.0), None);
        assert_eq!(memory_limit_in("0::/../pods/b", &tree.0), Some(32 << 20));
        assert_eq!(memory_limit_in("nonsense\n::\n", &tree.0), None);
    }

    #[test]
    fn a_path_of_the_host_falls_back_to_the_root_of_the_mount() {
        let tree = Tree::new("root", &[("memory.max", "1000000\n")]);
        assert_eq!(memory_limit_in("0::/kubepods/pod1/c1", &tree.0), Some(1_000_000));
    }

    #[test]
    fn cgroup_v1_is_read_where_it_has_the_memory_controller() {
        let tree = Tree::new(
            "v1",
            &[
                ("memory/memory.limit_in_bytes", "9223372036854771712\n"),
                ("memory/c1/memory.limit_in_bytes", "5000000\n"),
            ],
        );
        let groups = "5:cpu:/\n4:cpuset,memory:/c1\n0::/\n";
        assert_eq!(memory_limit_in(groups, &tree.0), Some(5_000_000));
        assert_eq!(memory_limit_in("4:memory:/\n0::/\n", &tree.0), None);
    }

    #[test]
    fn a_secret_must_be_text_of_some_length() {
        let tree = Tree::new("secret", &[("good", "s3cret\n"), ("long", &"x".repeat((1 << 20) + 1))]);
        let read = |name: &str| read_secret(tree.0.join(name).to_str().unwrap());
        assert_eq!(read("good"), Ok("s3cret\n".to_owned()));
        assert_eq!(read("long"), Err("longer than 1 MiB".to_owned()));
        assert!(read("absent").unwrap_err().contains("No such file"));
    }
}
