//! What the keyring refuses, in our own words: its errors may hold what is stored.

use keyring_core::Error;
use tokenkeep_core::{StoreError, StoreErrorKind};

/// What an error of the keyring means.
///
/// Only an error of the transport is passed on as the source. Others can have a secret's bytes in
/// them.
pub(crate) fn refused(error: Error) -> StoreError {
    use StoreErrorKind as Kind;

    match error {
        Error::NoStorageAccess(source) => {
            StoreError::new(Kind::PermissionDenied, "the keyring is locked, or access was refused")
                .with_hint("unlock it: log in to the desktop, or run gnome-keyring-daemon --unlock")
                .with_source(source)
        }
        Error::PlatformFailure(source) => {
            let text = source.to_string();
            let says = |words: &[&str]| words.iter().any(|word| text.contains(word));
            let (message, hint) = if says(&["ServiceUnknown", "no secret service", "unavailable"]) {
                (
                    "nothing on the session bus keeps secrets",
                    "start a keyring: gnome-keyring-daemon, KWallet or KeePassXC",
                )
            } else if says(&["Failed to connect to address", "address"]) {
                (
                    "there is no session bus",
                    "run it in a desktop session, or under dbus-run-session with a keyring; where \
                     there is none, use another store",
                )
            } else {
                ("the keyring failed", "see whether it still runs, and try again")
            };
            StoreError::new(Kind::Unavailable, message).with_hint(hint).with_source(source)
        }
        Error::Ambiguous(_) => {
            StoreError::new(Kind::Corrupt, "the keyring has one entry of the store twice")
                .with_hint("remove one of them with the keyring's own program, Seahorse say")
        }
        Error::TooLong(..) => StoreError::new(Kind::Invalid, "the keyring takes no value as long")
            .with_hint("use another store for such tokens"),
        Error::NotSupportedByStore(_) | Error::NoDefaultStore => {
            StoreError::new(Kind::Unsupported, "this keyring does not have that operation")
        }
        Error::BadEncoding(_) | Error::BadDataFormat(..) | Error::BadStoreFormat(_) => {
            StoreError::new(Kind::Corrupt, "what the keyring holds cannot be read")
        }
        Error::NoEntry => StoreError::new(Kind::Other, "the keyring has no such entry"),
        Error::Invalid(..) => {
            StoreError::new(Kind::Invalid, "the keyring does not take such a name")
        }
        _ => StoreError::new(Kind::Other, "the keyring failed"),
    }
}
