//! Network namespaces for tests that need root: one per thread, so that the other tests keep theirs.

use std::process::Command;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::Duration;

/// No test takes so long, whatever the machine is busy with; one that does waits in vain, for a connection, say.
const HANGS: Duration = Duration::from_secs(20 * 60);

/// Runs `test` on a thread in a separate network namespace, with loopback up. Threads it starts share it, and it
/// ends with the last of them. Where that is not possible, says so and passes.
pub(crate) fn in_a_namespace(test: impl FnOnce() + Send + 'static) {
    let (running, ended) = sync_channel::<()>(0);
    let thread = std::thread::spawn(move || {
        let _dropped_at_the_end = running;
        match enter() {
            Ok(()) => test(),
            Err(reason) => eprintln!("SKIPPED: needs a network namespace (root, and ip(8) of iproute2): {reason}"),
        }
    });
    assert_eq!(ended.recv_timeout(HANGS), Err(RecvTimeoutError::Disconnected), "the test hangs");
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
}

/// ip(8) in the namespace of this thread.
pub(crate) fn ip(arguments: &str) {
    let status = Command::new("ip").args(arguments.split_whitespace()).status().unwrap();
    assert!(status.success(), "ip {arguments}");
}

/// Puts this thread into a separate network namespace, with loopback up.
pub(crate) fn enter() -> Result<(), String> {
    #[allow(unsafe_code, reason = "std has no unshare(2)")]
    // SAFETY: takes no pointers; a new network namespace does not touch this thread's memory.
    let outcome = unsafe { libc::unshare(libc::CLONE_NEWNET) };
    if outcome != 0 {
        return Err(std::io::Error::last_os_error().to_string());
    }
    let up = Command::new("ip").args(["link", "set", "lo", "up"]).status().map_err(|error| error.to_string())?;
    if up.success() { Ok(()) } else { Err(format!("ip link set lo up: {up}")) }
}
