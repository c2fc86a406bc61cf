//! What is read is byte for byte what was saved, or it was refused before anything was written.

use tokenkeep_core::{
    AccessToken, Field, FieldError, GrantToken, OAuthToken, RefreshToken, StoreErrorKind,
    Timestamp, TokenQuery, TokenStore,
};

use super::{ALICE, BOB, check_holds, found, id_of, of, user};
use crate::conformance::{
    Case, CaseResult, Context, Failure, Needs,
    case::{case, check, check_eq, check_same},
};

pub(super) const CASES: &[Case] = &[
    case!(quotes_commas_and_backslashes_are_kept).baseline(&["F08", "F16"]),
    case!(line_breaks_and_tabs_are_kept).baseline(&["F16"]),
    case!(control_characters_are_kept).baseline(&["F15"]),
    case!(all_scripts_are_kept).baseline(&["F15"]),
    case!(blanks_are_kept).baseline(&["F15"]),
    case!(long_values_are_kept).baseline(&["F13"]),
    case!(sql_is_data).baseline(&["F08"]),
    case!(names_of_columns_are_data).baseline(&["F33"]),
    case!(users_that_look_alike_are_different).baseline(&["F15"]),
    case!(clients_that_look_alike_are_different).baseline(&["F15"]),
    case!(tokens_that_look_alike_are_different).baseline(&["F15"]),
    case!(every_expiry_is_kept).baseline(&["F34"]),
    case!(an_absent_field_is_absent_not_empty).baseline(&["F16"]),
    case!(an_absent_field_is_absent_after_reopening).needs(Needs::PERSISTENT).baseline(&["F16"]),
];

/// A token that has `value` in `field`, and its own values elsewhere.
fn with_value(field: Field, value: &str) -> Result<OAuthToken, Failure> {
    let mut columns = super::full(ALICE)?.expose_columns().map(|c| c.map(String::from));
    columns[field as usize] = Some(value.to_owned());
    Ok(OAuthToken::from_columns(columns)?)
}

/// The fields that hold text.
const TEXTS: [Field; 9] = [
    Field::Id,
    Field::UserName,
    Field::ClientId,
    Field::ClientSecret,
    Field::RefreshToken,
    Field::AccessToken,
    Field::GrantToken,
    Field::RedirectUrl,
    Field::ApiDomain,
];

/// Saves each of `values` in each field, beside another user's token, and reads it back in all
/// ways: from this instance and from a new one.
async fn check_kept(cx: &Context, values: &[&str]) -> CaseResult {
    let store = cx.open().await?;
    let bob = store.save_token(&of(BOB).id("bob").build()?).await?;
    for field in TEXTS {
        for value in values {
            let token = with_value(field, value)?;
            match store.save_token(&token).await {
                Ok(saved) => {
                    let token = token.with_id(id_of(&saved)?);
                    check_same(&format!("{value:?} in {field}"), &saved, &token)?;
                    check_read(&*store, field, value, &saved).await?;
                    if cx.capabilities().persistent {
                        check_read(&*cx.open().await?, field, value, &saved).await?;
                    }
                    let deleted = store.delete_token(&id_of(&saved)?).await?;
                    check!(deleted, "{value:?} in {field} is not there to delete");
                }
                Err(error) => {
                    check!(
                        (cx.capabilities().refuses)(field, value),
                        "{value:?} in {field} is refused: {error:?}"
                    );
                    check_eq!(error.kind(), StoreErrorKind::Invalid);
                    let text = error.to_string();
                    check!(text.contains(field.name()), "{text:?} does not name {field}");
                }
            }
            check_holds(&*store, std::slice::from_ref(&bob)).await?;
        }
    }
    Ok(())
}

async fn check_read(
    store: &dyn TokenStore,
    field: Field,
    value: &str,
    saved: &OAuthToken,
) -> CaseResult {
    let what = format!("{value:?} in {field}");
    let by_id = store.find_token_by_id(&id_of(saved)?).await?;
    check!(by_id.is_some(), "{what}: not found by id");
    let query = match field {
        Field::UserName => user(value)?,
        Field::ClientId => user(ALICE)?.with_client_id(value)?,
        Field::ApiDomain => user(ALICE)?.with_api_domain(value)?,
        Field::AccessToken => TokenQuery::access_token(AccessToken::new(value)?),
        Field::GrantToken => TokenQuery::grant_token(GrantToken::new(value)?),
        Field::RefreshToken => TokenQuery::refresh_token(RefreshToken::new(value)?),
        Field::Id | Field::ClientSecret | Field::ExpiryTime | Field::RedirectUrl => user(ALICE)?,
    };
    let all = store.get_tokens().await?;
    let listed = all.into_iter().find(|token| token.id() == saved.id());
    for read in [by_id, store.find_token(&query).await?, listed] {
        let read = read.ok_or_else(|| Failure::new(format!("{what}: not found")))?;
        check_same(&what, &read, saved)?;
    }
    Ok(())
}

