//! The tenant that objects go to: OpenSearch Dashboards' security plugin keeps those of each apart. It takes one it does
//! not know for another one, without a word; so it is asked first which one it would be. Imports nothing.

use serde_json::Value;

use crate::settings::printable;
use crate::sink::elasticsearch::{ClusterClient, ServerRequest};

/// The header that says which.
const HEADER: &str = "securitytenant";

/// What everybody sees. Without a word, it would often be the user's private one.
const GLOBAL: &str = "global";

/// As the header says it.
pub(in crate::setup::kibana) fn header(tenant: Option<&str>) -> (&'static str, &str) {
    (HEADER, tenant.unwrap_or(GLOBAL))
}

/// The tenant that KIBANA_SPACE names.
pub(in crate::setup::kibana) fn named(space: Option<&str>) -> Option<&str> {
    space.filter(|space| *space != GLOBAL)
}

/// Refuses a tenant that objects would not go to.
pub(in crate::setup::kibana) async fn check(client: &ClusterClient, tenant: &str) -> Result<(), String> {
    let headers = [header(Some(tenant))];
    let request = ServerRequest { headers: &headers, ..ServerRequest::get("/api/v1/auth/authinfo", &[]) };
    let reply = client.send(&request).await?;
    let shown = printable(tenant);
    if reply.status == 404 {
        return Err(format!("KIBANA_SPACE is {shown}, but there are no tenants: it has no security plugin"));
    }
    if !reply.is_success() {
        return Err(format!("GET /api/v1/auth/authinfo: {}", reply.status));
    }
    let who = serde_json::from_slice::<Value>(&reply.body).unwrap_or_default();
    let taken = who.get("user_requested_tenant").and_then(Value::as_str).unwrap_or_default();
    let writes = who.get("tenants").and_then(|tenants| tenants.get(tenant)).and_then(Value::as_bool);
    match (tenant, writes) {
        ("private", _) if taken == "__user__" => Ok(()),
        (_, Some(true)) if taken == tenant => Ok(()),
        (_, Some(false)) => Err(format!("KIBANA_SPACE: this user may not write to the tenant {shown}")),
        _ => Err(format!("KIBANA_SPACE: there is no tenant {shown} for this user")),
    }
}
