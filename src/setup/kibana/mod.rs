//! What Kibana shows of the records: a data view, saved searches and dashboards, declared once and rendered to saved
//! objects, and their import. Holds no field name that a test does not know (`format::fields`).

mod charts;
mod dashboards;
pub mod declare;
mod lens;
mod objects;

pub use self::dashboards::{CONTROLS, DASHBOARDS, SEARCHES};
use self::objects::Names;

/// The objects as a file to import: one JSON object a line. `index_pattern` says where the records are; a space other
/// than the default one gets ids of its own.
pub fn ndjson(index_pattern: &str, space: Option<&str>) -> String {
    let objects = objects::all(&Names::of_space(space), index_pattern);
    objects.iter().map(|object| format!("{object}\n")).collect()
}

#[cfg(test)]
mod tests;
