//! The pages a user sees: who asks for what, and whether he agrees.

use std::fmt::Write as _;

use axum::{
    extract::State as Extract,
    http::{HeaderValue, StatusCode, Uri, header},
    response::{Html, IntoResponse, Response},
};
use url::Url;

use crate::{
    clients::{Challenge, GrantCode},
    params::Params,
    rules,
    scopes::Scopes,
    state::{Shared, State},
};

/// The parameters of an authorisation request, which the form sends back.
const CARRIED: [&str; 9] = [
    "client_id",
    "response_type",
    "redirect_uri",
    "scope",
    "access_type",
    "prompt",
    "state",
    "code_challenge",
    "code_challenge_method",
];

/// `GET /oauth/v2/auth`: the page, or at once the redirect if the request has
/// `emulator_accept=EMAIL` or `emulator_refuse=1`.
pub(crate) async fn show(Extract(shared): Extract<Shared>, uri: Uri) -> Response {
    let params = Params::of_query(uri.query());
    let decision = if let Some(email) = params.get("emulator_accept") {
        Some(Some(email))
    } else {
        params.get("emulator_refuse").map(|_| None)
    };
    match decision {
        Some(email) => redirect(&shared, &params, email),
        None => {
            let state = shared.lock();
            match Ask::parse(&state, &params) {
                Ok(ask) => Html(authorisation(&state, &ask, &params)).into_response(),
                Err(problem) => error(&problem),
            }
        }
    }
}

/// `POST /oauth/v2/auth`: what the form says.
pub(crate) async fn decide(Extract(shared): Extract<Shared>, params: Params) -> Response {
    let email = params.get("other_email").or_else(|| params.get("email"));
    match (params.get("decision"), email) {
        (Some("refuse"), _) => redirect(&shared, &params, None),
        (_, Some(email)) => redirect(&shared, &params, Some(email)),
        (_, None) => error("No user was chosen: `email` is missing"),
    }
}

/// Sends the browser back to the client, with a code or, as `email` is `None`, with a refusal.
fn redirect(shared: &Shared, params: &Params, email: Option<&str>) -> Response {
    let now = shared.now();
    let mut state = shared.lock();
    let ask = match Ask::parse(&state, params) {
        Ok(ask) => ask,
        Err(problem) => return error(&problem),
    };
    let mut target = ask.redirect_uri.clone();
    if let Some(email) = email {
        let Some(code) = state.accept(now, &ask, email) else {
            return error(
                "You have made too many requests continuously. Please try again after some time.",
            );
        };
        target
            .query_pairs_mut()
            .append_pair("code", &code)
            .append_pair("location", &state.site.location)
            .append_pair("accounts-server", &state.site.url);
    } else {
        target.query_pairs_mut().append_pair("error", "access_denied");
    }
    if let Some(value) = params.get("state") {
        target.query_pairs_mut().append_pair("state", value);
    }
    match HeaderValue::from_str(target.as_str()) {
        Ok(location) => (StatusCode::FOUND, [(header::LOCATION, location)]).into_response(),
        Err(_) => error("Invalid Redirect Uri"),
    }
}

impl State {
    fn accept(&mut self, now: i64, ask: &Ask, email: &str) -> Option<String> {
        self.user(now, email);
        let pair = (ask.client_id.clone(), email.to_owned());
        // Only the first consent of a user gives a refresh token, unless it is asked for again.
        let offline = ask.offline && (ask.prompts || !self.consents.contains(&pair));
        let code = self.grant_code(
            now,
            GrantCode {
                client_id: ask.client_id.clone(),
                email: email.to_owned(),
                scopes: ask.scopes.clone(),
                scopes_asked: true,
                redirect_uri: Some(ask.redirect_text.clone()),
                challenge: ask.challenge()?,
                offline,
                expires_at: now.saturating_add(rules::GRANT_LIFETIME),
            },
        )?;
        if offline {
            self.consents.insert(pair);
        }
        Some(code)
    }
}

/// An authorisation request that is in order.
struct Ask {
    client_id: String,
    redirect_uri: Url,
    /// As it was written: the exchange has to repeat it to the letter.
    redirect_text: String,
    scopes: Scopes,
    offline: bool,
    prompts: bool,
    code_challenge: Option<String>,
    code_challenge_method: Option<String>,
}

