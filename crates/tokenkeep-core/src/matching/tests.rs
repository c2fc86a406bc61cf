//! The rules as properties, over an alphabet so small that everything collides.

use proptest::{option, prelude::*, sample::select};

use super::*;
use crate::{Field, StoreErrorKind, TokenTable};

const USERS: &[&str] = &["a", "A"];
const CLIENTS: &[&str] = &["c", "d"];
const DOMAINS: &[&str] = &["https://eu", "https://EU/", "https://us"];
const VALUES: &[&str] = &["test-1", "test-2"];
const IDS: &[&str] = &["1", "2", "3", "x"];
const CLEARABLE: [Field; 5] =
    [Field::ClientId, Field::ApiDomain, Field::RefreshToken, Field::AccessToken, Field::GrantToken];

fn columns() -> impl Strategy<Value = [Option<String>; 10]> {
    let some = |values: &'static [&str]| option::of(select(values).prop_map(str::to_owned));
    let rarely =
        |values: &'static [&str]| option::weighted(0.15, select(values).prop_map(str::to_owned));
    (
        rarely(IDS),
        some(USERS),
        some(CLIENTS),
        some(VALUES),
        some(VALUES),
        some(VALUES),
        rarely(&["1", "2"]),
        some(DOMAINS),
    )
        .prop_map(|(id, user, client, refresh, access, grant, expiry, domain)| {
            [id, user, client, None, refresh, access, grant, expiry, None, domain]
        })
}

/// Any token that names something, some fields of it cleared. One that does not name its user has
/// no API domain and does not clear what tells the tokens of one user apart: see `plan_save`.
fn token() -> impl Strategy<Value = OAuthToken> {
    (columns(), option::weighted(0.2, select(CLEARABLE.to_vec()))).prop_filter_map(
        "names nothing",
        |(mut columns, cleared)| {
            let named = columns[Field::UserName as usize].is_some();
            if !named {
                columns[Field::ApiDomain as usize] = None;
            }
            let token = OAuthToken::from_columns(columns).unwrap();
            let cleared = cleared
                .filter(|field| named || !matches!(field, Field::ClientId | Field::ApiDomain));
            let token = cleared.into_iter().fold(token, OAuthToken::clear);
            (token.has_token() || token.user_name().is_some()).then_some(token)
        },
    )
}

/// What a store holds after any saves.
fn table() -> impl Strategy<Value = TokenTable> {
    proptest::collection::vec(token(), 0..10).prop_map(|tokens| {
        let mut table = TokenTable::new();
        for token in tokens {
            let (Ok(_) | Err(_)) = table.save(&token);
        }
        table
    })
}

fn contents(table: &TokenTable) -> Vec<OAuthToken> {
    table.sorted().into_iter().cloned().collect()
}

fn query_of(token: &OAuthToken) -> Option<TokenQuery> {
    let mut query = TokenQuery::user(token.user_name()?).unwrap();
    if let Some(client_id) = token.client_id() {
        query = query.with_client_id(client_id).unwrap();
    }
    if let Some(api_domain) = token.api_domain() {
        query = query.with_api_domain(api_domain).unwrap();
    }
    Some(query)
}

