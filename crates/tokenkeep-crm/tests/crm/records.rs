//! Every call, where all goes well or a record is not taken.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokenkeep_crm::{CrmErrorKind, Method, StatusCode, WriteStatus};

use crate::setup::{Setup, USER};

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Account {
    #[serde(rename = "id", default, skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    #[serde(rename = "Account_Name")]
    name: String,
    phone: Option<String>,
}

fn account(name: &str) -> Account {
    Account { id: None, name: name.to_owned(), phone: None }
}

#[tokio::test]
async fn the_user_and_the_organisation_are_named() {
    let setup = Setup::new().await;
    let user = setup.crm.current_user().await.unwrap();
    assert_eq!((user.email.as_str(), user.full_name.as_deref()), (USER, Some("ada")));
    assert!(user.other.contains_key("profile"));
    assert!(!user.other.contains_key("email"));

    let org = setup.crm.org().await.unwrap();
    assert_eq!(org.zgid, Some(setup.emulator.zgid()));
    assert_eq!(org.kind.as_deref(), Some("production"));
    assert!(org.company_name.starts_with("Emulated"));
}

#[tokio::test]
async fn a_record_is_created_read_changed_and_deleted() {
    let setup = Setup::new().await;
    let accounts = setup.crm.records("Accounts");
    assert_eq!(accounts.count().await.unwrap(), 0);

    let created = accounts.create(&[account("One"), account("Two")]).await.unwrap();
    assert_eq!(created.len(), 2);
    assert!(created.iter().all(|result| result.status.is_success() && result.code == "SUCCESS"));
    assert_eq!(created[0].message, "record added");
    assert!(created[0].details.contains_key("Created_Time"));
    let id = created[0].id.clone().unwrap();
    assert_eq!(accounts.count().await.unwrap(), 2);

    let read = accounts.get(&id).await.unwrap().unwrap();
    assert_eq!(read["Account_Name"], "One");
    let read: Account = accounts.get_as(&id).await.unwrap().unwrap();
    assert_eq!(read.name, "One");

    let one = accounts.update_one(&id, &json!({ "Phone": "1" })).await.unwrap();
    assert_eq!((one.message.as_str(), one.id.as_ref()), ("record updated", Some(&id)));
    let changed = Account { id: Some(id.clone()), phone: Some("2".to_owned()), ..account("Uno") };
    let results = accounts.triggers(&[]).update(&[changed]).await.unwrap();
    assert!(results[0].status.is_success());
    let accounts = setup.crm.records("Accounts");
    let read: Account = accounts.get_as(&id).await.unwrap().unwrap();
    assert_eq!((read.name.as_str(), read.phone.as_deref()), ("Uno", Some("2")));

    let gone = accounts.delete(&[&id]).await.unwrap();
    assert!(gone[0].status.is_success());
    assert_eq!(gone[0].id.as_ref(), Some(&id));
    assert_eq!(accounts.get(&id).await.unwrap(), None, "204 is no record, and no error");
    assert_eq!(accounts.count().await.unwrap(), 1);
}

#[tokio::test]
async fn an_upsert_says_what_it_did_and_can_be_made_again() {
    let setup = Setup::new().await;
    let leads = setup.crm.records("Leads");
    let lead = json!({ "Last_Name": "Byron", "Email": "ada@example.com", "Phone": "1" });
    let first = leads.upsert(std::slice::from_ref(&lead), &["Phone"]).await.unwrap();
    assert_eq!(first[0].action.as_deref(), Some("insert"));
    assert_eq!(first[0].duplicate_field, None);
    let second = leads.upsert(&[lead], &["Phone"]).await.unwrap();
    assert_eq!(second[0].action.as_deref(), Some("update"));
    assert_eq!(second[0].duplicate_field.as_deref(), Some("Phone"));
    assert_eq!(first[0].id, second[0].id);

    let by_default = json!({ "Last_Name": "King", "Email": "ADA@example.com" });
    let third = leads.upsert(&[by_default], &[]).await.unwrap();
    assert_eq!(third[0].duplicate_field.as_deref(), Some("Email"));
    assert_eq!(leads.count().await.unwrap(), 1);
}

