//! [`SpoolKey`], and the envelope that a spooled token is sealed in.
//!
//! | bytes | content |
//! |---|---|
//! | 16 | `tokenkeep spool` and a zero byte |
//! | 1 | version: 1 |
//! | 8 | the id of the key, hexadecimal digits |
//! | 12 | nonce, random |
//! | rest | AES-256-GCM of the entry, with its tag of 16 bytes |
//!
//! What is authenticated beside the entry is all that stands before the nonce, and the name of the
//! file: one that is renamed to another token's is refused.
//!
//! The cipher is that of aws-lc-rs, because TLS has it in the tree already: it costs no build time
//! and no second implementation of AES. Its `RandomizedNonceKey` leaves no nonce to get wrong.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use sha2::{Digest as _, Sha256};
use tokenkeep_core::{StoreError, StoreErrorKind};
use zeroize::Zeroizing;

use super::{entry, file::damaged};

const MAGIC: &[u8; 16] = b"tokenkeep spool\0";
const VERSION: u8 = 1;
const KEY_BYTES: usize = 32;
const KEY_ID_DIGITS: usize = 8;
const HEADER: usize = MAGIC.len() + 1 + KEY_ID_DIGITS;

/// The key that a spool is sealed with: 32 random bytes.
///
/// Its memory is zeroized when it is dropped; `Debug` shows its [id](Self::id) alone.
///
/// ```
/// use tokenkeep_manager::SpoolKey;
///
/// // What `openssl rand -hex 32` prints.
/// let text = "746573742d6b65792d6e6f742d612d7265616c2d6b65792d3031323334353637";
/// let key = SpoolKey::parse(text)?;
/// assert_eq!(format!("{key:?}"), format!("SpoolKey({})", key.id()));
/// # Ok::<(), tokenkeep_core::StoreError>(())
/// ```
#[derive(Clone)]
pub struct SpoolKey {
    bytes: Zeroizing<[u8; KEY_BYTES]>,
    id: [u8; KEY_ID_DIGITS],
}

impl SpoolKey {
    /// The key of these bytes.
    #[must_use]
    pub fn new(bytes: [u8; KEY_BYTES]) -> Self {
        Self::of(Zeroizing::new(bytes))
    }

    /// The key that stands in `text`: 64 hexadecimal digits, or Base64 of 32 bytes, in the usual
    /// alphabet or that of URLs. Space around it is ignored.
    ///
    /// # Errors
    ///
    /// Invalid if it is neither; the error does not show the text.
    pub fn parse(text: &str) -> Result<Self, StoreError> {
        let text = text.trim();
        from_hex(text).or_else(|| from_base64(text)).map(Self::of).ok_or_else(|| {
            StoreError::new(
                StoreErrorKind::Invalid,
                "the spool's key is neither 64 hexadecimal digits nor Base64 of 32 bytes",
            )
            .with_hint("make one with: openssl rand -hex 32")
        })
    }

    /// Tells one key from another without showing it: the first 8 hexadecimal digits of a hash.
    #[must_use]
    pub fn id(&self) -> &str {
        shown(&self.id)
    }

    fn of(bytes: Zeroizing<[u8; KEY_BYTES]>) -> Self {
        let mut hash = Sha256::new();
        hash.update(b"tokenkeep spool key\0");
        hash.update(*bytes);
        let mut id = [0; KEY_ID_DIGITS];
        for (digits, byte) in id.chunks_exact_mut(2).zip(hash.finalize()) {
            digits.copy_from_slice(format!("{byte:02x}").as_bytes());
        }
        Self { bytes, id }
    }

    fn cipher(&self) -> Result<RandomizedNonceKey, StoreError> {
        RandomizedNonceKey::new(&AES_256_GCM, &*self.bytes).map_err(unspecified)
    }

    /// What the file `name` is to hold instead of `clear`.
    pub(super) fn seal(
        &self,
        name: &str,
        clear: &mut Zeroizing<Vec<u8>>,
    ) -> Result<Vec<u8>, StoreError> {
        let header = self.header();
        let aad = Aad::from([&header[..], name.as_bytes()].concat());
        let nonce = self.cipher()?.seal_in_place_append_tag(aad, &mut **clear);
        let nonce = nonce.map_err(unspecified)?;
        Ok([&header[..], nonce.as_ref(), clear.as_slice()].concat())
    }

    fn header(&self) -> [u8; HEADER] {
        let mut header = [0; HEADER];
        header[..MAGIC.len()].copy_from_slice(MAGIC);
        header[MAGIC.len()] = VERSION;
        header[MAGIC.len() + 1..].copy_from_slice(&self.id);
        header
    }

