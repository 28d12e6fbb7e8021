//! Elasticsearch as far as `_bulk` goes. Faults are the door's; it does everything right, unless asked to take only a part.

use std::net::TcpStream;
use std::sync::Mutex;

use super::ids_in;
use super::servers::{Outcome, Store, request, respond};

/// The data stream of `bulk`.
pub(crate) const STREAM: &str = "records";

/// Elasticsearch: says its version, has a data stream, and creates each id once.
pub(crate) fn serve(mut stream: TcpStream, stored: &Mutex<Store>) -> Option<()> {
    loop {
        let (path, body) = request(&mut stream)?;
        let answer = match path.as_str() {
            "/" => r#"{"version":{"number":"8.7.1"}}"#.to_owned(),
            "/records" => r#"{".ds-records-000001":{"data_stream":"records"}}"#.to_owned(),
            "/records/_bulk" => create(&mut stored.lock().unwrap(), &body),
            _ => "{}".to_owned(),
        };
        respond(&mut stream, &answer)?;
    }
}

/// Of each action and its record, the id is in both.
fn create(store: &mut Store, body: &[u8]) -> String {
    let ids: Vec<String> = body.split(|byte| *byte == b'\n').flat_map(ids_in).step_by(2).collect();
    let known: Vec<bool> = ids.iter().map(|id| store.ids.contains(id)).collect();
    let new = ids.into_iter().zip(&known).filter(|(_, known)| !**known).map(|(id, _)| id).collect();
    let mut outcomes = store.take(new).into_iter();
    let item = |known: &bool| match known {
        true => "409,\"error\":{\"type\":\"version_conflict_engine_exception\",\"reason\":\"exists\"}",
        false => match outcomes.next() {
            Some(Outcome::Stored) | None => "201",
            Some(Outcome::Later) => "429,\"error\":{\"type\":\"rejected_execution_exception\",\"reason\":\"full\"}",
            Some(Outcome::Never) => "400,\"error\":{\"type\":\"document_parsing_exception\",\"reason\":\"no\"}",
        },
    };
    let items: Vec<String> =
        known.iter().map(item).map(|item| format!("{{\"create\":{{\"status\":{item}}}}}")).collect();
    format!("{{\"items\":[{}]}}", items.join(","))
}
