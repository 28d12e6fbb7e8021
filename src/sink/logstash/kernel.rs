//! What this machine's kernel knows about a TCP connection and the standard library does not ask for. Three questions, no
//! more.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Bytes written that the other side's kernel has not acknowledged yet.
pub(super) fn unacknowledged(socket: BorrowedFd<'_>) -> io::Result<usize> {
    let mut bytes: libc::c_int = 0;
    #[allow(unsafe_code, reason = "no safe interface has this ioctl")]
    // SAFETY: the descriptor is borrowed, so it is open; SIOCOUTQ (tcp(7)) writes one int.
    let outcome = unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    if outcome < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(usize::try_from(bytes).unwrap_or(0))
}

/// Whether the other side's kernel answers, though its program may not read. Nothing was repeated in vain, and if the
/// window is closed, the questions whether it is open again (RFC 9293 §3.8.6.1) are answered.
pub(super) fn is_answering(socket: BorrowedFd<'_>) -> io::Result<bool> {
    let known = known(socket)?;
    // One question may be under way.
    Ok(known.tcpi_retransmits == 0 && known.tcpi_probes <= 1)
}

/// Whether the connection is no more, reset for instance. Behind the other side's end, reading shows nothing else, and
/// what was not acknowledged stays so.
pub(super) fn is_gone(socket: BorrowedFd<'_>) -> io::Result<bool> {
    /// Of `enum` in include/net/tcp_states.h.
    const TCP_CLOSE: u8 = 7;
    Ok(known(socket)?.tcpi_state == TCP_CLOSE)
}

fn known(socket: BorrowedFd<'_>) -> io::Result<libc::tcp_info> {
    #[allow(unsafe_code, reason = "no safe interface has this socket option")]
    // SAFETY: all its fields are integers, for which zero is a value.
    let mut known: libc::tcp_info = unsafe { std::mem::zeroed() };
    let mut length = libc::socklen_t::try_from(size_of::<libc::tcp_info>()).unwrap_or(0);
    #[allow(unsafe_code, reason = "no safe interface has this socket option")]
    // SAFETY: the descriptor is borrowed, so it is open; the kernel writes at most `length` bytes, the size of `known`.
    let outcome = unsafe {
        let known = (&raw mut known).cast::<libc::c_void>();
        libc::getsockopt(socket.as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_INFO, known, &raw mut length)
    };
    if outcome < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(known)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{Shutdown, TcpListener, TcpStream};
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn bytes_that_the_other_side_has_no_room_for_are_known_and_that_it_is_alive_too() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        client.set_nonblocking(true).unwrap();
        assert_eq!(unacknowledged(client.as_fd()).unwrap(), 0);
        let mut written = 0;
        while let Ok(n) = client.write(&[0; 1 << 16]) {
            written += n;
        }
        assert!(unacknowledged(client.as_fd()).unwrap() > 0);
        assert!(is_answering(client.as_fd()).unwrap() && !is_gone(client.as_fd()).unwrap());
        let mut room = vec![0; written];
        server.read_exact(&mut room).unwrap();
        while unacknowledged(client.as_fd()).unwrap() > 0 {
            std::thread::yield_now();
        }
        client.write_all(b"x").unwrap();
        server.shutdown(Shutdown::Write).unwrap();
        // With a byte unread that is a reset.
        drop(server);
        while !is_gone(client.as_fd()).unwrap() {
            std::thread::yield_now();
        }
        let plain = std::fs::File::open("/dev/null").unwrap();
        assert!(unacknowledged(plain.as_fd()).is_err() && is_answering(plain.as_fd()).is_err());
    }
}
