//! [`Parameters`]: what stands after the `?` of a store's URL.

use std::{fmt, str::FromStr, time::Duration};

use percent_encoding::percent_decode_str;
use tokenkeep_core::StoreError;

use crate::{Secret, invalid};

/// What stands after the `?` of a store's URL: `name=value&name=value`, percent-encoded.
///
/// A store takes each by its name. What it has not taken in the end is not known to it, and an
/// error. No error repeats a text of the URL: it may be a password in the wrong place.
///
/// ```
/// use tokenkeep_connect::Parameters;
///
/// let mut parameters = Parameters::parse("table=my%20tokens&timeout=2.5&tabel=x")?;
/// assert_eq!(parameters.text("table")?.as_deref(), Some("my tokens"));
/// assert_eq!(parameters.seconds("timeout")?.unwrap().as_millis(), 2_500);
/// assert_eq!(parameters.flag("create")?, None);
/// let error = parameters.finish().unwrap_err();
/// assert_eq!(error.to_string(), "parameter 3 of the URL is not known");
/// assert_eq!(error.hint(), Some("known are table, timeout and create"));
/// # Ok::<(), tokenkeep_core::StoreError>(())
/// ```
pub struct Parameters {
    /// Those that nobody has taken: the place in the URL, name and value.
    left: Vec<(usize, String, String)>,
    /// The names that were asked for.
    known: Vec<String>,
}

impl Parameters {
    /// Takes a query apart.
    ///
    /// # Errors
    ///
    /// Invalid if it is not UTF-8 text.
    pub fn parse(query: &str) -> Result<Self, StoreError> {
        let parameters = query.split('&').filter(|parameter| !parameter.is_empty());
        let left = parameters.enumerate().map(|(at, parameter)| {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            Ok((at + 1, decoded(name)?, decoded(value)?))
        });
        Ok(Self { left: left.collect::<Result<_, StoreError>>()?, known: Vec::new() })
    }

    /// The parameter of this name.
    ///
    /// # Errors
    ///
    /// Invalid if it is there twice.
    pub fn text(&mut self, name: &str) -> Result<Option<String>, StoreError> {
        let mut values = self.every(name);
        let value = values.pop();
        if values.is_empty() {
            Ok(value)
        } else {
            Err(invalid(format!("{name} stands in the URL more than once"))
                .with_hint("leave all but one out"))
        }
    }

    /// All parameters of this name, in their order.
    pub fn every(&mut self, name: &str) -> Vec<String> {
        self.known.push(name.to_owned());
        let taken = self.left.extract_if(.., |(_at, left, _value)| left == name);
        taken.map(|(_at, _name, value)| value).collect()
    }

    /// A whole number.
    ///
    /// # Errors
    ///
    /// Invalid if it is none, is too large, or is there twice.
    pub fn number<T: FromStr>(&mut self, name: &str) -> Result<Option<T>, StoreError> {
        let number = |value: String| {
            value.parse().map_err(|_no_number| {
                invalid(format!("{name} in the URL is not a whole number that can be"))
                    .with_hint(format!("write it like {name}=5"))
            })
        };
        self.text(name)?.map(number).transpose()
    }

    /// A time in seconds; it may have a fraction.
    ///
    /// # Errors
    ///
    /// Invalid if it is none, or is there twice.
    pub fn seconds(&mut self, name: &str) -> Result<Option<Duration>, StoreError> {
        let seconds = |value: String| {
            let time = value.parse().ok().and_then(|it| Duration::try_from_secs_f64(it).ok());
            time.ok_or_else(|| {
                invalid(format!("{name} in the URL is not a number of seconds"))
                    .with_hint(format!("write it like {name}=5 or {name}=2.5"))
            })
        };
        self.text(name)?.map(seconds).transpose()
    }

    /// `true` or `false`.
    ///
    /// # Errors
    ///
    /// Invalid if it is something else, or is there twice.
    pub fn flag(&mut self, name: &str) -> Result<Option<bool>, StoreError> {
        let flag = |value: String| {
            value.parse().map_err(|_neither| {
                invalid(format!("{name} in the URL is neither true nor false"))
                    .with_hint(format!("write {name}=true, or leave it out"))
            })
        };
        self.text(name)?.map(flag).transpose()
    }

    /// A secret, which is said by `NAME-env=VARIABLE` or `NAME-file=PATH`. A variable is read now,
    /// a file when it is needed.
    ///
    /// # Errors
    ///
    /// Invalid if the secret itself stands there, if it is said more than once, or if the variable
    /// is not set.
    pub fn secret(&mut self, name: &str) -> Result<Option<Secret>, StoreError> {
        let variable = self.text(&format!("{name}-env"))?;
        let file = self.text(&format!("{name}-file"))?;
        if self.left.iter().any(|(_at, left, _value)| left == name) {
            return Err(invalid("a secret stands among the parameters of the URL")
                .with_hint(format!("say {name}-env=VARIABLE or {name}-file=PATH")));
        }
        match (variable, file) {
            (Some(_), Some(_)) => Err(twice(name)),
            (Some(variable), None) => Secret::variable(&variable).map(Some),
            (None, file) => Ok(file.map(Secret::file)),
        }
    }

