//! The CRM: who may do what, and records.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::bench::{Bench, CLIENT_ID, CLIENT_SECRET, EMAIL, MILLISECOND, minutes};

const LEADS: &str = "/crm/v8/Leads";

async fn post(bench: &Bench, path: &str, access: &str, body: Value) -> crate::bench::Answer {
    bench.crm(Method::POST, path, access, body).await
}

/// Creates one record and gives its id.
async fn create(bench: &Bench, path: &str, access: &str, record: Value) -> String {
    let answer = post(bench, path, access, json!({ "data": [record] })).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text);
    answer.json()["data"][0]["details"]["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn who_is_not_authorised_is_told_why() {
    let bench = Bench::start().await;
    let access = bench.access().await;
    let bare = bench.get("/crm/v8/org").await;
    assert_eq!(bare.status, StatusCode::UNAUTHORIZED);
    assert_eq!(bare.code(), "AUTHENTICATION_FAILURE");
    let wrong = bench.read("/crm/v8/org", "test-wrong").await;
    assert_eq!(
        wrong.json(),
        json!({ "code": "INVALID_TOKEN", "details": {}, "message": "invalid oauth token",
                "status": "error" })
    );
    let bearer = bench.client.get(bench.url("/crm/v8/org")).bearer_auth(&access);
    assert_eq!(bearer.send().await.unwrap().status(), StatusCode::OK);
    let basic = bench.client.get(bench.url("/crm/v8/org")).basic_auth("a", Some("b"));
    assert_eq!(basic.send().await.unwrap().status(), StatusCode::UNAUTHORIZED);
    let stats = bench.emulator.stats();
    assert_eq!((stats.api_requests, stats.api_unauthorized), (4, 3));
}

