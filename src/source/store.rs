//! Cloud Foundry's store of containers as a file, read again when its version changes.
//!
//! Its writers lock it, so it is locked for reading. What it holds is known to `verdict::ContainerStore`.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::now;
use crate::verdict::ContainerStore;

/// How often the version is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Largest store read: some hundred thousand containers.
const LARGEST: u64 = 64 << 20;
/// Longest version read.
const LONGEST_VERSION: u64 = 64;

/// The file, and the version of it that was read last.
#[derive(Debug)]
pub struct StoreFile {
    path: PathBuf,
    version_path: PathBuf,
    version: Option<Vec<u8>>,
    looked: Option<Instant>,
    /// What was wrong when it was read last.
    trouble: Option<String>,
}

impl StoreFile {
    /// VERDICT_STORE; nothing is read yet.
    pub fn new(path: &Path) -> Self {
        let mut version_path = path.as_os_str().to_owned();
        version_path.push("_version");
        Self { path: path.to_owned(), version_path: version_path.into(), version: None, looked: None, trouble: None }
    }

    /// The store, where there is another version than was read before. Looks a few times a second at most.
    pub fn changed(&mut self) -> Option<ContainerStore> {
        if self.looked.is_some_and(|looked| looked.elapsed() < LOOK_EVERY) {
            return None;
        }
        self.looked = Some(now());
        // Without a version the file is read once.
        let version = read(&self.version_path, LONGEST_VERSION).unwrap_or_default();
        if self.version.as_ref() == Some(&version) {
            return None;
        }
        match self.read() {
            Ok(Some(store)) => {
                tracing::info!(addresses = store.len(), "VERDICT_STORE was read");
                (self.version, self.trouble) = (Some(version), None);
                Some(store)
            }
            // A writer has it: at the next look.
            Ok(None) => None,
            Err(error) => {
                if self.trouble.as_ref() != Some(&error) {
                    tracing::warn!(error, "VERDICT_STORE cannot be read; containers keep the names known before");
                }
                self.trouble = Some(error);
                None
            }
        }
    }

    fn read(&self) -> Result<Option<ContainerStore>, String> {
        let file = File::open(&self.path).map_err(|error| error.to_string())?;
        if !lock(&file) {
            return Ok(None);
        }
        let mut text = Vec::new();
        file.take(LARGEST).read_to_end(&mut text).map_err(|error| error.to_string())?;
        ContainerStore::parse(&text).map(Some)
    }
}

fn read(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    File::open(path)?.take(most).read_to_end(&mut text)?;
    Ok(text)
}

/// Until the file is closed. False where a writer has it.
fn lock(file: &File) -> bool {
    #[allow(unsafe_code, reason = "std locks files only since Rust 1.89")]
    // SAFETY: takes no pointers; the descriptor is open.
    let outcome = unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_SH | libc::LOCK_NB) };
    outcome == 0 || io::Error::last_os_error().kind() != io::ErrorKind::WouldBlock
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_read_again_when_its_version_changes_and_not_while_it_is_written() {
        let folder = std::env::temp_dir().join(format!("podtap-store-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("store.json");
        let write = |ips: &[&str], version: &str| {
            let entries: Vec<_> = ips.iter().map(|ip| format!(r#""{ip}": {{"ip": "{ip}"}}"#)).collect();
            std::fs::write(&path, format!("{{{}}}", entries.join(","))).unwrap();
            std::fs::write(folder.join("store.json_version"), version).unwrap();
        };
        let mut store = StoreFile::new(&path);
        let mut looked = || {
            store.looked = None;
            store.changed().map(|store| store.len())
        };
        assert_eq!(looked(), None);
        write(&["10.0.0.1"], "1");
        assert_eq!((looked(), looked()), (Some(1), None));
        write(&["10.0.0.1", "10.0.0.2"], "2");
        let writer = File::options().append(true).open(&path).unwrap();
        #[allow(unsafe_code, reason = "std locks files only since Rust 1.89")]
        // SAFETY: takes no pointers.
        let locked = unsafe { libc::flock(writer.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) };
        assert_eq!((locked, looked()), (0, None));
        drop(writer);
        assert_eq!((looked(), looked()), (Some(2), None));
        std::fs::write(&path, "not JSON").unwrap();
        std::fs::write(folder.join("store.json_version"), "3").unwrap();
        assert_eq!(looked(), None);
        write(&[], "3");
        assert_eq!(looked(), Some(0));
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
