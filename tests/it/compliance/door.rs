//! What stands between a sink and its server: a TCP relay that can be told to misbehave. Owns the network's faults, the
//! same for every protocol; a server behind it only has to be a good one.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use super::Fault;

/// A relay on a port of its own, which stays the same whatever happens.
pub(crate) struct Door {
    address: SocketAddr,
    backend: SocketAddr,
    open: Option<Open>,
}

struct Open {
    over: Arc<AtomicBool>,
    live: Arc<Mutex<Vec<TcpStream>>>,
    thread: JoinHandle<()>,
}

impl Door {
    pub(crate) fn to(backend: SocketAddr) -> Self {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut door = Self { address, backend, open: None };
        door.set(Fault::Healthy);
        door
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends every connection and goes on like this.
    pub(crate) fn set(&mut self, fault: Fault) {
        if let Some(open) = self.open.take() {
            open.close(self.address);
        }
        if fault != Fault::Refuses {
            self.open = Some(Open::new(self.address, self.backend, fault));
        }
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.set(Fault::Refuses);
    }
}

impl Open {
    fn new(address: SocketAddr, backend: SocketAddr, fault: Fault) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let (over, live) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let (stop, streams) = (Arc::clone(&over), Arc::clone(&live));
        let thread = std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let mut live = streams.lock().unwrap();
                if stop.load(Ordering::SeqCst) {
                    return;
                }
                live.push(client.try_clone().unwrap());
                let server =
                    matches!(fault, Fault::Healthy | Fault::ClosesMidBatch | Fault::LosesAnswers | Fault::ReadsSlowly)
                        .then(|| TcpStream::connect(backend).unwrap());
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
        self.live.lock().unwrap().drain(..).for_each(|stream| drop(stream.shutdown(Shutdown::Both)));
        self.thread.join().unwrap();
        self.live.lock().unwrap().drain(..).for_each(|stream| drop(stream.shutdown(Shutdown::Both)));
    }
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
    let mut left = if fault == Fault::ClosesMidBatch { 700 } else { usize::MAX };
    while left > 0
        && let Ok(n) = client.read(&mut bytes)
        && n > 0
        && server.write_all(&bytes[..n.min(left)]).is_ok()
    {
        left -= n.min(left);
        if fault == Fault::ReadsSlowly {
            std::thread::sleep(Duration::from_millis(3));
        }
    }
    let _ = server.shutdown(if left == 0 { Shutdown::Both } else { Shutdown::Write });
    let _ = back.join();
}

/// Nobody behind the door.
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
