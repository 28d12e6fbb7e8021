//! stub
#![allow(missing_docs)]
pub mod proxy { use std::net::IpAddr; #[derive(Clone,Debug,Default)] pub struct Trusted; pub fn client_ip(_: Option<&[u8]>, _: Option<&[u8]>, _: IpAddr, _: &Trusted) -> Option<IpAddr> { None } }
pub mod trace { pub fn parse(_: Option<&[u8]>, _: Option<&[u8]>, _: Option<&[u8]>, _: Option<&[u8]>) -> Option<crate::record::Trace> { None } }
