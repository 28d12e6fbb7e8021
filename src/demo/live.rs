//! Plays the mix on sockets: both ends of every connection, on loopback.
//!
//! One task plays both ends of a connection: it writes at one end and reads at the other. So there is no server loop,
//! and no second copy of the script.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::scenes;
use super::script::{DemoScript, ScriptStep};
use crate::synth::SynthSide;

/// No scene takes longer than this, whatever the machine is busy with.
const PATIENCE: Duration = Duration::from_secs(20);

/// A listening socket on loopback, ready for the mix.
#[derive(Debug)]
pub struct DemoStage {
    listener: TcpListener,
    /// Pauses are multiplied by it.
    pace: u32,
}

/// What was played.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PlayedMix {
    /// Connections.
    pub connections: u32,
    /// Requests, answered or not.
    pub exchanges: u32,
}

impl DemoStage {
    /// Listens on a free port of 127.0.0.1.
    pub async fn bind() -> io::Result<Self> {
        Ok(Self { listener: TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?, pace: 1 })
    }

    /// Where the server side of every scene will be: for the capture's filter, and to tell this traffic from podtap's own.
    pub fn server(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Plays the mix once, in about three seconds; dropping the future stops it.
    pub async fn run(self) -> io::Result<PlayedMix> {
        let server = self.server()?;
        let mut tasks = JoinSet::new();
        let mut scenes = scenes::mix();
        scenes.sort_by_key(|scene| scene.start);
        let mut played = PlayedMix::default();
        let mut elapsed = Duration::ZERO;
        for scene in scenes {
            sleep(scene.start.saturating_sub(elapsed) * self.pace).await;
            elapsed = scene.start;
            let client = TcpStream::connect(server).await?;
            let accepted = self.accept(client.local_addr()?).await?;
            played.connections += 1;
            played.exchanges += scene.requests;
            tasks.spawn(timeout(PATIENCE, play(scene, client, accepted, self.pace)));
        }
        while let Some(ended) = tasks.join_next().await {
            ended???;
        }
        Ok(played)
    }

    /// The server's end of the connection from `client`; other clients of the port are turned away.
    async fn accept(&self, client: SocketAddr) -> io::Result<TcpStream> {
        loop {
            let (stream, from) = self.listener.accept().await?;
            if from == client {
                return Ok(stream);
            }
        }
    }
}

async fn play(scene: DemoScript, mut client: TcpStream, mut server: TcpStream, pace: u32) -> io::Result<()> {
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    for step in scene.steps {
        match step {
            ScriptStep::Send(SynthSide::Client, bytes) => pass(&mut client, &mut server, &bytes).await?,
            ScriptStep::Send(SynthSide::Server, bytes) => pass(&mut server, &mut client, &bytes).await?,
            ScriptStep::Pause(pause) => sleep(pause * pace).await,
            ScriptStep::Close => {
                end(&mut client, &mut server).await?;
                return end(&mut server, &mut client).await;
            }
            ScriptStep::HangUp => {
                end(&mut server, &mut client).await?;
                return end(&mut client, &mut server).await;
            }
            ScriptStep::Reset => return server.set_zero_linger(),
        }
    }
    Ok(())
}

async fn pass(from: &mut TcpStream, to: &mut TcpStream, bytes: &[u8]) -> io::Result<()> {
    let mut read = vec![0; bytes.len()];
    tokio::try_join!(from.write_all(bytes), async { to.read_exact(&mut read).await })?;
    Ok(())
}

/// FIN from one, seen by the other.
async fn end(from: &mut TcpStream, to: &mut TcpStream) -> io::Result<()> {
    from.shutdown().await?;
    let left = to.read(&mut [0; 1]).await?;
    if left == 0 { Ok(()) } else { Err(io::ErrorKind::InvalidData.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scene_plays_to_its_end_on_loopback() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let played = runtime.block_on(async {
            let stage = DemoStage { pace: 0, ..DemoStage::bind().await.unwrap() };
            stage.run().await.unwrap()
        });
        let connections = scenes::mix().len() as u32;
        assert_eq!(played, PlayedMix { connections, exchanges: crate::demo::exchanges() });
        assert!(played.exchanges > 50);
    }
}
