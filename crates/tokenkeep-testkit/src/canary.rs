//! [`LeakCanary`]: marked secrets, and a search for them wherever they must not be.

mod needle;

use std::{
    collections::hash_map::RandomState,
    fmt::{self, Debug, Write},
    hash::BuildHasher,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use aho_corasick::AhoCorasick;
use tracing::{
    Event, Metadata, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
};
use tracing_subscriber::{
    Layer, Registry,
    layer::{Context, SubscriberExt},
};

use self::needle::{Needle, needles};

/// Marked secrets, and a search for them wherever they must not be.
///
/// Make the secrets of a test with [`mark`](Self::mark), let everything run under its
/// [subscriber](Self::subscriber), and hand all output to [`assert_clean`](Self::assert_clean).
/// A secret counts as leaked when half of it shows: as text in any case, JSON-escaped,
/// percent-encoded, as hex, as Base64 at any offset, or as UTF-16.
///
/// ```
/// use tokenkeep_testkit::LeakCanary;
///
/// let canary = LeakCanary::new();
/// let secret = canary.mark("access");
/// tracing::subscriber::with_default(canary.subscriber(), || {
///     tracing::info!(user = "alice@example.com", "a token was saved");
/// });
/// canary.assert_clean(["the output of the program"]);
/// assert!(!canary.search(secret.as_bytes()).is_empty());
/// ```
#[derive(Clone, Default)]
pub struct LeakCanary(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    secrets: Vec<Secret>,
    captured: String,
}

impl Inner {
    /// The first showing of each secret.
    fn search(&self, haystack: &[u8]) -> Vec<Leak> {
        let mut leaks: Vec<Leak> = Vec::new();
        for any_case in [true, false] {
            let needles: Vec<(&Secret, &Needle)> = self
                .secrets
                .iter()
                .flat_map(|secret| secret.needles.iter().map(move |needle| (secret, needle)))
                .filter(|(_, needle)| needle.any_case == any_case)
                .collect();
            let patterns = needles.iter().map(|(_, needle)| &needle.bytes);
            let searcher = AhoCorasick::builder()
                .ascii_case_insensitive(any_case)
                .build(patterns)
                .expect("a test has few secrets, and they are short");
            for found in searcher.find_overlapping_iter(haystack) {
                let (secret, needle) = needles[found.pattern().as_usize()];
                if !leaks.iter().any(|leak| leak.secret == secret.label) {
                    let (secret, form, at) = (secret.label.clone(), needle.form, found.start());
                    leaks.push(Leak { secret, form, at });
                }
            }
        }
        leaks
    }
}

struct Secret {
    label: String,
    needles: Vec<Needle>,
}

/// A secret that showed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Leak {
    /// Which secret: the label it was marked with.
    pub secret: String,
    /// In which form it showed.
    pub form: &'static str,
    /// At which byte.
    pub at: usize,
}

impl LeakCanary {
    /// A canary that knows no secrets yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A new secret to use in the test: `test-canary-LABEL-` and a part that stands nowhere else.
    #[must_use]
    pub fn mark(&self, label: &str) -> String {
        let unique = format!("{:016x}{:016x}", random(), random());
        let secret = format!("test-canary-{label}-{unique}");
        self.watch_for(label, &unique);
        secret
    }

    /// Watches for a secret that somebody else made up, for example a server.
    pub fn watch(&self, label: &str, secret: &str) {
        self.watch_for(label, secret);
    }

    fn watch_for(&self, label: &str, unique: &str) {
        self.with(|inner| {
            inner.secrets.push(Secret { label: label.to_owned(), needles: needles(unique) });
        });
    }

    /// A subscriber that captures everything that is traced, at every level: spans and events,
    /// with all their fields.
    #[must_use]
    pub fn subscriber(&self) -> impl Subscriber + Send + Sync + use<> {
        Registry::default().with(self.layer())
    }

    /// The same as a layer, for use beside others.
    #[must_use]
    pub fn layer<S: Subscriber>(&self) -> impl Layer<S> + Send + Sync + use<S> {
        Capture(self.clone())
    }

    /// Adds other output to what was traced, to be searched with it.
    pub fn capture(&self, output: &str) {
        self.with(|inner| {
            inner.captured.push_str(output);
            inner.captured.push('\n');
        });
    }

    /// What was captured so far.
    #[must_use]
    pub fn captured(&self) -> String {
        self.with(|inner| inner.captured.clone())
    }

    /// The marked secrets that show in `haystack`: each once, where it shows first.
    #[must_use]
    pub fn search(&self, haystack: &[u8]) -> Vec<Leak> {
        self.with(|inner| inner.search(haystack))
    }

    /// Panics if a marked secret shows in what was captured or in one of `haystacks`.
    ///
    /// # Panics
    ///
    /// If there is a leak; the message says which secret and where, without the secret.
    #[track_caller]
    pub fn assert_clean<H: AsRef<[u8]>>(&self, haystacks: impl IntoIterator<Item = H>) {
        let captured = self.captured();
        let mut report = report("what was captured", &self.search(captured.as_bytes()));
        for (number, haystack) in haystacks.into_iter().enumerate() {
            let leaks = self.search(haystack.as_ref());
            report.push_str(&self::report(&format!("haystack {number}"), &leaks));
        }
        assert!(report.is_empty(), "secrets leaked:\n{report}");
    }

