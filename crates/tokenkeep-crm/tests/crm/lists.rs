//! Lists and their pages.

use std::collections::BTreeSet;

use futures_util::{StreamExt, TryStreamExt};
use serde::Deserialize;
use serde_json::{Value, json};
use tokenkeep_crm::{CrmErrorKind, ListOptions, Records, SortOrder};

use crate::setup::Setup;

async fn fill(leads: &Records, count: usize) {
    let names: Vec<Value> =
        (0..count).map(|i| json!({ "Last_Name": format!("Lead {i}") })).collect();
    for chunk in names.chunks(100) {
        let results = leads.create(chunk).await.unwrap();
        assert!(results.iter().all(|result| result.status.is_success()));
    }
}

#[tokio::test]
async fn all_records_are_read_past_the_first_two_thousand() {
    let setup = Setup::new().await;
    let leads = setup.crm.records("Leads");
    fill(&leads, 2_350).await;

    for (per_page, pages) in [(200, 12), (150, 16)] {
        let options =
            ListOptions::new(["Last_Name"]).per_page(per_page).sort_by("id", SortOrder::Ascending);
        let mut pager = leads.list(options);
        let mut names = BTreeSet::new();
        let mut numbers = Vec::new();
        while let Some(page) = pager.next().await.unwrap() {
            assert_eq!(page.more, page.number < pages);
            numbers.push(page.number);
            names
                .extend(page.records.iter().map(|it| it["Last_Name"].as_str().unwrap().to_owned()));
        }
        assert_eq!(numbers, (1..=pages).collect::<Vec<u64>>());
        assert_eq!(names.len(), 2_350);
        let asked = setup.emulator.stats().api_requests;
        assert!(pager.next().await.unwrap().is_none(), "the end is the end");
        assert_eq!(setup.emulator.stats().api_requests, asked, "and is not asked for again");
    }
}

#[tokio::test]
async fn a_list_is_a_stream_of_pages_or_all_records() {
    #[derive(Deserialize)]
    struct Lead {
        #[serde(rename = "Last_Name")]
        last_name: String,
    }
    let setup = Setup::new().await;
    let leads = setup.crm.records("Leads");
    fill(&leads, 25).await;
    let options = ListOptions::new(["Last_Name"]).per_page(10).sort_by("id", SortOrder::Ascending);

    let pages: Vec<usize> = leads
        .list(options.clone())
        .into_stream()
        .map_ok(|page| page.records.len())
        .try_collect()
        .await
        .unwrap();
    assert_eq!(pages, [10, 10, 5]);

    let all: Vec<Lead> = leads.list_as(options).all().await.unwrap();
    assert_eq!(all.len(), 25);
    assert_eq!(all[24].last_name, "Lead 24");
}

#[tokio::test]
async fn nothing_to_list_is_no_page() {
    let setup = Setup::new().await;
    let leads = setup.crm.records("Leads");
    let options = ListOptions::new(["Last_Name"]);
    assert!(leads.list(options.clone()).next().await.unwrap().is_none(), "204");
    fill(&leads, 1).await;
    let unchanged = options.clone().modified_since("2999-01-01T00:00:00+00:00");
    assert!(leads.list(unchanged).next().await.unwrap().is_none(), "304");
    let changed = options.modified_since("2001-01-01T00:00:00+00:00");
    assert_eq!(leads.list(changed).all().await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_page_that_failed_is_asked_for_again() {
    let setup = Setup::new().await;
    let leads = setup.crm.records("Leads");
    fill(&leads, 15).await;
    let mut pager = leads.list(ListOptions::new(["Last_Name"]).per_page(10));
    assert_eq!(pager.next().await.unwrap().unwrap().number, 1);
    setup.answers("/crm/v8/Leads", &[(503, "")]);
    assert_eq!(pager.next().await.unwrap_err().kind(), CrmErrorKind::Server);
    let page = pager.next().await.unwrap().unwrap();
    assert_eq!((page.number, page.records.len(), page.more), (2, 5, false));
}

#[tokio::test]
async fn pages_that_lead_nowhere_are_an_error_and_not_an_endless_list() {
    let setup = Setup::new().await;
    let leads = setup.crm.records("Leads");
    let record = json!({ "id": "1", "Last_Name": "Byron" });
    let page = |token: Option<&str>| {
        json!({ "data": [record], "info": { "more_records": true, "next_page_token": token } })
            .to_string()
    };
    let (none, a) = (page(None), page(Some("test-page-a")));

    // Ten pages of 200 by number, then no token.
    setup.answers("/crm/v8/Leads", &[(200, none.as_str()); 10]);
    let mut pager = leads.list(ListOptions::new(["Last_Name"]));
    for number in 1..10 {
        assert_eq!(pager.next().await.unwrap().unwrap().number, number);
    }
    assert_eq!(pager.next().await.unwrap_err().kind(), CrmErrorKind::Malformed);

    // The same token for the page after.
    setup.answers("/crm/v8/Leads", &[(200, a.as_str()); 12]);
    let stream = leads.list(ListOptions::new(["Last_Name"])).into_stream();
    let pages: Vec<_> = stream.collect().await;
    assert_eq!(pages.len(), 11, "ten pages and an error");
    let error = pages.into_iter().next_back().unwrap().unwrap_err();
    assert_eq!(error.kind(), CrmErrorKind::Malformed);
    assert!(!crate::setup::shown(&error).contains("test-page-a"));
}

#[tokio::test]
async fn options_that_are_wrong_are_not_sent() {
    let setup = Setup::new().await;
    let before = setup.emulator.stats().api_requests;
    let mut pager = setup.crm.records("Leads").list(ListOptions::new([""; 0]));
    assert_eq!(pager.next().await.unwrap_err().kind(), CrmErrorKind::Invalid);
    assert_eq!(setup.emulator.stats().api_requests, before);
    // What the CRM does not know is for the CRM to say.
    let options = ListOptions::new(["Last_Name"]).sort_by("Email", SortOrder::Descending);
    let error = setup.crm.records("Leads").list(options).next().await.unwrap_err();
    assert_eq!((error.kind(), error.field()), (CrmErrorKind::Refused, Some("sort_by")));
}