    /// The password of a server: what stands in the URL between user and host, or is said by
    /// `password-env` or `password-file`.
    ///
    /// # Errors
    ///
    /// As those of [`secret`](Self::secret).
    pub fn password(&mut self, in_url: Option<String>) -> Result<Option<Secret>, StoreError> {
        match (in_url, self.secret("password")?) {
            (Some(_), Some(_)) => Err(twice("password")),
            (in_url, elsewhere) => Ok(in_url.map(Secret::value).or(elsewhere)),
        }
    }

    /// That nothing is left.
    ///
    /// # Errors
    ///
    /// Invalid if a parameter was not taken; the hint has the names that were asked for.
    pub fn finish(self) -> Result<(), StoreError> {
        let Some((at, _name, _value)) = self.left.first() else { return Ok(()) };
        let error = invalid(format!("parameter {at} of the URL is not known"));
        Err(match &self.known[..] {
            [] => error.with_hint("leave out what begins with the `?`"),
            [only] => error.with_hint(format!("known is {only}")),
            [names @ .., last] => {
                error.with_hint(format!("known are {} and {last}", names.join(", ")))
            }
        })
    }
}

fn twice(name: &str) -> StoreError {
    invalid(format!("the URL says more than once what the {name} is"))
        .with_hint("leave all but one out")
}

/// Shows no value: it may be a secret.
impl fmt::Debug for Parameters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parameters").field("known", &self.known).finish_non_exhaustive()
    }
}

/// A part of a URL without its percent-encoding. A `+` is one.
///
/// # Errors
///
/// Invalid if it is not UTF-8 text.
pub fn decoded(part: &str) -> Result<String, StoreError> {
    let text = percent_decode_str(part).decode_utf8();
    text.map(Into::into).map_err(|_not_text| {
        invalid("a part of the URL is not UTF-8 text")
            .with_hint("write each byte that is no plain letter as %, and two digits")
    })
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;
    use tokenkeep_core::StoreErrorKind;

    use super::*;

    fn parse(query: &str) -> Parameters {
        Parameters::parse(query).unwrap()
    }

    #[test]
    fn each_kind_is_read() {
        let mut parameters = parse("&a=x%26y+z&n=7&s=1.5&yes=true&h=1&h=2&e=&lone&");
        assert_eq!(parameters.text("a").unwrap().as_deref(), Some("x&y+z"));
        assert_eq!(parameters.number::<u16>("n").unwrap(), Some(7));
        assert_eq!(parameters.seconds("s").unwrap(), Some(Duration::from_millis(1_500)));
        assert_eq!(parameters.flag("yes").unwrap(), Some(true));
        assert_eq!(parameters.every("h"), ["1", "2"]);
        assert_eq!(parameters.text("e").unwrap().as_deref(), Some(""));
        assert_eq!(parameters.text("lone").unwrap().as_deref(), Some(""));
        assert_eq!(parameters.text("absent").unwrap(), None);
        parameters.finish().unwrap();
    }

    #[test]
    fn nothing_of_the_url_stands_in_an_error() {
        let wrong = |query: &str| {
            let mut parameters = Parameters::parse(query)?;
            parameters.number::<u16>("n")?;
            parameters.seconds("s")?;
            parameters.flag("f")?;
            parameters.text("t")?;
            parameters.password(None)?;
            parameters.finish()
        };
        for query in [
            "n=test-secret",
            "n=65536",
            "s=test-secret",
            "s=-1",
            "s=inf",
            "f=test-secret",
            "t=test-secret&t=test-secret",
            "t=%ff",
            "password=test-secret",
            "password-env=test-secret",
            "password-env=TOKENKEEP_TEST_NOT_SET",
            "test-secret=1",
            "test-secret",
            "t=x&test-secret",
        ] {
            let error = wrong(query).expect_err(query);
            assert_eq!(error.kind(), StoreErrorKind::Invalid);
            assert!(error.hint().is_some(), "{error:?}");
            assert!(!format!("{error} {error:?}").contains("test-secret"), "{error:?}");
        }
        assert!(!format!("{:?}", parse("a=test-secret")).contains("test-secret"));
        wrong("n=65535&s=0&f=false").unwrap();
    }

    #[test]
    fn a_secret_is_said_once_and_never_by_itself() {
        let read = |secret: Option<Secret>| secret.unwrap().read().unwrap();
        let in_url = parse("").password(Some("test-secret".to_owned())).unwrap();
        assert_eq!(read(in_url).expose_secret(), "test-secret");
        let mut parameters = parse("password-file=/nowhere/secret");
        let secret = parameters.password(None).unwrap().unwrap();
        assert_eq!(format!("{secret:?}"), "Secret(in /nowhere/secret)");
        parameters.finish().unwrap();
        for (query, in_url) in
            [("password-file=x", true), ("password-file=x&password-env=Y", false)]
        {
            let error = parse(query).password(in_url.then(|| "test-secret".to_owned()));
            assert!(error.unwrap_err().to_string().contains("more than once"));
        }
        // It is in every process, and has something in it.
        let secret = parse("token-env=PATH").secret("token").unwrap();
        assert!(!read(secret).expose_secret().is_empty());
    }
}
