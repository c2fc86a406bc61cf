//! Which scope a request needs.

use reqwest::Method;

/// The narrowest family of scopes that covers a request, where the path says so.
pub(crate) fn needed(method: &Method, path: &str) -> Option<&'static str> {
    let mut segments = path.strip_prefix("/crm/")?.split('/');
    let first = segments.next()?;
    let (bulk, version) = if first == "bulk" { (true, segments.next()?) } else { (false, first) };
    if !version.starts_with('v') {
        return None;
    }
    let resource = segments.next()?;
    if bulk {
        return Some("ZohoCRM.bulk.ALL");
    }
    let last = segments.next_back();
    Some(match (resource, method.as_str()) {
        ("users", "GET") => "ZohoCRM.users.READ",
        ("users", _) => "ZohoCRM.users.ALL",
        ("org", "GET") => "ZohoCRM.org.READ",
        ("org", _) => "ZohoCRM.org.ALL",
        ("settings", "GET") => "ZohoCRM.settings.READ",
        ("settings", _) => "ZohoCRM.settings.ALL",
        ("coql", _) => "ZohoCRM.coql.READ",
        ("files", "GET") => "ZohoCRM.Files.READ",
        ("files", _) => "ZohoCRM.Files.CREATE",
        (other, _) if other.starts_with("__") => return None,
        (_, "GET") => "ZohoCRM.modules.READ",
        (_, "POST") if last == Some("upsert") => "ZohoCRM.modules.CREATE,ZohoCRM.modules.UPDATE",
        (_, "POST") => "ZohoCRM.modules.CREATE",
        (_, "PUT" | "PATCH") => "ZohoCRM.modules.UPDATE",
        (_, "DELETE") => "ZohoCRM.modules.DELETE",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_says_which_scope() {
        for (method, path, scope) in [
            (Method::GET, "/crm/v8/users", Some("ZohoCRM.users.READ")),
            (Method::GET, "/crm/v8/org", Some("ZohoCRM.org.READ")),
            (Method::GET, "/crm/v8/settings/fields", Some("ZohoCRM.settings.READ")),
            (Method::GET, "/crm/v8/Leads/1", Some("ZohoCRM.modules.READ")),
            (Method::POST, "/crm/v8/Leads", Some("ZohoCRM.modules.CREATE")),
            (
                Method::POST,
                "/crm/v8/Leads/upsert",
                Some("ZohoCRM.modules.CREATE,ZohoCRM.modules.UPDATE"),
            ),
            (Method::DELETE, "/crm/v2.1/Leads/1", Some("ZohoCRM.modules.DELETE")),
            (Method::POST, "/crm/v8/coql", Some("ZohoCRM.coql.READ")),
            (Method::POST, "/crm/bulk/v8/read", Some("ZohoCRM.bulk.ALL")),
            (Method::POST, "/crm/v8/__composite_requests", None),
            (Method::GET, "/books/v3/items", None),
            (Method::GET, "/crm", None),
        ] {
            assert_eq!(needed(&method, path), scope, "{method} {path}");
        }
    }
}
