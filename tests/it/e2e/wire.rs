//! A wire between pod and peer that this process carries, packet by packet: two tun devices instead of a pair of
//! interfaces. What arrives carries nothing of where it came from. Keeps the order and loses nothing.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::AsRawFd;

use super::lab::{Lab, PEER, PEER_V6, POD, POD_V6};
use crate::namespace::ip;

pub(super) const TUN: &str = "/dev/net/tun";

/// Longer than any packet of these devices.
const LONGEST: usize = 2048;

/// Takes the place of `pod0`, with the same addresses; the device in the pod is called `wire`.
pub(super) struct Wire<'a>(&'a Lab);

impl<'a> Wire<'a> {
    /// None where the kernel has no such devices: says so.
    pub(super) fn between(lab: &'a Lab) -> Option<Self> {
        if let Err(error) = File::open(TUN) {
            eprintln!("SKIPPED: needs {TUN}: {error}");
            return None;
        }
        ip("link del pod0");
        let pod = device([POD, POD_V6]);
        let peer = lab.peer(|| device([PEER, PEER_V6]));
        carry(pod.try_clone().unwrap(), peer.try_clone().unwrap());
        carry(peer, pod);
        Some(Self(lab))
    }
}

impl Drop for Wire<'_> {
    fn drop(&mut self) {
        // Who reads them gets an error.
        self.0.peer(|| ip("link del wire"));
        ip("link del wire");
    }
}

fn carry(mut from: File, mut to: File) {
    std::thread::spawn(move || {
        let mut packet = [0; LONGEST];
        // A write fails where the other end is not up yet, or any more: so does a cable.
        while let Ok(length) = from.read(&mut packet) {
            let _ = to.write(&packet[..length]);
        }
    });
}

/// A tun device in the network namespace of this thread, for the wire.
fn device(addresses: [&str; 2]) -> File {
    let file = tun("wire");
    let [v4, v6] = addresses;
    ip(&format!("addr add {v4}/24 dev wire"));
    ip(&format!("addr add {v6}/64 dev wire nodad"));
    file
}

/// A tun device that is up: what is written to it arrives there as a packet. Needs `/dev/net/tun`.
pub(super) fn tun(name: &str) -> File {
    const TUNSETIFF: libc::c_ulong = 0x4004_54ca;
    let file = OpenOptions::new().read(true).write(true).open(TUN).unwrap();
    // struct ifreq: the name, then the flags IFF_TUN and IFF_NO_PI.
    let mut request = [0u8; 40];
    request[..name.len()].copy_from_slice(name.as_bytes());
    request[16..18].copy_from_slice(&0x1001u16.to_ne_bytes());
    #[allow(unsafe_code, reason = "std has no ioctl(2)")]
    // SAFETY: the descriptor is open, and the request is as long as a struct ifreq and lives for the whole call.
    let outcome = unsafe { libc::ioctl(file.as_raw_fd(), TUNSETIFF, request.as_mut_ptr()) };
    assert_eq!(outcome, 0, "{}", std::io::Error::last_os_error());
    ip(&format!("link set {name} up"));
    file
}
