//! The VLANs and tunnels around a packet, by name, and as the scope of its connection.
//!
//! Opens none of them: that is `packet`.

use std::net::IpAddr;

use super::Scope;

/// What a tunnel is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TunnelKind {
    /// IP in IP, of any versions.
    Ip,
    /// GRE.
    Gre,
    /// VXLAN.
    Vxlan,
    /// Geneve.
    Geneve,
    /// ERSPAN.
    Erspan,
    /// GTP-U.
    Gtp,
    /// PPPoE.
    Pppoe,
}

impl TunnelKind {
    /// `podtap.tunnel.type`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ip => "ip",
            Self::Gre => "gre",
            Self::Vxlan => "vxlan",
            Self::Geneve => "geneve",
            Self::Erspan => "erspan",
            Self::Gtp => "gtp",
            Self::Pppoe => "pppoe",
        }
    }
}

/// The innermost tunnel around a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tunnel {
    /// Which.
    pub kind: TunnelKind,
    /// Number of its network, session or end; key of GRE.
    pub id: Option<u32>,
}

/// The VLANs and tunnels around a packet, by name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OuterLayers {
    /// The outermost VLAN; of a packet in a tunnel, of that inside it.
    pub vlan: Option<u16>,
    /// The innermost VLAN, where there are several.
    pub inner_vlan: Option<u16>,
    /// The innermost tunnel.
    pub tunnel: Option<Tunnel>,
}

/// Where a packet was met.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PacketPlace {
    /// As part of a connection's key.
    pub scope: Scope,
    /// By name.
    pub around: OuterLayers,
}

impl PacketPlace {
    /// Behind a tag.
    pub fn enter_vlan(&mut self, id: u16) {
        self.scope = self.scope.vlan(id);
        match self.around.vlan {
            None => self.around.vlan = Some(id),
            Some(_) => self.around.inner_vlan = Some(id),
        }
    }

    /// In a virtual network.
    pub fn enter_network(&mut self, kind: TunnelKind, id: u32) {
        self.scope = self.scope.network(id);
        self.note_tunnel(kind, Some(id));
    }

    /// In a session of PPPoE.
    pub fn enter_session(&mut self, id: u16) {
        self.scope = self.scope.session(id);
        self.note_tunnel(TunnelKind::Pppoe, Some(id.into()));
    }

    /// In a tunnel between two addresses.
    pub fn enter_tunnel(&mut self, kind: TunnelKind, a: IpAddr, b: IpAddr, key: Option<u32>) {
        self.scope = self.scope.tunnel(a, b, key.unwrap_or(0));
        self.note_tunnel(kind, key);
    }

    /// In a copy that a mirror made: what is around the copy says nothing of the connection.
    pub fn enter_mirror(&mut self, session: Option<u16>) {
        self.scope = Scope::default();
        self.note_tunnel(TunnelKind::Erspan, session.map(u32::from));
    }

    /// In a tunnel that distinguishes no connections.
    pub fn note_tunnel(&mut self, kind: TunnelKind, id: Option<u32>) {
        self.around = OuterLayers { tunnel: Some(Tunnel { kind, id }), ..OuterLayers::default() };
    }
}
