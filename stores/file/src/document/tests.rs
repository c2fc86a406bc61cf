//! Properties of reading and rewriting, over texts made of all that is special in a CSV file.

use proptest::prelude::*;

use super::*;

fn parse(bytes: &[u8]) -> (Document, TokenTable) {
    Document::parse(Zeroizing::new(bytes.to_vec()))
}

fn tokens(table: &TokenTable) -> Vec<OAuthToken> {
    table.iter().cloned().collect()
}

fn new_token(user: &str) -> OAuthToken {
    OAuthToken::builder().id("new").user_name(user).refresh_token("test-r").build().unwrap()
}

/// Rows and pieces of rows in any order, with any line ends.
fn file() -> impl Strategy<Value = Vec<u8>> {
    let row = prop::sample::select(vec![
        HEADER,
        "id,user_mail,client_id,client_secret,refresh_token,access_token,grant_token,expiry_time,redirect_uri",
        "1,alice,,,test-a,,,,,",
        "2,bob,,,test-b,,,17,",
        "3,\"a, b\",,,\"test\"\"c\",,,,,",
        "4,\"line\nbreak\",,,test-d,,,soon,,",
        "\"5\",\",b\",\",c\",,test-e,,,,,,extra",
        "6,dave,,,test",
        "7,\"erin,,,test-f,,,,,",
        "8,f\"g,,,test-g,,,,,",
        ",,,,,,,,,",
        "id,h,,,test-h,,,,,",
        "\"",
        "",
        ",",
        "\0\0",
    ]);
    let piece = prop_oneof![
        8 => row.prop_map(|text| text.as_bytes().to_vec()),
        1 => prop::collection::vec(prop::sample::select(b"1a,\"\r\n\0\xFF ".to_vec()), 0..12),
    ];
    let end = prop::sample::select(vec!["\n", "\r\n", "\r\r\n", "\n\n", ""]);
    prop::collection::vec((piece, end), 0..9).prop_map(|lines| {
        lines
            .into_iter()
            .flat_map(|(line, end)| [line, end.as_bytes().to_vec()])
            .flatten()
            .collect()
    })
}

proptest! {
    #[test]
    fn a_rewritten_file_reads_as_it_is_remembered(content in file(), user in "[a,\"\r\n ]{1,6}") {
        let (before, table) = parse(&content);
        let token = new_token(&user);
        let edits = Edits { put: vec![(&token, None)], ..Edits::default() };
        // It may be refused where damage would run into the new row.
        if let Ok(after) = before.rewrite(&edits, Dialect::Quoted) {
            let (again, table_again) = parse(after.bytes());
            prop_assert_eq!(after.bytes().last(), Some(&b'\n'));
            prop_assert_eq!(after.damage(), again.damage());
            prop_assert_eq!(before.damage().len(), again.damage().len());
            prop_assert_eq!(&after.header, &again.header);
            prop_assert_eq!(after.columns, again.columns);
            let ours: Vec<_> = after.lines.iter().map(|line| (line.raw.clone(), line.kind)).collect();
            let read: Vec<_> = again.lines.iter().map(|line| (line.raw.clone(), line.kind)).collect();
            prop_assert_eq!(ours, read);
            let mut expected = tokens(&table);
            expected.push(token);
            prop_assert_eq!(tokens(&table_again), expected);
        }
    }

    #[test]
    fn nothing_is_lost_or_made_up_by_reading(content in file()) {
        let (document, table) = parse(&content);
        let rows = document.lines.iter().filter(|line| !matches!(line.kind, LineKind::Damaged(_)));
        prop_assert_eq!(rows.count(), table.len());
        let mut end = 0;
        for (number, line) in document.numbered_lines() {
            prop_assert!(line.raw.start >= end);
            let breaks = content[..line.raw.start].iter().filter(|byte| **byte == b'\n').count();
            prop_assert_eq!(number, breaks + 1);
            end = line.raw.end;
        }
    }

    #[test]
    fn every_value_survives_the_quoted_dialect(user in "\\PC{1,8}|[,\"\r\n\t ;'\\\\]{1,8}") {
        let (empty, _) = parse(b"");
        let token = new_token(&user);
        let edits = Edits { put: vec![(&token, None)], ..Edits::default() };
        let document = empty.rewrite(&edits, Dialect::Quoted).unwrap();
        let (_, table) = parse(document.bytes());
        prop_assert_eq!(tokens(&table), [token]);
    }
}

/// What is written of `token` into a file with `content` is read again, or refused.
fn assert_refused(content: &[u8], token: &OAuthToken, dialect: Dialect) {
    let (document, table) = parse(content);
    let stored = token.id().and_then(|id| table.find_by_id(id).unwrap());
    let edits = Edits { put: vec![(token, stored)], ..Edits::default() };
    let error = document.rewrite(&edits, dialect).err().expect("refused");
    assert_eq!(error.kind(), StoreErrorKind::Invalid);
    assert!(error.hint().is_some());
}

#[test]
fn an_id_that_reads_as_the_header_is_refused() {
    for id in ["id", "ID", "Id", " id", "iD\t"] {
        for dialect in [Dialect::Shared, Dialect::Quoted] {
            let token = OAuthToken::builder().id(id).user_name("user_name").access_token("test-a");
            assert_refused(b"", &token.build().unwrap(), dialect);
        }
    }
}

#[test]
fn a_row_that_reads_as_an_empty_line_is_refused() {
    let token = OAuthToken::builder().id(" ").user_name(" \t").refresh_token(" ").build().unwrap();
    assert_refused(b"", &token, Dialect::Shared);
}

#[test]
fn a_quoted_row_that_is_too_long_to_be_read_is_refused() {
    let long = "test,".repeat(300_000);
    let token = OAuthToken::builder().id("1").user_name("a").refresh_token(long).build().unwrap();
    assert_refused(b"", &token, Dialect::Quoted);
}

#[test]
fn a_line_break_beside_a_quote_that_others_left_as_it_is_is_refused() {
    let token = OAuthToken::builder().id("1").user_name("a\"b").refresh_token("test\nr");
    assert_refused(b"1,a\"b,,,test-r,,,,,\n", &token.build().unwrap(), Dialect::Quoted);
}
