//! nginx, which makes a file of each request's body: `scripts/servers/nginx-tls`.

use std::fs;
use std::io::Read;
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;

use flate2::read::GzDecoder;
use serde_json::Value;
use socket2::Socket;

use super::{Process, Scratch, certificates, missing, reserved, script};
use crate::feed::wait_until;

/// What a server wants of its clients.
#[derive(Clone, Copy)]
pub(crate) struct Demands {
    /// Who must have signed their certificates, where they need one.
    pub(crate) client_authority: Option<&'static str>,
    pub(crate) user: &'static str,
    pub(crate) password: &'static str,
}

/// A running nginx, with the same port and the same directory in all its lives.
pub(crate) struct Nginx {
    process: Option<Process>,
    pub(crate) port: u16,
    _reserved: Socket,
    dir: PathBuf,
    certificate: Option<&'static str>,
    demands: Demands,
    /// Port of the server behind `/search/`.
    upstream: u16,
}

impl Nginx {
    /// With TLS if there is a certificate. `None`, said on standard error: there is none here.
    pub(crate) fn start(scratch: &Scratch, certificate: Option<&'static str>) -> Option<Self> {
        if Command::new("nginx").arg("-v").output().is_err() {
            missing("no nginx");
            return None;
        }
        let (address, _reserved) = reserved();
        let mut nginx = Self {
            process: None,
            port: address.port(),
            _reserved,
            dir: scratch.path("nginx"),
            certificate,
            demands: Demands { client_authority: None, user: "user", password: "secret" },
            upstream: 1,
        };
        nginx.restart();
        Some(nginx)
    }

    /// Puts it in front of a server on this port.
    #[cfg(feature = "setup")]
    pub(crate) fn lead_to(&mut self, port: u16) {
        self.upstream = port;
        self.restart();
    }

    pub(crate) fn restart_with(&mut self, certificate: &'static str, demands: Demands) {
        (self.certificate, self.demands) = (Some(certificate), demands);
        self.restart();
    }

    pub(crate) fn restart(&mut self) {
        self.process = None;
        let mut command = script("nginx-tls");
        let Demands { client_authority, user, password } = self.demands;
        command.envs([("NAME", user), ("PASSWORD", password)]).env("UPSTREAM", self.upstream.to_string());
        command.envs(client_authority.map(|name| ("CLIENT_CA", certificates().join(name))));
        command.arg(self.port.to_string()).arg(&self.dir);
        if let Some(name) = self.certificate {
            command.args([certificates().join(name), certificates().join("server.key")]);
        }
        self.process = Some(Process(command.spawn().unwrap()));
        wait_until("nginx to listen", || TcpStream::connect(("127.0.0.1", self.port)).is_ok());
    }

    /// Whole bodies, decompressed where they were not plain.
    pub(crate) fn bodies(&self) -> Vec<String> {
        let mut bodies = Vec::new();
        for file in fs::read_dir(self.dir.join("bodies")).unwrap() {
            let bytes = fs::read(file.unwrap().path()).unwrap();
            let mut text = String::new();
            let whole = match bytes.starts_with(&[0x1f, 0x8b]) {
                true => GzDecoder::new(bytes.as_slice()).read_to_string(&mut text).is_ok(),
                false => bytes.as_slice().read_to_string(&mut text).is_ok(),
            };
            // A kill may leave a beginning.
            if whole && (text.ends_with(']') || text.ends_with('\n')) {
                bodies.push(text);
            }
        }
        bodies
    }

    /// Records of all bodies that are arrays.
    pub(crate) fn records(&self) -> Vec<Value> {
        let arrays = self.bodies().into_iter().map(|body| serde_json::from_str::<Vec<Value>>(&body).unwrap());
        arrays.flatten().collect()
    }
}
