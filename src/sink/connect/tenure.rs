//! How long something that was made from settings and files may be used: a connection, a client. Owns when it is over; it
//! makes nothing, and reads no file's content.

use std::hash::{BuildHasher, RandomState};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::Duration;

use tokio::time::Instant;

/// How often files are looked at. A look is one system call for each.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// What is known of a file without reading it. A symbolic link is followed: Kubernetes renews a Secret's files by a link to
/// another directory.
type CertificateStamp = Option<(u64, u64, i64, i64, u64)>;

/// Ends with age (CONNECTION_MAX_AGE), so that new servers behind a name get their share. It also ends with a change of
/// the files that hold certificates and credentials.
#[derive(Debug, Default)]
pub(in crate::sink) struct ConnectionTenure {
    max_age: Option<Duration>,
    files: Vec<PathBuf>,
    seen: Vec<CertificateStamp>,
    ends: Option<Instant>,
    look_at: Option<Instant>,
}

impl ConnectionTenure {
    pub(in crate::sink) fn new(max_age: Option<Duration>, files: Vec<PathBuf>) -> Self {
        let seen = stamps(&files);
        Self { max_age, files, seen, ends: None, look_at: None }
    }

    /// Begins again. A quarter more or less, so that not all pods come at once.
    pub(in crate::sink) fn begin(&mut self) {
        self.seen = stamps(&self.files);
        self.ends = self.max_age.map(|age| {
            let age = u64::try_from(age.as_millis()).unwrap_or(u64::MAX / 2);
            Instant::now() + Duration::from_millis(age / 4 * 3 + random() % (age / 2).max(1))
        });
    }

    /// Whether it is over; then the next one is to begin.
    pub(in crate::sink) fn is_over(&mut self) -> bool {
        let now = Instant::now();
        if self.ends.is_some_and(|ends| now >= ends) {
            return true;
        }
        if self.files.is_empty() || self.look_at.is_some_and(|then| now < then) {
            return false;
        }
        self.look_at = Some(now + LOOK_EVERY);
        self.have_files_changed()
    }

    /// The same without waiting for the next look: what was made of them did not work.
    pub(in crate::sink) fn have_files_changed(&self) -> bool {
        stamps(&self.files) != self.seen
    }
}

fn stamps(files: &[PathBuf]) -> Vec<CertificateStamp> {
    let stamp = |file: &PathBuf| {
        let found = std::fs::metadata(file).ok()?;
        Some((found.dev(), found.ino(), found.mtime(), found.mtime_nsec(), found.len()))
    };
    files.iter().map(stamp).collect()
}

/// The position of one of `many`, by a random number.
pub(in crate::sink) fn any_of(many: usize, random: u64) -> usize {
    usize::try_from(random >> 32).unwrap_or_default() % many.max(1)
}

/// The standard library's own seeds are random enough to keep pods out of step.
pub(in crate::sink) fn random() -> u64 {
    RandomState::new().hash_one(0u8)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::super::super::spool::tests::Dir;
    use super::*;

    #[test]
    fn every_position_is_as_likely_as_another() {
        for many in 1..=7 {
            let mut found = vec![0; many];
            (0..many as u64 * 100).for_each(|high| found[any_of(many, high << 32 | 5)] += 1);
            assert_eq!(found, vec![100; many]);
        }
        assert_eq!(any_of(0, u64::MAX), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn it_ends_with_age_give_or_take_a_quarter_and_without_one_never() {
        let age = Duration::from_secs(100);
        for _ in 0..50 {
            let mut tenure = ConnectionTenure::new(Some(age), Vec::new());
            assert!(!tenure.is_over(), "before it began");
            tenure.begin();
            tokio::time::advance(Duration::from_secs(74)).await;
            assert!(!tenure.is_over());
            tokio::time::advance(Duration::from_secs(52)).await;
            assert!(tenure.is_over());
            tenure.begin();
            assert!(!tenure.is_over());
        }
        let mut endless = ConnectionTenure::default();
        endless.begin();
        tokio::time::advance(age * 1000).await;
        assert!(!endless.is_over());
    }

    /// As Kubernetes does it: `token` → `..data/token`, `..data` → a directory that is replaced.
    #[tokio::test(start_paused = true)]
    async fn a_file_that_is_replaced_written_or_removed_ends_it() {
        let dir = Dir::new();
        for (version, text) in [("v1", "same"), ("v2", "same")] {
            fs::create_dir(dir.0.join(version)).unwrap();
            fs::write(dir.0.join(version).join("token"), text).unwrap();
        }
        symlink("v1", dir.0.join("..data")).unwrap();
        symlink("..data/token", dir.0.join("token")).unwrap();
        let file = dir.0.join("token");
        let mut tenure = ConnectionTenure::new(None, vec![file.clone()]);
        tenure.begin();
        let mut expect = |over: bool, what: &str| {
            assert_eq!(tenure.is_over(), over, "{what}");
            tenure.begin();
        };
        expect(false, "as it was");
        tokio::time::advance(LOOK_EVERY).await;
        symlink("v2", dir.0.join("new")).unwrap();
        fs::rename(dir.0.join("new"), dir.0.join("..data")).unwrap();
        expect(true, "another directory");
        fs::write(&file, "longer text").unwrap();
        expect(false, "not looked at yet");
        fs::write(&file, "even longer text").unwrap();
        tokio::time::advance(LOOK_EVERY).await;
        expect(true, "written");
        tokio::time::advance(LOOK_EVERY).await;
        expect(false, "as it is now");
        fs::remove_file(dir.0.join("v2/token")).unwrap();
        tokio::time::advance(LOOK_EVERY).await;
        expect(true, "removed");
    }
}