    /// Panics if a marked secret shows in a file below `directory`, or in the name of one.
    ///
    /// # Panics
    ///
    /// If there is a leak, or a file cannot be read.
    #[expect(clippy::panic, reason = "this is an assertion")]
    #[track_caller]
    pub fn assert_directory_clean(&self, directory: &Path) {
        match self.search_directory(directory) {
            Ok(report) => assert!(report.is_empty(), "secrets leaked:\n{report}"),
            Err(error) => panic!("cannot read {}: {error}", directory.display()),
        }
    }

    fn search_directory(&self, directory: &Path) -> std::io::Result<String> {
        let mut found = String::new();
        for entry in std::fs::read_dir(directory)? {
            let path = entry?.path();
            let name = path.display().to_string();
            found.push_str(&report(&format!("the name {name}"), &self.search(name.as_bytes())));
            if path.is_dir() {
                found.push_str(&self.search_directory(&path)?);
            } else {
                found.push_str(&report(&name, &self.search(&std::fs::read(&path)?)));
            }
        }
        Ok(found)
    }

    fn with<T>(&self, action: impl FnOnce(&mut Inner) -> T) -> T {
        action(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Debug for LeakCanary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let labels: Vec<_> =
            self.with(|inner| inner.secrets.iter().map(|s| s.label.clone()).collect());
        f.debug_struct("LeakCanary").field("secrets", &labels).finish_non_exhaustive()
    }
}

fn report(place: &str, leaks: &[Leak]) -> String {
    leaks.iter().fold(String::new(), |mut report, leak| {
        let Leak { secret, form, at } = leak;
        report.push_str(&format!("  {secret} shows in {place} as {form} at byte {at}\n"));
        report
    })
}

fn random() -> u64 {
    RandomState::new().hash_one("canary")
}

/// Writes every span and event into the canary.
struct Capture(LeakCanary);

impl Capture {
    fn line(&self, metadata: &Metadata<'_>, record: impl FnOnce(&mut Fields)) {
        let mut fields =
            Fields(format!("{} {} {}", metadata.level(), metadata.target(), metadata.name()));
        record(&mut fields);
        self.0.capture(&fields.0);
    }
}

impl<S: Subscriber> Layer<S> for Capture {
    fn on_new_span(&self, span: &Attributes<'_>, _id: &Id, _context: Context<'_, S>) {
        self.line(span.metadata(), |fields| span.record(fields));
    }

    fn on_record(&self, _span: &Id, values: &Record<'_>, _context: Context<'_, S>) {
        let mut fields = Fields("recorded".to_owned());
        values.record(&mut fields);
        self.0.capture(&fields.0);
    }

    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        self.line(event.metadata(), |fields| event.record(fields));
    }
}

struct Fields(String);

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.push_str(&format!(" {}={value}", field.name()));
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.0.push_str(&format!(" {}={value} {value:?}", field.name()));
        let mut source = value.source();
        while let Some(error) = source {
            self.0.push_str(&format!(": {error} {error:?}"));
            source = error.source();
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        // Writing to a string cannot fail; a `Debug` that does has nothing more to show.
        let (Ok(()) | Err(fmt::Error)) = write!(self.0, " {}={value:?}", field.name());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_planted_leak_is_found_in_fields_and_spans() {
        let plants: [fn(&str); 5] = [
            |secret| tracing::trace!("the token is {secret}"),
            |secret| tracing::trace!(token = secret, "saved"),
            |secret| tracing::trace!(token = ?Some(secret), "saved"),
            |secret| drop(tracing::trace_span!("save", token = secret)),
            |secret| {
                let span = tracing::trace_span!("save", token = tracing::field::Empty);
                span.record("token", secret);
            },
        ];
        for (number, plant) in plants.into_iter().enumerate() {
            let canary = LeakCanary::new();
            let secret = canary.mark("planted");
            tracing::subscriber::with_default(canary.subscriber(), || plant(&secret));
            let leaks = canary.search(canary.captured().as_bytes());
            assert_eq!(leaks.len(), 1, "plant {number}");
            assert_eq!(leaks[0].secret, "planted");
        }
    }

    #[test]
    #[should_panic(expected = "refresh shows in haystack 1 as text")]
    fn a_leak_fails_the_assertion() {
        let canary = LeakCanary::new();
        let secret = canary.mark("refresh");
        canary.assert_clean(["clean", &secret]);
    }

    #[test]
    fn what_shows_no_secret_is_clean() {
        let canary = LeakCanary::new();
        let secret = canary.mark("access");
        canary.capture("test-canary-access-… [redacted]");
        canary.assert_clean([&secret[..secret.len() - 32], "0123456789abcdef0123456789abcdef"]);
        assert!(!format!("{canary:?}").contains(&secret));
    }

    #[test]
    fn every_file_of_a_directory_is_searched() {
        let canary = LeakCanary::new();
        let secret = canary.mark("access");
        let directory = std::env::temp_dir().join(format!("tokenkeep-canary-{:x}", random()));
        std::fs::create_dir_all(directory.join("deeper")).unwrap();
        canary.assert_directory_clean(&directory);
        let bytes = [b"\xff\x00", secret.as_bytes()].concat();
        #[expect(clippy::disallowed_methods, reason = "a test file without secrets")]
        std::fs::write(directory.join("deeper/file"), bytes).unwrap();
        let report = canary.search_directory(&directory).unwrap();
        std::fs::remove_dir_all(&directory).unwrap();
        assert!(report.contains("deeper/file as text at byte"), "{report}");
    }
}