#[tokio::test]
async fn each_record_has_its_own_result() {
    let setup = Setup::new().await;
    let leads = setup.crm.records("Leads");
    let good = json!({ "Last_Name": "Byron" });
    let bad = json!({ "First_Name": "Ada" });

    let some = leads.create(&[good.clone(), bad.clone(), good.clone()]).await.unwrap();
    let status: Vec<WriteStatus> = some.iter().map(|result| result.status).collect();
    assert_eq!(status, [WriteStatus::Success, WriteStatus::Error, WriteStatus::Success]);
    assert_eq!(some[1].code, "MANDATORY_NOT_FOUND");
    assert_eq!(some[1].details["api_name"], "Last_Name");
    assert_eq!(some[1].id, None);

    // None was taken: the status is 400, and the results are in its body all the same.
    let none = leads.create(&[bad.clone(), bad]).await.unwrap();
    assert!(none.iter().all(|result| !result.status.is_success()));

    let id = some[0].id.clone().unwrap();
    let results = leads.delete(&[id.as_str(), "1"]).await.unwrap();
    assert_eq!(results[1].code, "INVALID_DATA");
    assert!(results[0].status.is_success());
    let missing = leads.update_one("1", &json!({ "City": "London" })).await.unwrap();
    assert_eq!(missing.status, WriteStatus::Error);
}

#[tokio::test]
async fn a_record_that_was_changed_meanwhile_is_not_overwritten() {
    let setup = Setup::new().await;
    let leads = setup.crm.records("Leads");
    let created = leads.create(&[json!({ "Last_Name": "Byron" })]).await.unwrap();
    let id = created[0].id.clone().unwrap();
    let change = json!({ "City": "London" });
    let stale = leads.clone().unmodified_since("2001-01-01T00:00:00+00:00");
    let error = stale.update_one(&id, &change).await.unwrap_err();
    assert_eq!(error.kind(), CrmErrorKind::Modified);
    assert_eq!(error.code(), Some("RECORD_MODIFIED"));
    assert_eq!(error.path(), Some(format!("/crm/v8/Leads/{id}").as_str()));
    let fresh = leads.unmodified_since("2999-01-01T00:00:00+00:00");
    assert!(fresh.update_one(&id, &change).await.unwrap().status.is_success());
}

#[tokio::test]
async fn any_path_of_the_api_can_be_asked() {
    let setup = Setup::new().await;
    let answer = setup.crm.request(Method::GET, "settings/modules").send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(answer.json::<Value>().unwrap()["modules"][0]["api_name"], "Leads");
    assert_eq!(
        format!("{answer:?}"),
        format!("CrmResponse {{ status: 200, bytes: {}, .. }}", answer.body().len())
    );

    let body = json!({ "data": [{ "Last_Name": "Byron (Lovelace) & more" }] });
    let url = format!("{}/crm/v8/Leads", setup.emulator.url());
    let post = setup.crm.request(Method::POST, &url).json(&body).unwrap();
    assert_eq!(post.send().await.unwrap().status(), StatusCode::CREATED);

    let found = setup
        .crm
        .request(Method::GET, "/crm/v8/Leads/search?per_page=5")
        .query(&[("word", "(Lovelace) & more")])
        .send()
        .await
        .unwrap();
    assert_eq!(found.json::<Value>().unwrap()["info"]["count"], 1);

    let unchanged = setup
        .crm
        .request(Method::GET, "settings/modules")
        .header("If-Modified-Since", "2999-01-01T00:00:00+00:00")
        .send()
        .await
        .unwrap();
    assert_eq!(unchanged.status(), StatusCode::NOT_MODIFIED);
    assert!(unchanged.into_body().is_empty());
}

#[tokio::test]
async fn what_cannot_be_right_is_not_sent() {
    let setup = Setup::new().await;
    let before = setup.emulator.stats().api_requests;
    let leads = setup.crm.records("Leads");
    let none: [Value; 0] = [];
    let many = vec![json!({ "Last_Name": "Byron" }); 101];
    let kinds = [
        leads.create(&none).await.unwrap_err().kind(),
        leads.create(&many).await.unwrap_err().kind(),
        leads.update(&many).await.unwrap_err().kind(),
        leads.delete(&[""; 0]).await.unwrap_err().kind(),
        leads.delete(&vec!["1"; 101]).await.unwrap_err().kind(),
        leads.delete(&["1,2"]).await.unwrap_err().kind(),
        leads.get("../org").await.unwrap_err().kind(),
        leads.get("").await.unwrap_err().kind(),
        leads.update_one("1?x", &json!({})).await.unwrap_err().kind(),
        leads.upsert(&[json!({})], &["a,b"]).await.unwrap_err().kind(),
        setup.crm.records("Leads/1").count().await.unwrap_err().kind(),
        setup.crm.records("").count().await.unwrap_err().kind(),
    ];
    assert_eq!(kinds, [CrmErrorKind::Invalid; 12]);
    for (name, value) in [
        ("Authorization", "test"),
        ("host", "evil.example"),
        ("a b", "test"),
        ("X-Test", "line\r\nbreak"),
    ] {
        let request = setup.crm.request(Method::GET, "org").header(name, value);
        assert_eq!(request.send().await.unwrap_err().kind(), CrmErrorKind::Invalid, "{name}");
    }
    assert_eq!(setup.emulator.stats().api_requests, before);
}