/// Plans and errors by what they say.
fn said(plan: Result<SavePlan, StoreError>) -> Result<SavePlan, (StoreErrorKind, Vec<TokenId>)> {
    plan.map_err(|error| (error.kind(), error.ids().to_vec()))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    /// Where several nameless records hold values of one login, each save folds one of them.
    #[test]
    fn saving_twice_is_saving_once(mut table in table(), token in token()) {
        let Ok(once) = table.save(&token) else { return Ok(()) };
        let mut saved = once.token.clone();
        for repeat_what_was_given in [true, false] {
            let repeated = if repeat_what_was_given { token.clone() } else { saved.clone() };
            let id_is_gone = once.absorbed.is_some() && repeated.id() == once.absorbed.as_ref();
            if !repeated.has_token() || id_is_gone {
                continue;
            }
            let before = contents(&table);
            let again = table.save(&repeated).unwrap();
            prop_assert_eq!(again.token.id(), once.token.id());
            if again.absorbed.is_none() {
                prop_assert_eq!(contents(&table), before);
            }
            saved = again.token;
        }
    }

    #[test]
    fn a_refused_save_changes_nothing(mut table in table(), token in token()) {
        let before = contents(&table);
        if table.save(&token).is_err() {
            prop_assert_eq!(contents(&table), before);
        }
    }

    #[test]
    fn what_was_saved_is_found(mut table in table(), token in token()) {
        if let Ok(saved) = table.save(&token) {
            let saved = saved.token;
            prop_assert_eq!(table.find_by_id(saved.id().unwrap()).unwrap(), Some(&saved));
            if let Some(query) = query_of(&saved) {
                prop_assert_eq!(table.find(&query).unwrap(), Some(&saved));
            }
        }
    }

    #[test]
    fn the_order_of_the_candidates_does_not_matter(
        (one, other) in table().prop_flat_map(|table| {
            let rows = contents(&table);
            (Just(rows.clone()), Just(rows).prop_shuffle())
        }),
        token in token(),
    ) {
        prop_assert_eq!(said(plan_save(&token, &one)), said(plan_save(&token, &other)));
        if let Some(query) = query_of(&token) {
            let find = |rows| {
                find_one(&query, rows).map(Option::<&OAuthToken>::cloned).map_err(|e| e.ids().to_vec())
            };
            prop_assert_eq!(find(&one), find(&other));
        }
    }

    #[test]
    fn no_user_has_two_tokens_of_one_client_and_domain(table in table()) {
        let rows = contents(&table);
        for (number, one) in rows.iter().enumerate() {
            for other in &rows[number + 1..] {
                prop_assert!(
                    one.user_name().is_none()
                        || one.user_name() != other.user_name()
                        || !Identity::of(one).agrees_with(other),
                    "{:?} and {:?}", one, other
                );
            }
        }
    }

    #[test]
    fn a_save_means_no_other_user_and_no_other_client(table in table(), token in token()) {
        let rows = contents(&table);
        let row = |id: &TokenId| rows.iter().find(|row| row.id() == Some(id)).unwrap();
        if let Ok(SavePlan::Update { id, absorbs, .. }) = plan_save(&token, &rows) {
            for stored in [Some(&id), absorbs.as_ref()].into_iter().flatten().map(row) {
                prop_assert!(agree(token.user_name(), stored.user_name()));
                prop_assert!(agree(token.client_id(), stored.client_id()));
            }
        }
    }

    #[test]
    fn absent_fields_stay(table in table(), token in token()) {
        let rows = contents(&table);
        let row = |id: &TokenId| rows.iter().find(|row| row.id() == Some(id)).unwrap();
        if let Ok(SavePlan::Update { id, merged, absorbs }) = plan_save(&token, &rows) {
            let (stored, absorbed) = (row(&id), absorbs.as_ref().map(row));
            prop_assert_eq!(merged.id(), Some(&id));
            for field in Field::ALL.into_iter().skip(1) {
                let source = match absorbed {
                    _ if token.has(field) || token.clears(field) => &token,
                    Some(absorbed) if absorbed.has(field) => absorbed,
                    _ => stored,
                };
                let at = field as usize;
                prop_assert_eq!(&merged.expose_columns()[at], &source.expose_columns()[at]);
            }
        }
    }

    #[test]
    fn only_a_nameless_record_of_the_same_identity_is_folded(table in table(), token in token()) {
        let rows = contents(&table);
        let row = |id: &TokenId| rows.iter().find(|row| row.id() == Some(id)).unwrap();
        if let Ok(SavePlan::Update { id, absorbs: Some(absorbed), .. }) = plan_save(&token, &rows) {
            let (stored, absorbed) = (row(&id), row(&absorbed));
            prop_assert_eq!(stored.user_name(), token.user_name());
            prop_assert!(token.user_name().is_some());
            prop_assert_eq!(absorbed.user_name(), None);
            prop_assert!(Identity::of(stored).agrees_with(absorbed));
            prop_assert!(stored.id() != absorbed.id());
        }
    }

    #[test]
    fn a_find_gives_what_the_query_names(table in table(), token in token()) {
        let Some(query) = query_of(&token) else { return Ok(()) };
        let rows = contents(&table);
        match find_one(&query, &rows) {
            Ok(Some(found)) => {
                prop_assert_eq!(found.user_name(), token.user_name());
                prop_assert!(Identity::of(&token).agrees_with(found));
            }
            Ok(None) => prop_assert!(!rows.iter().any(|row| matches(&query, row))),
            Err(error) => {
                prop_assert_eq!(error.kind(), StoreErrorKind::Ambiguous);
                prop_assert!(error.ids().len() > 1);
            }
        }
    }
}

fn named(text: [Option<&str>; 4]) -> OAuthToken {
    let [id, user, client, refresh] = text.map(|text| text.map(str::to_owned));
    let columns = [id, user, client, None, refresh, None, None, None, None, None];
    OAuthToken::from_columns(columns).unwrap()
}

#[test]
fn a_nameless_login_of_another_client_is_not_folded_into_the_users_token() {
    let rows = [
        named([Some("1"), Some("a"), Some("c"), Some("test-old")]),
        named([Some("2"), None, Some("d"), Some("test-new")]),
    ];
    let plan = plan_save(&named([None, Some("a"), None, Some("test-new")]), &rows).unwrap();
    assert!(
        matches!(&plan, SavePlan::Update { id, absorbs: None, .. } if id.as_str() == "2"),
        "{plan:?}"
    );
}

#[test]
fn folding_keeps_the_refresh_token_of_the_later_login() {
    let rows = [
        named([Some("1"), Some("a"), Some("c"), Some("test-old")]),
        named([Some("2"), None, Some("c"), Some("test-new")]),
    ];
    let token = OAuthToken::builder().id("2").user_name("a").access_token("test-access");
    let SavePlan::Update { merged, absorbs, .. } =
        plan_save(&token.build().unwrap(), &rows).unwrap()
    else {
        panic!("it is known by its id");
    };
    assert_eq!(merged.id().unwrap().as_str(), "1");
    assert_eq!(merged.refresh_token().unwrap().expose_secret(), "test-new");
    assert_eq!(absorbs.unwrap().as_str(), "2");
}

#[test]
fn two_tokens_of_a_user_do_not_become_the_same() {
    let eu = |id: &str| {
        named([Some(id), Some("a"), Some("c"), Some("test-eu")]).with_api_domain("eu").unwrap()
    };
    let us = named([Some("2"), Some("a"), Some("c"), Some("test-us")]);
    let rows = [eu("1"), us.clone().with_api_domain("us").unwrap()];
    for change in [eu("2"), us.clear(Field::ApiDomain)] {
        let error = plan_save(&change, &rows).unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Conflict);
        assert_eq!(error.ids().len(), 2);
    }
}