async fn quotes_commas_and_backslashes_are_kept(cx: &Context) -> CaseResult {
    let values = [
        "O'Brien",
        "\"",
        "\"\"",
        "a\"b",
        "'",
        "''",
        "`",
        "a,b",
        ",",
        ",,,",
        "\\",
        "\\\\",
        "a\\",
        "\\n",
        "\\\"",
        "\"a\",\"b\"",
        ";",
        "#a",
        "a=b&c=d",
        "{\"a\":[1]}",
        "%00",
        "<a>&amp;",
        "|",
    ];
    check_kept(cx, &values).await
}

async fn line_breaks_and_tabs_are_kept(cx: &Context) -> CaseResult {
    let values = [
        "a\nb",
        "a\rb",
        "a\r\nb",
        "\n",
        "\r",
        "\r\n",
        "a\n",
        "a\r\n",
        "\na",
        "a\n\nb",
        "a\tb",
        "\t",
        "a\u{b}b\u{c}c",
        "a\u{85}b",
        "a\u{2028}b\u{2029}c",
        "a\n2,bob@example.com,,,,,,,,",
    ];
    check_kept(cx, &values).await
}

async fn control_characters_are_kept(cx: &Context) -> CaseResult {
    let values = ["a\0b", "\0", "a\0", "\0a", "\u{1}\u{1f}\u{7f}", "a\u{1a}b", "\u{1b}[31m"];
    check_kept(cx, &values).await
}

async fn all_scripts_are_kept(cx: &Context) -> CaseResult {
    let values = [
        "jos\u{e9}",
        "jose\u{301}",
        "\u{1f600}",
        "\u{1f468}\u{200d}\u{1f469}\u{200d}\u{1f467}",
        "\u{5d0}\u{5dc}\u{5d9}\u{5e1}@example.com",
        "\u{202e}abc\u{202c}",
        "\u{6f22}\u{5b57}",
        "\u{feff}bom",
        "a\u{200b}b",
        "\u{10ffff}",
        "\u{fffd}",
        "\u{df}\u{1e9e}",
        "\u{130}i\u{131}",
    ];
    check_kept(cx, &values).await
}

async fn blanks_are_kept(cx: &Context) -> CaseResult {
    check_kept(cx, &[" ", "  ", " a", "a ", " a ", "\u{a0}a\u{a0}", "a  b", "\u{3000}"]).await
}

async fn long_values_are_kept(cx: &Context) -> CaseResult {
    let long = [255, 256, 1_000, 4_096].map(|length| "x".repeat(length));
    let wide = "\u{1f600}".repeat(256);
    let mut values: Vec<&str> = long.iter().map(String::as_str).collect();
    values.push(&wide);
    check_kept(cx, &values).await
}

const INJECTIONS: [&str; 9] = [
    "' or 1=1 --",
    "' or '1'='1",
    "1 or 1=1",
    "1; drop table oauthtoken",
    "'; delete from oauthtoken; --",
    "\" or \"\"=\"",
    "' union select * from oauthtoken --",
    "%",
    "_",
];

async fn sql_is_data(cx: &Context) -> CaseResult {
    check_kept(cx, &INJECTIONS).await?;
    let store = cx.open().await?;
    let before = store.get_tokens().await?;
    for text in INJECTIONS {
        let read = [
            store.find_token(&user(text)?).await?,
            store
                .find_token(&user(BOB)?.with_client_id(text)?)
                .await?
                .filter(|t| t.has(Field::ClientId)),
            store.find_token(&TokenQuery::access_token(AccessToken::new(text)?)).await?,
            store.find_token(&TokenQuery::refresh_token(RefreshToken::new(text)?)).await?,
            store.find_token(&TokenQuery::grant_token(GrantToken::new(text)?)).await?,
            store.find_token_by_id(&super::id(text)?).await?,
        ];
        check!(read.iter().all(Option::is_none), "{text:?} finds {read:?}");
        check!(!store.delete_token(&super::id(text)?).await?, "{text:?} deletes something");
    }
    check_holds(&*store, &before).await
}

async fn names_of_columns_are_data(cx: &Context) -> CaseResult {
    let values = ["id", "user_name", "expiry_time", "api_domain", "null", "NULL", "None", "nil"];
    check_kept(cx, &values).await
}

const ALIKE: [&str; 10] = [
    "jose@x.example",
    "Jose@x.example",
    "JOSE@X.EXAMPLE",
    "jos\u{e9}@x.example",
    "jose\u{301}@x.example",
    "jose@x.example ",
    " jose@x.example",
    "jose@x.example\u{a0}",
    "\u{ff4a}ose@x.example",
    "jo\u{17f}e@x.example",
];

/// The look-alikes that the store can hold in `field`.
fn alike(cx: &Context, field: Field) -> Vec<&'static str> {
    ALIKE.into_iter().filter(|text| !(cx.capabilities().refuses)(field, text)).collect()
}

