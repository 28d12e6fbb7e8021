//! The records in Kibana: a data view, saved searches and dashboards, declared once, rendered to saved objects, and
//! imported. A test knows every field name in it (`format::ecs::all_fields`).

mod charts;
mod dashboards;
pub mod declare;
mod import;
mod lens;
mod objects;
mod opensearch;

use std::io::Write;

pub use self::dashboards::{CONTROLS, DASHBOARDS, SEARCHES};
pub use self::import::KibanaOptions;
use self::objects::ObjectNames;
use super::AppliedResource;

/// The objects as a file to import: one JSON object a line. `index_pattern` says where the records are; a space other
/// than the default one gets different ids.
pub fn ndjson(index_pattern: &str, space: Option<&str>) -> String {
    let objects = objects::all(&ObjectNames::of_space(space), index_pattern);
    objects.iter().map(|object| format!("{object}\n")).collect()
}

/// The same for OpenSearch Dashboards, which draws other kinds of objects.
pub fn opensearch_ndjson(index_pattern: &str) -> String {
    opensearch::all(index_pattern).iter().map(|object| format!("{object}\n")).collect()
}

/// Runs `podtap setup kibana`: imports the objects, and says what became of each. Blocks. The error is a sentence for the
/// user.
pub fn import(options: &KibanaOptions, out: &mut impl Write) -> Result<Vec<AppliedResource>, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|why| why.to_string())?;
    runtime.block_on(import::run(options, out))
}

#[cfg(test)]
mod tests;
