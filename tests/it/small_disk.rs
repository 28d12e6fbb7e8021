//! A disk of 256 KiB in its own mount namespace. Where that is not possible, says so and passes. Needs root.

use std::ffi::CString;
use std::io;
use std::path::Path;

use crate::servers::Scratch;

/// Runs `test` on a thread that has the disk; its threads have it too.
pub(crate) fn on_a_small_disk(test: impl FnOnce(&Path) + Send + 'static) {
    let scratch = Scratch::new("small-disk");
    let directory = scratch.0.clone();
    std::thread::spawn(move || match mount_small(&directory) {
        Ok(()) => test(&directory),
        Err(error) => eprintln!("SKIPPED: needs a mount namespace (root): {error}"),
    })
    .join()
    .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
}

fn mount_small(directory: &Path) -> io::Result<()> {
    #[allow(unsafe_code, reason = "std has no unshare(2)")]
    // SAFETY: takes no pointers; its own mount namespace does not touch this thread's memory.
    if unsafe { libc::unshare(libc::CLONE_NEWNS) } != 0 {
        return Err(io::Error::last_os_error());
    }
    mount(Path::new("/"), libc::MS_REC | libc::MS_PRIVATE)?;
    mount(directory, 0)
}

/// A tmpfs, or other flags for what is mounted there.
pub(crate) fn mount(at: &Path, flags: libc::c_ulong) -> io::Result<()> {
    let at = CString::new(at.as_os_str().as_encoded_bytes())?;
    #[allow(unsafe_code, reason = "std has no mount(2)")]
    // SAFETY: all pointers are to NUL-terminated strings that live through the call.
    let outcome =
        unsafe { libc::mount(c"tmpfs".as_ptr(), at.as_ptr(), c"tmpfs".as_ptr(), flags, c"size=256k".as_ptr().cast()) };
    if outcome == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