    fn open(&self, name: &str, header: &[u8], rest: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let (nonce, sealed) = rest.split_at_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let aad = Aad::from([header, name.as_bytes()].concat());
        let mut text = Zeroizing::new(sealed.to_vec());
        let clear = self.cipher().ok()?.open_in_place(nonce, aad, &mut text).ok()?.len();
        text.truncate(clear);
        Some(text)
    }
}

impl fmt::Debug for SpoolKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SpoolKey({})", self.id())
    }
}

/// The entry in the file `name` that holds `content`.
///
/// With a key only a sealed one is taken, without one only a clear one: clear text is no fallback.
pub(super) fn unsealed(
    key: Option<&SpoolKey>,
    name: &str,
    content: Zeroizing<Vec<u8>>,
) -> Result<Zeroizing<Vec<u8>>, StoreError> {
    let Some(after_magic) = content.strip_prefix(MAGIC) else {
        return match key {
            None => Ok(content),
            Some(key) => Err(not_sealed(name, key)),
        };
    };
    let cut_off = || damaged(name, "its end is missing");
    let (version, after_version) = after_magic.split_first().ok_or_else(cut_off)?;
    if *version != VERSION {
        return Err(entry::newer(name, (*version).into()));
    }
    let (id, rest) = after_version.split_at_checked(KEY_ID_DIGITS).ok_or_else(cut_off)?;
    if !id.iter().all(u8::is_ascii_hexdigit) {
        return Err(damaged(name, "its head was changed"));
    }
    let id = shown(id);
    let key = key.ok_or_else(|| locked(name, id, "this spool has no key"))?;
    if key.id() != id {
        return Err(locked(name, id, &format!("this spool has the key {}", key.id())));
    }
    key.open(name, &content[..HEADER], rest)
        .ok_or_else(|| damaged(name, "it was changed, cut short, or moved from another name"))
}

fn shown(id: &[u8]) -> &str {
    std::str::from_utf8(id).unwrap_or("unknown")
}

fn locked(name: &str, id: &str, but: &str) -> StoreError {
    StoreError::new(
        StoreErrorKind::PermissionDenied,
        format!("the spooled token {name} is sealed with the key {id}, and {but}"),
    )
    .with_hint(format!(
        "open the spool with the key {id}, or remove the file if its token is not needed"
    ))
}

fn not_sealed(name: &str, key: &SpoolKey) -> StoreError {
    StoreError::new(
        StoreErrorKind::PermissionDenied,
        format!("{name} is not a sealed token, and this spool has the key {}", key.id()),
    )
    .with_hint(
        "a spool with a key takes no clear text: open it without the key until its tokens are \
         stored, or remove the file if its token is not needed",
    )
}

fn unspecified(error: aws_lc_rs::error::Unspecified) -> StoreError {
    StoreError::new(StoreErrorKind::Other, "the cipher failed").with_source(error)
}

fn from_hex(text: &str) -> Option<Zeroizing<[u8; KEY_BYTES]>> {
    let digits = text.as_bytes();
    if digits.len() != 2 * KEY_BYTES {
        return None;
    }
    let mut bytes = Zeroizing::new([0; KEY_BYTES]);
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        for digit in pair {
            let value = char::from(*digit).to_digit(16)?;
            *byte = (*byte << 4) | u8::try_from(value).ok()?;
        }
    }
    Some(bytes)
}

