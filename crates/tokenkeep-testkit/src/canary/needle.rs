//! The forms in which a secret may show.

use base64::{
    Engine,
    alphabet::{STANDARD, URL_SAFE},
    engine::{GeneralPurpose, general_purpose::NO_PAD},
};

/// One form of one half of a secret.
pub(super) struct Needle {
    pub(super) form: &'static str,
    pub(super) bytes: Vec<u8>,
    /// Text shows in any case; Base64 has none to ignore.
    pub(super) any_case: bool,
}

/// All forms of both halves of `secret`; of the whole, where it is too short to tell by half.
pub(super) fn needles(secret: &str) -> Vec<Needle> {
    let middle = (secret.len() / 2..secret.len()).find(|at| secret.is_char_boundary(*at));
    let parts = match middle.filter(|_| secret.len() >= 24) {
        Some(middle) => vec![&secret[..middle], &secret[middle..]],
        None => vec![secret],
    };
    parts.into_iter().filter(|part| !part.is_empty()).flat_map(forms).collect()
}

fn forms(part: &str) -> Vec<Needle> {
    let text = |form, text: String| Needle { form, bytes: text.into_bytes(), any_case: true };
    let bytes = part.as_bytes();
    let each = |write: fn(u8) -> String| bytes.iter().copied().map(write).collect::<String>();
    let mut needles = vec![
        text("text", part.to_owned()),
        text("escaped text", format!("{part:?}").trim_matches('"').to_owned()),
        text("JSON", json(part).replace('/', "\\/")),
        text("JSON", json(part)),
        text("JSON", part.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect()),
        text("a URL", each(|byte| format!("%{byte:02x}"))),
        text("a URL", each(|byte| percent(byte, b"-._~"))),
        text("a form", each(|byte| percent(byte, b"-._*")).replace("%20", "+")),
        text("hex", each(|byte| format!("{byte:02x}"))),
        text("hex", each(|byte| format!("{byte:02x}:")).trim_end_matches(':').to_owned()),
        text("a list of bytes", each(|byte| format!("{byte}, ")).trim_end_matches(", ").to_owned()),
        Needle {
            form: "UTF-16",
            bytes: part.encode_utf16().flat_map(u16::to_le_bytes).collect(),
            any_case: true,
        },
    ];
    for alphabet in [STANDARD, URL_SAFE] {
        let engine = GeneralPurpose::new(&alphabet, NO_PAD);
        for offset in 0..3 {
            needles.push(Needle {
                form: "Base64",
                bytes: base64_core(&engine, bytes, offset),
                any_case: false,
            });
        }
    }
    needles.retain(|needle| !needle.bytes.is_empty());
    needles
}

fn json(text: &str) -> String {
    let quoted = serde_json::Value::from(text).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}

fn percent(byte: u8, kept: &[u8]) -> String {
    if byte.is_ascii_alphanumeric() || kept.contains(&byte) {
        char::from(byte).to_string()
    } else {
        format!("%{byte:02x}")
    }
}

/// The Base64 characters that depend on `bytes` alone, when `offset` bytes stand before them.
fn base64_core(engine: &GeneralPurpose, bytes: &[u8], offset: usize) -> Vec<u8> {
    let padded = [&vec![0; offset], bytes].concat();
    let encoded = engine.encode(&padded).into_bytes();
    let first = (offset * 8).div_ceil(6);
    let last = padded.len() * 8 / 6;
    encoded.get(first..last).unwrap_or_default().to_vec()
}

#[cfg(test)]
mod tests {
    use base64::{
        Engine as _,
        engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
    };

    use super::percent;
    use crate::LeakCanary;

    const SECRET: &str = "test-secret/with+signs é \"quoted\" and-more";

    fn shows(haystack: impl AsRef<[u8]>) -> bool {
        let canary = LeakCanary::new();
        canary.watch("test", SECRET);
        !canary.search(haystack.as_ref()).is_empty()
    }

    #[test]
    fn every_form_is_found() {
        assert!(shows(format!("before {SECRET} after")));
        assert!(shows(format!("{SECRET:?}")));
        assert!(shows(SECRET.to_uppercase()));
        assert!(shows(serde_json::json!({ "token": SECRET }).to_string()));
        assert!(shows(SECRET.bytes().map(|byte| format!("{byte:02X}")).collect::<String>()));
        assert!(shows(SECRET.bytes().map(|byte| format!("%{byte:02X}")).collect::<String>()));
        assert!(shows(SECRET.bytes().map(|byte| percent(byte, b"-")).collect::<String>()));
        assert!(shows(format!("{:?}", SECRET.as_bytes())));
        assert!(shows(SECRET.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<_>>()));
        for before in ["", "a", "ab", "abc"] {
            let text = format!("{before}{SECRET}:after");
            assert!(shows(STANDARD.encode(&text)), "{before:?}");
            assert!(shows(URL_SAFE_NO_PAD.encode(&text)), "{before:?}");
        }
    }

    #[test]
    fn half_of_a_secret_is_a_leak_and_other_text_is_none() {
        assert!(shows(&SECRET[..SECRET.len() / 2 + 1]));
        assert!(shows(&SECRET[SECRET.len() / 2..]));
        assert!(!shows("test-secret"));
        assert!(!shows(""));
    }
}
