//! What is between a sink and its server: a TCP relay that can be made to misbehave. Owns the network's faults, the
//! same for every protocol; a server behind it only has to be a good one.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use socket2::Socket;

use super::Fault;
use crate::feed::wait_until;
use crate::servers::{bound, reserved};

/// A relay on its own port, which stays the same whatever happens.
pub(crate) struct Door {
    address: SocketAddr,
    /// Bound and never listening: no one else gets the port while it refuses.
    _reserved: Socket,
    backend: SocketAddr,
    open: Option<Open>,
}

enum Open {
    /// Takes connections.
    Relay(Relay),
    /// Listens with a queue that is full: anyone who comes now hears nothing.
    Full { _listener: Socket, _first: Option<TcpStream> },
}

struct Relay {
    over: Arc<AtomicBool>,
    live: Arc<Mutex<Vec<TcpStream>>>,
    thread: JoinHandle<()>,
}

impl Door {
    pub(crate) fn to(backend: SocketAddr) -> Self {
        let (address, _reserved) = reserved();
        let mut door = Self { address, _reserved, backend, open: None };
        door.set(Fault::Healthy);
        door
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends every connection and goes on like this.
    pub(crate) fn set(&mut self, fault: Fault) {
        self.close();
        self.open = match fault {
            Fault::Refuses => {
                // A child that another test has just forked may hold the listener for a moment.
                wait_until("refusals", || TcpStream::connect(self.address).is_err());
                None
            }
            Fault::NeverAccepts => Some(full(self.address)),
            Fault::Healthy
            | Fault::Hangs
            | Fault::ClosesMidBatch
            | Fault::LosesAnswers
            | Fault::ReadsSlowly
            | Fault::TalksNonsense
            | Fault::DiskFull => Some(Open::Relay(Relay::new(self.address, self.backend, fault))),
        };
    }

    fn close(&mut self) {
        if let Some(Open::Relay(relay)) = self.open.take() {
            relay.close(self.address);
        }
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.close();
    }
}

/// A child that another test has just forked holds an earlier listener until it becomes another program.
fn listening(address: SocketAddr, backlog: i32) -> Socket {
    let mut socket = None;
    wait_until("the port to be free", || {
        socket = bound(address).and_then(|socket| socket.listen(backlog).map(|()| socket)).ok();
        socket.is_some()
    });
    socket.unwrap()
}

/// A queue for one connection, and that connection: Linux drops the SYN of the next one. A sink may have been first.
fn full(address: SocketAddr) -> Open {
    let listener = listening(address, 0);
    let first = TcpStream::connect_timeout(&address, Duration::from_secs(1)).ok();
    Open::Full { _listener: listener, _first: first }
}

impl Relay {
    fn new(address: SocketAddr, backend: SocketAddr, fault: Fault) -> Self {
        let listener = TcpListener::from(listening(address, 128));
        let (over, live) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let (stop, streams) = (Arc::clone(&over), Arc::clone(&live));
        let thread = std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let mut live = streams.lock().unwrap_or_else(PoisonError::into_inner);
                if stop.load(Ordering::SeqCst) {
                    return;
                }
                let alone = matches!(fault, Fault::Hangs | Fault::TalksNonsense);
                // A server that is gone: the connection ends.
                let Ok(server) = (!alone).then(|| TcpStream::connect(backend)).transpose() else { continue };
                live.push(client.try_clone().unwrap());
                live.extend(server.as_ref().map(|server| server.try_clone().unwrap()));
                drop(live);
                std::thread::spawn(move || serve(fault, client, server));
            }
        });
        Self { over, live, thread }
    }

    fn close(self, address: SocketAddr) {
        self.over.store(true, Ordering::SeqCst);
        // Wakes `accept`.
        let _ = TcpStream::connect(address);
        end_all(&self.live);
        // Where it failed, the test fails by what is missing: a second panic here would end all tests.
        let _ = self.thread.join();
        end_all(&self.live);
    }
}

fn end_all(live: &Mutex<Vec<TcpStream>>) {
    let mut live = live.lock().unwrap_or_else(PoisonError::into_inner);
    live.drain(..).for_each(|stream| drop(stream.shutdown(Shutdown::Both)));
}

/// One connection, as faulty as asked.
fn serve(fault: Fault, mut client: TcpStream, server: Option<TcpStream>) {
    let Some(mut server) = server else { return misbehave(fault, &mut client) };
    let (mut from_server, mut to_client) = (server.try_clone().unwrap(), client.try_clone().unwrap());
    let back = std::thread::spawn(move || {
        let mut bytes = [0; 4096];
        while let Ok(n) = from_server.read(&mut bytes)
            && n > 0
            && fault != Fault::LosesAnswers
            && to_client.write_all(&bytes[..n]).is_ok()
        {}
        let _ = to_client.shutdown(Shutdown::Both);
        let _ = from_server.shutdown(Shutdown::Both);
    });
    let mut bytes = [0; 1024];
    // A slow reader takes what would be a part of a record, and lets everybody else go first.
    let at_once = if fault == Fault::ReadsSlowly { 7 } else { bytes.len() };
    let mut left = if fault == Fault::ClosesMidBatch { 700 } else { usize::MAX };
    while left > 0
        && let Ok(n) = client.read(&mut bytes[..at_once])
        && n > 0
        && server.write_all(&bytes[..n.min(left)]).is_ok()
    {
        left -= n.min(left);
        if fault == Fault::ReadsSlowly {
            std::thread::yield_now();
        }
    }
    let _ = server.shutdown(if left == 0 { Shutdown::Both } else { Shutdown::Write });
    let _ = back.join();
}

/// No one behind the door.
fn misbehave(fault: Fault, client: &mut TcpStream) {
    let mut bytes = [0; 4096];
    let mut noise = (0..=255u8).cycle().step_by(7);
    while let Ok(n) = client.read(&mut bytes)
        && n > 0
    {
        if fault == Fault::TalksNonsense {
            let answer: Vec<u8> = noise.by_ref().take(64).collect();
            let _ = client.write_all(&answer);
        }
    }
}
