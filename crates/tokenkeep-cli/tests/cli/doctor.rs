use serde_json::Value;

use crate::support::{Home, Provider, line, sdk_database, snapshot};

const HEADER: &str = "id,user_name,client_id,client_secret,refresh_token,access_token,grant_token,\
                      expiry_time,redirect_url,api_domain\n";

fn checks(home: &Home, code: i32) -> Vec<(String, String, String)> {
    let ran = home.run(&["doctor", "--offline", "--format", "json"]);
    assert_eq!(ran.code, code, "{}", ran.shown());
    let checks: Vec<Value> = serde_json::from_str(&ran.stdout).unwrap();
    let text = |check: &Value, field: &str| check[field].as_str().unwrap().to_owned();
    checks
        .iter()
        .map(|check| (text(check, "check"), text(check, "result"), text(check, "detail")))
        .collect()
}

#[test]
fn a_sound_store_is_sound() {
    for (name, url) in [("sqlite", "sqlite:DIR/tokens.db"), ("file", "file:DIR/tokens.txt")] {
        let home = Home::with_store(url);
        home.import(&(line("alice@example.com") + &line("bob@example.com")));
        snapshot!(format!("doctor_{name}"), home.run(&["doctor", "--offline"]));
        assert!(checks(&home, 0).iter().all(|check| check.1 == "ok" || check.1 == "skipped"));
    }
}

#[test]
fn looking_makes_no_store() {
    for url in ["sqlite:DIR/tokens.db", "file:DIR/tokens.txt"] {
        let home = Home::with_store(url);
        home.run(&["doctor", "--offline"]).ok().says("is not there yet");
        assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 0);
    }
}

#[test]
fn looking_changes_nothing() {
    for (scheme, name) in [("sqlite", "zohooauth.db"), ("file", "sdk_tokens.txt")] {
        let home = Home::with_store(&format!("{scheme}:DIR/{name}"));
        if scheme == "sqlite" {
            sdk_database(&home, name);
        } else {
            home.file(name, format!("{HEADER}1,a@x,c,s,test-r,,,,,\r\n"));
        }
        let now = || {
            let entries = std::fs::read_dir(home.path()).unwrap();
            let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
            names.sort();
            (names, std::fs::read(home.path().join(name)).unwrap())
        };
        let before = now();
        home.run(&["doctor", "--offline"]).ok().says("tokens in it: 1");
        assert!(now() == before, "{name} or what is beside it has changed");
    }
}

#[test]
fn a_store_that_does_not_open_is_exit_code_5_and_still_a_report() {
    let home = Home::with_store("sqlite:DIR/missing/tokens.db");
    let checks = checks(&home, 5);
    assert_eq!((checks[0].0.as_str(), checks[0].1.as_str()), ("store", "failed"));
}

#[test]
fn what_an_sdk_trips_over_is_reported() {
    let home = Home::with_store("file:DIR/tokens.txt");
    home.file(
        "tokens.txt",
        format!(
            "{HEADER}python_a,a@x,c,s,test-same,test-same,,1764000000,,www.zohoapis.eu\r\n\
             2,\"b,b\",c,s,test-r2,,,,,\n2,c@x,c,,test-r3,,,,,\n3,a@x,c,,test-r4,,,,,www.zohoapis.eu\n4,broken\n"
        ),
    );
    let found = checks(&home, 1);
    let has = |check: &str, result: &str, part: &str| {
        assert!(
            found.iter().any(|(c, r, d)| c == check && r == result && d.contains(part)),
            "{check} {result} {part}: {found:#?}"
        );
    };
    has("layout", "failed", "damaged row on line 6");
    has("layout", "failed", "duplicate id");
    has("layout", "warning", "text id on line 2; affects the SDKs for Java, Python, C#");
    has("layout", "warning", "quotes on line 3");
    has("layout", "warning", "line ends");
    has("duplicates", "failed", "ids 3, python_a");
    has("permissions", "warning", "others can get at the secrets");
    let all = format!("{found:?}");
    assert!(!all.contains("test-"), "{all}");
}

#[test]
fn values_in_the_wrong_place_are_reported() {
    let home = Home::with_store("sqlite:DIR/tokens.db");
    home.import(
        "{\"user_name\":\"a\",\"refresh_token\":\"test-same\",\"access_token\":\"test-same\",\
         \"expiry_time\":\"1764000000\",\"api_domain\":\"www.zohoapis.eu\"}\n\
         {\"user_name\":\"b\",\"access_token\":\"test-old\",\"expiry_time\":\"1264000000000\"}\n",
    );
    snapshot!("doctor_misplaced", home.run(&["doctor", "--offline"]));
}

#[test]
fn the_clock_is_compared_with_the_accounts_server() {
    let (home, provider) = (Home::with_store("sqlite:DIR/tokens.db"), Provider::start());
    provider.added(&home, "alice@example.com");
    snapshot!("doctor_clock", home.run(&["doctor"]).ok());
    assert_eq!(provider.stats().token_requests_of("refresh_token"), 1, "it only looks");
    drop(provider);
    home.run(&["doctor"]).ok().says("does not answer");
}

#[test]
fn what_an_sdk_trips_over_in_a_database_is_reported() {
    let home = Home::with_store("sqlite:DIR/tokens.db");
    home.import(&(1..=12).map(|number| line(&format!("u{number}@x"))).collect::<String>());
    home.import(&line("text@x").replacen('{', "{\"id\":\"crm-a\",", 1));
    home.import(&line(&format!("{}@x", "long".repeat(80))));
    snapshot!("doctor_sdk_and_database", home.run(&["doctor", "--offline"]));
}