fn from_base64(text: &str) -> Option<Zeroizing<[u8; KEY_BYTES]>> {
    /// 43 or 44 characters, and no more.
    const LONGEST: usize = 44;
    if text.len() > LONGEST {
        return None;
    }
    let for_urls = text.contains(['-', '_']);
    let alphabet = if for_urls { &alphabet::URL_SAFE } else { &alphabet::STANDARD };
    let config =
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let mut decoded = Zeroizing::new([0; LONGEST]);
    let length = GeneralPurpose::new(alphabet, config).decode_slice(text, &mut *decoded).ok()?;
    let mut bytes = Zeroizing::new([0; KEY_BYTES]);
    bytes.copy_from_slice(decoded.get(..length).filter(|bytes| bytes.len() == KEY_BYTES)?);
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: &str = "0123456789abcdef0123456789abcdef-0123456789abcdef.token";
    const CLEAR: &[u8] = br#"{"version":1,"note":"test-entry"}"#;
    /// `test-key-not-a-real-key-01234567`
    const KEY: &str = "746573742d6b65792d6e6f742d612d7265616c2d6b65792d3031323334353637";
    /// Made by `AESGCM(key).encrypt(nonce, CLEAR, header + NAME)` of Python's `cryptography` 48,
    /// with the nonce `test-nonce-1`.
    const SEALED: &str = concat!(
        "746f6b656e6b6565702073706f6f6c00013363343030326563746573742d6e6f6e63652d31a18075",
        "d0f99132cd8efd2690eaf892e1489398daef7d30f69121770970b8b20ca004e3ba01b8bd93890d4f",
        "83f4200cd978",
    );

    fn key() -> SpoolKey {
        SpoolKey::parse(KEY).unwrap()
    }

    fn bytes_of(hex: &str) -> Vec<u8> {
        let pairs = hex.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
        pairs.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect()
    }

    fn open(key: Option<&SpoolKey>, name: &str, content: &[u8]) -> Result<Vec<u8>, StoreError> {
        unsealed(key, name, Zeroizing::new(content.to_vec())).map(|clear| clear.to_vec())
    }

    fn sealed() -> Vec<u8> {
        key().seal(NAME, &mut Zeroizing::new(CLEAR.to_vec())).unwrap()
    }

    #[test]
    fn an_envelope_that_another_implementation_made_is_opened() {
        assert_eq!(key().id(), "3c4002ec");
        assert_eq!(open(Some(&key()), NAME, &bytes_of(SEALED)).unwrap(), CLEAR);
        let ours = sealed();
        let theirs = bytes_of(SEALED);
        assert_eq!(ours.len(), theirs.len());
        assert_eq!(ours[..HEADER], theirs[..HEADER]);
        assert_eq!(open(Some(&key()), NAME, &ours).unwrap(), CLEAR);
    }

    #[test]
    fn no_two_envelopes_have_one_nonce() {
        let nonce = |sealed: Vec<u8>| sealed[HEADER..HEADER + NONCE_LEN].to_vec();
        let nonces: std::collections::HashSet<_> = (0..100).map(|_| nonce(sealed())).collect();
        assert_eq!(nonces.len(), 100);
    }

    #[test]
    fn an_envelope_that_was_changed_in_any_bit_or_cut_is_refused() {
        let sealed = sealed();
        for at in 0..sealed.len() {
            for bit in 0..8 {
                let mut changed = sealed.clone();
                changed[at] ^= 1 << bit;
                assert!(open(Some(&key()), NAME, &changed).is_err(), "byte {at}, bit {bit}");
            }
            assert!(open(Some(&key()), NAME, &sealed[..at]).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn an_envelope_under_another_name_is_refused() {
        let other = NAME.replacen('0', "1", 1);
        let error = open(Some(&key()), &other, &sealed()).unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Corrupt);
        assert!(error.to_string().contains("moved from another name"), "{error}");
    }

    #[test]
    fn the_key_that_is_missing_is_named() {
        let other = SpoolKey::new(*b"test-key-not-a-real-key-76543210");
        for key in [None, Some(&other)] {
            let error = open(key, NAME, &sealed()).unwrap_err();
            assert_eq!(error.kind(), StoreErrorKind::PermissionDenied);
            assert!(error.to_string().contains("the key 3c4002ec"), "{error}");
            assert!(error.hint().unwrap().contains("3c4002ec"), "{error:?}");
        }
    }

    #[test]
    fn a_spool_with_a_key_takes_no_clear_text() {
        assert_eq!(open(None, NAME, CLEAR).unwrap(), CLEAR);
        let error = open(Some(&key()), NAME, CLEAR).unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::PermissionDenied);
        assert!(error.hint().unwrap().contains("without the key"), "{error:?}");
    }

    #[test]
    fn a_newer_envelope_says_so() {
        let mut newer = sealed();
        newer[MAGIC.len()] = 2;
        let error = open(Some(&key()), NAME, &newer).unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Unsupported);
        assert!(error.to_string().contains("version 2;"), "{error}");
    }

    #[test]
    fn a_key_is_read_from_every_usual_form() {
        let bytes = bytes_of(KEY);
        let tricky: [u8; 32] = std::array::from_fn(|at| 0xfb_u8.wrapping_sub((at / 3) as u8 % 2));
        for bytes in [bytes.as_slice(), &tricky] {
            let id = SpoolKey::new(bytes.try_into().unwrap()).id().to_owned();
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            let usual = base64::engine::general_purpose::STANDARD.encode(bytes);
            let for_urls = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes);
            let forms = [
                hex.to_uppercase(),
                format!(" {hex}\n"),
                usual.trim_end_matches('=').to_owned(),
                usual,
                for_urls,
            ];
            for text in forms {
                assert_eq!(SpoolKey::parse(&text).unwrap().id(), id, "{text}");
            }
        }
    }

    #[test]
    fn what_is_no_key_is_refused_and_not_shown() {
        for text in [
            "",
            "test-password",
            &KEY[1..],
            &format!("{KEY}00"),
            &format!("+{}", &KEY[1..]),
            &format!("0x{}", &KEY[2..]),
            "dGVzdC1rZXktdG9vLXNob3J0",
            &"\u{20ac}".repeat(22),
        ] {
            let error = SpoolKey::parse(text).unwrap_err();
            assert!(error.hint().unwrap().contains("openssl rand -hex 32"));
            assert!(text.is_empty() || !format!("{error:?}").contains(text), "{error:?}");
        }
    }
}