#[tokio::test]
async fn scopes_bind() {
    let bench = Bench::start().await;
    let user = bench.emulator.add_user_with_scope(
        EMAIL,
        CLIENT_ID,
        CLIENT_SECRET,
        "ZohoCRM.modules.leads.READ,ZohoCRM.org.READ",
    );
    let reply = bench.exchange(&user.grant_token, &[]).await;
    assert_eq!(reply.token("scope"), "ZohoCRM.modules.leads.READ,ZohoCRM.org.READ");
    let access = reply.token("access_token");
    for path in [
        "/crm/v8/users?type=CurrentUser",
        "/crm/v8/Deals?fields=Deal_Name",
        "/crm/v8/settings/fields?module=Leads",
    ] {
        let answer = bench.read(path, &access).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{path}");
        assert_eq!(answer.code(), "OAUTH_SCOPE_MISMATCH");
    }
    let write = post(&bench, LEADS, &access, json!({ "data": [{ "Last_Name": "A" }] })).await;
    assert_eq!(write.code(), "OAUTH_SCOPE_MISMATCH");
    assert_eq!(bench.read("/crm/v8/org", &access).await.status, StatusCode::OK);
    let empty = bench.read("/crm/v8/Leads?fields=Last_Name", &access).await;
    assert_eq!(empty.status, StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn a_record_is_created_read_changed_and_deleted() {
    let bench = Bench::start().await;
    let access = bench.access().await;
    let lead = json!({ "Last_Name": "Byron", "First_Name": "Ada", "Email": "a@example.com",
                       "Unknown_Field": 1 });
    let id = create(&bench, LEADS, &access, lead).await;
    assert_eq!(id.len(), 19);
    let path = format!("{LEADS}/{id}");
    let record = bench.read(&path, &access).await.json()["data"][0].clone();
    assert_eq!(record["Full_Name"], "Ada Byron");
    assert_eq!(record["Owner"]["email"], EMAIL);
    assert_eq!(record["Created_Time"], "2025-11-24T16:00:00+00:00");
    assert_eq!(record.get("Unknown_Field"), None);

    bench.clock.advance(minutes(1));
    let body = json!({ "data": [{ "Last_Name": "Lovelace" }] });
    let changed = bench.crm(Method::PUT, &path, &access, body).await;
    assert_eq!(changed.status, StatusCode::OK);
    assert_eq!(changed.json()["data"][0]["message"], "record updated");
    let body = json!({ "data": [{ "id": id, "Company": "Engines" }, { "id": "1", "City": "x" }] });
    let mixed = bench.crm(Method::PUT, LEADS, &access, body).await;
    assert_eq!(mixed.status, StatusCode::MULTI_STATUS);
    assert_eq!(mixed.json()["data"][1]["code"], "INVALID_DATA");
    let record = bench.read(&path, &access).await.json()["data"][0].clone();
    assert_eq!(record["Full_Name"], "Ada Lovelace");
    assert_eq!(record["Company"], "Engines");
    assert_eq!(record["Modified_Time"], "2025-11-24T16:01:00+00:00");

    let deleted = bench.crm(Method::DELETE, &path, &access, Value::Null).await;
    assert_eq!(deleted.json()["data"][0]["code"], "SUCCESS");
    assert_eq!(bench.read(&path, &access).await.status, StatusCode::NO_CONTENT);
    let gone = bench.read("/crm/v8/Leads/deleted", &access).await;
    assert_eq!(gone.json()["data"][0]["display_name"], "Ada Lovelace");
    let again = bench.crm(Method::DELETE, &path, &access, Value::Null).await;
    assert_eq!(again.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn each_record_has_its_own_result() {
    let bench = Bench::start().await;
    let access = bench.access().await;
    let body = json!({ "data": [
        { "Last_Name": "A" }, { "Company": "B" }, { "Last_Name": "C", "Email": "none" },
        { "Last_Name": "D", "No_of_Employees": "many" }, { "Last_Name": "E".repeat(256) },
    ] });
    let answer = post(&bench, LEADS, &access, body).await;
    assert_eq!(answer.status, StatusCode::MULTI_STATUS);
    let body = answer.json();
    let results = body["data"].as_array().unwrap();
    let codes: Vec<_> = results.iter().map(|it| it["code"].as_str().unwrap()).collect();
    assert_eq!(
        codes,
        ["SUCCESS", "MANDATORY_NOT_FOUND", "INVALID_DATA", "INVALID_DATA", "INVALID_DATA"]
    );
    assert_eq!(
        results[1]["details"],
        json!({ "api_name": "Last_Name", "json_path": "$.data[1].Last_Name" })
    );
    assert_eq!(results[4]["details"]["maximum_length"], 255);

    let none = post(&bench, LEADS, &access, json!({ "data": [{ "Company": "B" }] })).await;
    assert_eq!(none.status, StatusCode::BAD_REQUEST);
    for body in [
        json!({}),
        json!([]),
        json!({ "data": [] }),
        json!({ "data": [1] }),
        json!({ "data": vec![json!({ "Last_Name": "x" }); 101] }),
    ] {
        let answer = post(&bench, LEADS, &access, body).await;
        assert_eq!(
            (answer.status, answer.code()),
            (StatusCode::BAD_REQUEST, "INVALID_DATA".into())
        );
    }
}

#[tokio::test]
async fn a_lookup_names_a_record() {
    let bench = Bench::start().await;
    let access = bench.access().await;
    let account =
        create(&bench, "/crm/v8/Accounts", &access, json!({ "Account_Name": "Engines" })).await;
    let contact = json!({ "Last_Name": "Byron", "Account_Name": { "id": account } });
    let contact = create(&bench, "/crm/v8/Contacts", &access, contact).await;
    let read = bench.read(&format!("/crm/v8/Contacts/{contact}"), &access).await.json();
    assert_eq!(read["data"][0]["Account_Name"], json!({ "name": "Engines", "id": account }));
    let deal = json!({ "Deal_Name": "One", "Account_Name": { "id": "42" }, "Closing_Date": "x" });
    let answer = post(&bench, "/crm/v8/Deals", &access, json!({ "data": [deal] })).await;
    assert_eq!(answer.json()["data"][0]["code"], "INVALID_DATA");
}

#[tokio::test]
async fn an_upsert_does_not_duplicate() {
    let bench = Bench::start().await;
    let access = bench.access().await;
    let path = "/crm/v8/Leads/upsert";
    let body = json!({ "data": [{ "Last_Name": "A", "Email": "a@example.com" }],
                       "duplicate_check_fields": ["Email"] });
    let first = post(&bench, path, &access, body.clone()).await.json()["data"][0].clone();
    assert_eq!((&first["action"], &first["duplicate_field"]), (&json!("insert"), &Value::Null));
    let second = post(&bench, path, &access, body).await.json()["data"][0].clone();
    assert_eq!(
        (&second["action"], &second["duplicate_field"]),
        (&json!("update"), &json!("Email"))
    );
    assert_eq!(first["details"]["id"], second["details"]["id"]);
    assert_eq!(bench.read("/crm/v8/Leads/actions/count", &access).await.json()["count"], 1);
    let body = json!({ "data": [{ "Last_Name": "A" }], "duplicate_check_fields": ["Nothing"] });
    assert_eq!(post(&bench, path, &access, body).await.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn pages_go_past_two_thousand_by_token() {
    let bench = Bench::start().await;
    let access = bench.access().await;
    bench.leads(&access, 2_150).await;
    let base = "/crm/v8/Leads?fields=Last_Name&per_page=200";
    let page = bench.read(&format!("{base}&page=10"), &access).await.json();
    assert_eq!(page["info"]["count"], 200);
    assert_eq!(page["info"]["more_records"], true);
    let too_far = bench.read(&format!("{base}&page=11"), &access).await;
    assert_eq!(too_far.status, StatusCode::BAD_REQUEST);
    assert_eq!(too_far.code(), "DISCRETE_PAGINATION_LIMIT_EXCEEDED");

    let mut seen = std::collections::BTreeSet::new();
    let mut path = base.to_owned();
    let mut pages = 0;
    let info = loop {
        let body = bench.read(&path, &access).await.json();
        pages += 1;
        for record in body["data"].as_array().unwrap() {
            assert!(seen.insert(record["id"].as_str().unwrap().to_owned()), "no record twice");
        }
        if pages == 3 {
            // A new record comes first and moves no page.
            create(&bench, LEADS, &access, json!({ "Last_Name": "Late" })).await;
        }
        assert_eq!(body["info"]["page"], pages);
        match body["info"]["next_page_token"].as_str() {
            Some(token) => path = format!("{base}&page_token={token}"),
            None => break body["info"].clone(),
        }
    };
    assert_eq!((pages, seen.len()), (11, 2_150));
    assert_eq!(info["count"], 150);
    let previous = info["previous_page_token"].as_str().unwrap();
    let back = bench.read(&format!("{base}&page_token={previous}"), &access).await.json();
    assert_eq!(back["info"]["page"], 10);

    let other = format!("/crm/v8/Leads?fields=Company&per_page=200&page_token={previous}");
    assert_eq!(bench.read(&other, &access).await.code(), "INVALID_DATA");
    let both = bench.read(&format!("{base}&page=1&page_token={previous}"), &access).await;
    assert_eq!(both.code(), "AMBIGUITY_DURING_PROCESSING");
    bench.clock.advance(minutes(24 * 60));
    let access = bench.access().await;
    let expired = bench.read(&format!("{base}&page_token={previous}"), &access).await;
    assert_eq!(expired.code(), "EXPIRED_VALUE");
}

#[tokio::test]
async fn lists_are_strict_about_their_parameters() {
    let bench = Bench::start().await;
    let access = bench.access().await;
    bench.leads(&access, 3).await;
    let missing = bench.read(LEADS, &access).await;
    assert_eq!(missing.code(), "REQUIRED_PARAM_MISSING");
    assert_eq!(missing.json()["details"]["param_name"], "fields");
    let many = vec!["Company"; 51].join(",");
    for query in [
        "fields=City&per_page=201",
        "fields=City&per_page=0",
        "fields=City&page=x",
        "fields=City&sort_by=City",
        "fields=City&sort_order=up",
        "fields=City&ids=x",
        &format!("fields={many}"),
    ] {
        let answer = bench.read(&format!("{LEADS}?{query}"), &access).await;
        assert_eq!(answer.code(), "INVALID_DATA", "{query}");
    }
    let ascending =
        bench.read(&format!("{LEADS}?fields=Last_Name&sort_order=asc"), &access).await.json();
    let names: Vec<_> =
        ascending["data"].as_array().unwrap().iter().map(|it| &it["Last_Name"]).collect();
    assert_eq!(names, ["Lead 0", "Lead 1", "Lead 2"]);
    let id = ascending["data"][1]["id"].as_str().unwrap();
    let one = bench.read(&format!("{LEADS}?fields=Last_Name&ids={id}"), &access).await.json();
    assert_eq!(one["info"]["count"], 1);
    assert_eq!(bench.read("/crm/v8/Nothing?fields=x", &access).await.code(), "INVALID_MODULE");
    assert_eq!(bench.read("/crm/v8/settings/x", &access).await.code(), "INVALID_URL_PATTERN");
    assert_eq!(bench.read("/crm/v8/Leads/x", &access).await.code(), "INVALID_DATA");
}

#[tokio::test]
async fn what_did_not_change_is_not_sent() {
    let bench = Bench::start().await;
    let access = bench.access().await;
    bench.leads(&access, 1).await;
    let list = |since: &'static str| {
        let request = bench
            .client
            .get(bench.url("/crm/v8/Leads?fields=Last_Name"))
            .header("authorization", format!("Zoho-oauthtoken {access}"))
            .header("if-modified-since", since);
        async move { request.send().await.unwrap().status() }
    };
    assert_eq!(list("2025-11-24T15:59:59+00:00").await, StatusCode::OK);
    assert_eq!(list("2025-11-24T16:00:00+00:00").await, StatusCode::NOT_MODIFIED);

    let body = bench.read("/crm/v8/Leads?fields=Last_Name", &access).await.json();
    let id = body["data"][0]["id"].as_str().unwrap();
    bench.clock.advance(1000 * MILLISECOND);
    let change = bench
        .client
        .put(bench.url(&format!("{LEADS}/{id}")))
        .header("authorization", format!("Zoho-oauthtoken {access}"))
        .header("if-unmodified-since", "2025-11-24T15:00:00+00:00")
        .body(json!({ "data": [{ "City": "London" }] }).to_string());
    assert_eq!(change.send().await.unwrap().status(), StatusCode::PRECONDITION_FAILED);
}

#[tokio::test]
async fn records_are_searched_and_counted() {
    let bench = Bench::start().await;
    let access = bench.access().await;
    for (name, city) in [("Byron", "London"), ("Hopper", "New York"), ("Turing", "London")] {
        let email = format!("{}@example.com", name.to_lowercase());
        let lead = json!({ "Last_Name": name, "City": city, "Email": email });
        create(&bench, LEADS, &access, lead).await;
    }
    let count = |query: &'static str| {
        let (bench, access) = (&bench, &access);
        async move {
            let answer = bench.read(&format!("/crm/v8/Leads/search?{query}"), access).await;
            answer.json()["info"]["count"].as_u64().unwrap_or_default()
        }
    };
    assert_eq!(count("criteria=(City:equals:London)").await, 2);
    assert_eq!(count("criteria=((City:equals:London)and(Last_Name:starts_with:T))").await, 1);
    assert_eq!(count("email=hopper@example.com").await, 1);
    assert_eq!(count("word=york").await, 1);
    let none = bench.read("/crm/v8/Leads/search?email=x@example.com", &access).await;
    assert_eq!(none.status, StatusCode::NO_CONTENT);
    let missing = bench.read("/crm/v8/Leads/search", &access).await;
    assert_eq!(missing.code(), "REQUIRED_PARAM_MISSING");
    let wrong = bench.read("/crm/v8/Leads/search?criteria=City", &access).await;
    assert_eq!(wrong.code(), "INVALID_DATA");
    let counted = "/crm/v8/Leads/actions/count?criteria=(City:equals:London)";
    assert_eq!(bench.read(counted, &access).await.json()["count"], 2);
}

#[tokio::test]
async fn the_organisation_describes_itself() {
    let bench = Bench::start().await;
    let access = bench.access().await;
    bench.emulator.add_user("bob@example.com", CLIENT_ID, CLIENT_SECRET);
    let org = bench.read("/crm/v8/org", &access).await.json();
    assert_eq!(org["org"][0]["type"], "production");
    assert_eq!(org["org"][0]["zgid"], bench.emulator.zgid());
    let me = bench.read("/crm/v8/users?type=CurrentUser", &access).await.json();
    assert_eq!(me["users"][0]["email"], EMAIL);
    let all = bench.read("/crm/v8/users", &access).await.json();
    assert_eq!(all["info"]["count"], 2);
    let id = me["users"][0]["id"].as_str().unwrap();
    let one = bench.read(&format!("/crm/v8/users/{id}"), &access).await.json();
    assert_eq!(one["users"][0]["email"], EMAIL);

    let modules = bench.read("/crm/v8/settings/modules", &access).await.json();
    let names: Vec<_> =
        modules["modules"].as_array().unwrap().iter().map(|it| &it["api_name"]).collect();
    assert_eq!(names, ["Leads", "Contacts", "Accounts", "Deals"]);
    let fields = bench.read("/crm/v8/settings/fields?module=Leads", &access).await.json();
    let last_name = &fields["fields"][0];
    assert_eq!(last_name["api_name"], "Last_Name");
    assert_eq!(last_name["system_mandatory"], true);
    let missing = bench.read("/crm/v8/settings/fields", &access).await;
    assert_eq!(missing.code(), "REQUIRED_PARAM_MISSING");
}