async fn users_that_look_alike_are_different(cx: &Context) -> CaseResult {
    let store = cx.open().await?;
    let names = alike(cx, Field::UserName);
    let mut saved = Vec::new();
    for (number, name) in names.iter().enumerate() {
        let token = OAuthToken::builder().user_name(*name);
        let token = token.refresh_token(format!("test-refresh-{number}")).build()?;
        saved.push(store.save_token(&token).await?);
    }
    check_holds(&*store, &saved).await?;
    for (name, saved) in names.iter().zip(&saved) {
        check_same(&format!("{name:?}"), &found(&*store, &user(name)?).await?, saved)?;
    }
    Ok(())
}

async fn clients_that_look_alike_are_different(cx: &Context) -> CaseResult {
    let store = cx.open().await?;
    let clients = alike(cx, Field::ClientId);
    let mut saved = Vec::new();
    for (number, client) in clients.iter().enumerate() {
        let token = OAuthToken::builder().user_name(ALICE).client_id(*client);
        let token = token.refresh_token(format!("test-refresh-{number}")).build()?;
        saved.push(store.save_token(&token).await?);
    }
    check_holds(&*store, &saved).await?;
    for (client, saved) in clients.iter().zip(&saved) {
        let query = user(ALICE)?.with_client_id(*client)?;
        check_same(&format!("{client:?}"), &found(&*store, &query).await?, saved)?;
    }
    Ok(())
}

async fn tokens_that_look_alike_are_different(cx: &Context) -> CaseResult {
    let store = cx.open().await?;
    type Query = fn(&str) -> Result<TokenQuery, FieldError>;
    let kinds: [(Field, Query); 3] = [
        (Field::AccessToken, |text| Ok(TokenQuery::access_token(AccessToken::new(text)?))),
        (Field::GrantToken, |text| Ok(TokenQuery::grant_token(GrantToken::new(text)?))),
        (Field::RefreshToken, |text| Ok(TokenQuery::refresh_token(RefreshToken::new(text)?))),
    ];
    for (field, query) in kinds {
        let texts = alike(cx, field);
        let mut saved = Vec::new();
        for text in &texts {
            let mut columns: [Option<String>; 10] = Default::default();
            columns[field as usize] = Some((*text).to_owned());
            saved.push(store.save_token(&OAuthToken::from_columns(columns)?).await?);
        }
        check_holds(&*store, &saved).await?;
        for (text, saved) in texts.iter().zip(&saved) {
            check_same(&format!("{text:?}"), &found(&*store, &query(text)?).await?, saved)?;
        }
        store.delete_tokens().await?;
    }
    Ok(())
}

async fn every_expiry_is_kept(cx: &Context) -> CaseResult {
    let store = cx.open().await?;
    for millis in [0, 1, 999, 1_764_000_000_000, i64::from(i32::MAX) + 1, i64::MAX, -1] {
        let expiry_time = Timestamp::from_millis(millis);
        let token = of(ALICE).access_token("test-access-1").expiry_time(expiry_time).build()?;
        let saved = match store.save_token(&token).await {
            Ok(saved) => saved,
            Err(error) => {
                check!(
                    (cx.capabilities().refuses)(Field::ExpiryTime, &millis.to_string()),
                    "expiry {millis} is refused: {error:?}"
                );
                continue;
            }
        };
        check_eq!(saved.expiry_time(), Some(expiry_time));
        check_eq!(found(&*store, &user(ALICE)?).await?.expiry_time(), Some(expiry_time));
        if cx.capabilities().persistent {
            let read = found(&*cx.open().await?, &user(ALICE)?).await?;
            check_eq!(read.expiry_time(), Some(expiry_time));
        }
    }
    Ok(())
}

/// Tokens with one field each, beside what makes them a token at all.
fn sparse() -> Result<Vec<OAuthToken>, Failure> {
    let full = super::full(ALICE)?.expose_columns().map(|column| column.map(String::from));
    let mut tokens = Vec::new();
    for field in Field::ALL.into_iter().skip(1) {
        let mut columns: [Option<String>; 10] = Default::default();
        columns[field as usize].clone_from(&full[field as usize]);
        if !matches!(field, Field::AccessToken | Field::GrantToken | Field::RefreshToken) {
            columns[Field::RefreshToken as usize] = Some(format!("test-refresh-with-{field}"));
        }
        tokens.push(OAuthToken::from_columns(columns)?);
    }
    Ok(tokens)
}

async fn an_absent_field_is_absent_not_empty(cx: &Context) -> CaseResult {
    let store = cx.open().await?;
    for token in sparse()? {
        let saved = store.save_token(&token).await?;
        let read = store.find_token_by_id(&id_of(&saved)?).await?;
        check_same("a token", &saved.clone().without_id(), &token)?;
        check_eq!(read, Some(saved));
    }
    check_eq!(store.get_tokens().await?.len(), 9);
    Ok(())
}

async fn an_absent_field_is_absent_after_reopening(cx: &Context) -> CaseResult {
    let store = cx.open().await?;
    let mut saved = Vec::new();
    for token in sparse()? {
        saved.push(store.save_token(&token).await?);
    }
    drop(store);
    check_holds(&*cx.open().await?, &saved).await
}
