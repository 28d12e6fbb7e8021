//! How much the file system of a directory holds. Knows nothing of what podtap puts there.

use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Bytes of the file system that `path`, or the nearest of its parents that exists, lies in. A size limit that only the
/// kubelet knows is not among them.
pub fn volume_bytes(path: &Path) -> io::Result<u64> {
    let existing = path.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
    let path = CString::new(existing.as_os_str().as_bytes())?;
    let mut found = std::mem::MaybeUninit::<libc::statvfs>::zeroed();
    #[allow(unsafe_code, reason = "std has no statvfs")]
    // SAFETY: `path` ends in a zero byte and `found` has the size the call writes to; zeroed, it is valid as it is.
    let (outcome, found) = unsafe { (libc::statvfs(path.as_ptr(), found.as_mut_ptr()), found.assume_init()) };
    if outcome != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(found.f_blocks.saturating_mul(found.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_is_not_there_yet_has_the_size_of_where_it_will_be() {
        let there = volume_bytes(Path::new("/")).unwrap();
        assert!(there > 1 << 20);
        assert_eq!(volume_bytes(Path::new("/no/such/directory")).unwrap(), there);
        assert!(volume_bytes(Path::new("/a\0b")).is_ok(), "the parent is looked at");
    }
}