impl Ask {
    /// Reads the request; `Err` is for the user to read, for the client is not to be trusted.
    fn parse(state: &State, params: &Params) -> Result<Self, String> {
        let client_id = params.get("client_id").unwrap_or_default();
        let client = state.clients.get(client_id).ok_or("Invalid Client Id")?;
        if params.get("response_type") != Some("code") {
            return Err("Invalid Response Type: response_type must be code".to_owned());
        }
        let redirect_text = params.get("redirect_uri").unwrap_or_default().to_owned();
        let redirect_uri = Url::parse(&redirect_text)
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https"))
            .filter(|_| {
                client.redirect_uris.is_empty() || client.redirect_uris.contains(&redirect_text)
            })
            .ok_or("Invalid Redirect Uri")?;
        let scopes = Scopes::parse(params.get("scope").unwrap_or_default());
        if scopes.is_empty() {
            return Err("Invalid OAuth Scope: scope is missing".to_owned());
        }
        let ask = Self {
            client_id: client_id.to_owned(),
            redirect_uri,
            redirect_text,
            scopes,
            offline: params.get("access_type") == Some("offline"),
            prompts: params.get("prompt") == Some("consent"),
            code_challenge: params.get("code_challenge").map(ToOwned::to_owned),
            code_challenge_method: params.get("code_challenge_method").map(ToOwned::to_owned),
        };
        Challenge::parse(ask.code_challenge.as_deref(), ask.code_challenge_method.as_deref())?;
        Ok(ask)
    }

    /// The challenge, if any; the outer `None` cannot be, for `parse` looked at it.
    fn challenge(&self) -> Option<Option<Challenge>> {
        Challenge::parse(self.code_challenge.as_deref(), self.code_challenge_method.as_deref()).ok()
    }
}

fn authorisation(state: &State, ask: &Ask, params: &Params) -> String {
    let mut form = String::from("<form method=\"post\" action=\"/oauth/v2/auth\">\n");
    for (name, value) in params.iter().filter(|(name, _)| CARRIED.contains(name)) {
        field(&mut form, name, value);
    }
    choose_user(&mut form, state.users.keys().map(String::as_str));
    form.push_str(
        "<p><button name=\"decision\" value=\"accept\">Accept</button>\n\
         <button name=\"decision\" value=\"refuse\">Refuse</button></p>\n</form>\n",
    );
    page(
        "Authorise a client",
        &format!(
            "<p>The client <b>{}</b> asks for:</p>\n<p><code>{}</code></p>\n{form}",
            escape(&ask.client_id),
            escape(&ask.scopes.text()),
        ),
    )
}

/// The page of the device flow.
pub(crate) fn device(user_code: &str, users: &[String]) -> String {
    let mut form = String::from("<form method=\"post\" action=\"/emulator/device/accept\">\n");
    append(
        &mut form,
        format_args!(
            "<p><label>Code <input name=\"user_code\" value=\"{}\"></label></p>\n",
            escape(user_code)
        ),
    );
    choose_user(&mut form, users.iter().map(String::as_str));
    form.push_str(
        "<p><button name=\"decision\" value=\"accept\">Accept</button>\n\
         <button name=\"decision\" value=\"refuse\">Refuse</button></p>\n</form>\n",
    );
    page("Connect a device", &form)
}

fn choose_user<'a>(form: &mut String, users: impl Iterator<Item = &'a str>) {
    let mut checked = " checked";
    for email in users {
        let email = escape(email);
        append(
            form,
            format_args!(
                "<p><label><input type=\"radio\" name=\"email\" value=\"{email}\"{checked}> \
                 {email}</label></p>\n"
            ),
        );
        checked = "";
    }
    form.push_str(
        "<p><label>or somebody else <input type=\"email\" name=\"other_email\"></label></p>\n",
    );
}

fn field(form: &mut String, name: &str, value: &str) {
    append(
        form,
        format_args!(
            "<input type=\"hidden\" name=\"{}\" value=\"{}\">\n",
            escape(name),
            escape(value)
        ),
    );
}

fn error(problem: &str) -> Response {
    let body = format!("<p>An error occurred.</p>\n<p><b>{}</b></p>\n", escape(problem));
    (StatusCode::BAD_REQUEST, Html(page("Error", &body))).into_response()
}

fn page(title: &str, body: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\">\n\
         <title>{title}: tokenkeep emulator</title>\n\
         <style>body {{ font: 16px system-ui, sans-serif; max-width: 40rem; margin: 3rem auto; \
         padding: 0 1rem }} button {{ font: inherit; padding: .4rem 1.2rem }}</style>\n\
         </head>\n<body>\n<h1>{title}</h1>\n{body}\
         <p><small>This is an emulator of Zoho's accounts server.</small></p>\n\
         </body>\n</html>\n"
    )
}

fn append(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    text.write_fmt(arguments).expect("a String takes any text");
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_client_sends_stays_text() {
        let page = device("\"><script>", &["<b>@example.com".to_owned()]);
        assert!(!page.contains("<script>"));
        assert!(!page.contains("<b>@"));
        assert!(page.contains("&quot;&gt;&lt;script&gt;"));
    }
}
