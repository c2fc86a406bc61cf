//! Users, the organisation, and the description of modules and fields.

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::{Call, INVALID_ID, display_name, invalid_param, iso, missing_param, schema};
use crate::{clients::User, reply::Reply, scopes::Operation, state::State};

impl State {
    pub(super) fn list_users(&self, call: &Call) -> Result<Reply, Reply> {
        call.need("users", None, Operation::Read)?;
        let users: Vec<Value> = match call.params.get("type") {
            Some("CurrentUser") => vec![self.describe_user(&call.user)],
            None
            | Some(
                "AllUsers"
                | "ActiveUsers"
                | "AdminUsers"
                | "ActiveConfirmedUsers"
                | "ActiveConfirmedAdmins"
                | "ConfirmedUsers",
            ) => self.users.values().map(|user| self.describe_user(user)).collect(),
            Some("DeactiveUsers" | "NotConfirmedUsers" | "DeletedUsers") => Vec::new(),
            Some(_) => return Err(invalid_param("type", "the type given seems to be invalid")),
        };
        if users.is_empty() {
            return Ok(Reply::empty(StatusCode::NO_CONTENT));
        }
        let info =
            json!({ "per_page": 200, "count": users.len(), "page": 1, "more_records": false });
        Ok(Reply::ok(json!({ "users": users, "info": info })))
    }

    pub(super) fn one_user(&self, call: &Call, id: &str) -> Result<Reply, Reply> {
        call.need("users", None, Operation::Read)?;
        match self.users.values().find(|user| user.id == id) {
            Some(user) => Ok(Reply::ok(json!({ "users": [self.describe_user(user)] }))),
            None => Err(Reply::crm_error(
                StatusCode::BAD_REQUEST,
                "INVALID_DATA",
                INVALID_ID,
                json!({ "resource_path_index": 1 }),
            )),
        }
    }

    fn describe_user(&self, user: &User) -> Value {
        let name = display_name(&user.email);
        let profile = format!("{}26011", self.site.zgid);
        let role = format!("{}26005", self.site.zgid);
        json!({
            "id": user.id,
            "email": user.email,
            "full_name": name,
            "first_name": Value::Null,
            "last_name": name,
            "status": "active",
            "confirm": true,
            "zuid": user.id,
            "profile": { "name": "Administrator", "id": profile },
            "role": { "name": "CEO", "id": role },
            "created_time": iso(user.created),
            "time_zone": "Etc/UTC",
            "locale": "en_US",
            "language": "en_US",
            "isonline": false,
        })
    }

    pub(super) fn org(&self, call: &Call) -> Result<Reply, Reply> {
        call.need("org", None, Operation::Read)?;
        let site = &self.site;
        Ok(Reply::ok(json!({ "org": [{
            "id": format!("{}00000", site.zgid),
            "zgid": site.zgid,
            "domain_name": format!("org{}", site.zgid),
            "company_name": format!("Emulated organisation ({})", site.location),
            "type": site.environment,
            "primary_email": self.users.keys().next(),
            "country_code": site.location.to_uppercase(),
            "time_zone": "Etc/UTC",
            "currency": "US Dollar - USD",
            "iso_code": "USD",
            "currency_symbol": "$",
            "mc_status": false,
            "gapps_enabled": false,
            "privacy_settings": false,
        }] })))
    }
}

pub(super) fn fields(call: &Call) -> Result<Reply, Reply> {
    call.need("settings", Some("fields"), Operation::Read)?;
    let name = call.params.get("module").ok_or_else(|| missing_param("module"))?;
    let module = schema::module(name)
        .ok_or_else(|| invalid_param("module", "the module name given seems to be invalid"))?;
    Ok(Reply::ok(json!({ "fields": module.describe_fields() })))
}

pub(super) fn modules(call: &Call) -> Result<Reply, Reply> {
    call.need("settings", Some("modules"), Operation::Read)?;
    if call.moment("if-modified-since").is_some() {
        return Ok(Reply::empty(StatusCode::NOT_MODIFIED));
    }
    let modules: Vec<Value> = schema::MODULES.iter().map(schema::Module::describe).collect();
    Ok(Reply::ok(json!({ "modules": modules })))
}

pub(super) fn one_module(call: &Call, name: &str) -> Result<Reply, Reply> {
    call.need("settings", Some("modules"), Operation::Read)?;
    let module = schema::module(name).ok_or_else(|| {
        Reply::crm_error(
            StatusCode::BAD_REQUEST,
            "INVALID_MODULE",
            "the module name given seems to be invalid",
            json!({ "resource_path_index": 2 }),
        )
    })?;
    Ok(Reply::ok(json!({ "modules": [module.describe()] })))
}
