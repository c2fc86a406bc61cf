//! How secrets come in: from an environment variable, a file, or stdin. Never as a plain value,
//! which every user of the machine could read in the list of processes.

use std::{
    ffi::OsString,
    fs::File,
    io::{self, IsTerminal, Read},
    path::PathBuf,
};

use tokenkeep::SpoolKey;
use zeroize::Zeroizing;

use crate::error::Failure;

/// The flags that a secret might be expected behind.
const PLAIN: [&str; 4] = ["--client-secret", "--refresh-token", "--grant-token", "--access-token"];

/// The flags of the one secret that comes in by a file alone.
const SPOOL_KEY: &str = "spool-key";

/// No secret is longer than this.
const LIMIT: u64 = 64 * 1024;

/// Refuses a secret as a plain flag value, before anything can repeat it in a message.
pub(crate) fn refuse_plain(arguments: &[OsString]) -> Result<(), Failure> {
    for argument in arguments.iter().skip(1).take_while(|argument| *argument != "--") {
        let argument = argument.to_string_lossy();
        let name = argument.split_once('=').map_or(&*argument, |(name, _)| name);
        if name.strip_prefix("--") == Some(SPOOL_KEY) {
            return Err(Failure::usage(format!("`{name}` does not take the key itself"))
                .hint(format!("use {name}-file PATH")));
        }
        if let Some(flag) = PLAIN.iter().find(|flag| **flag == name) {
            return Err(Failure::usage(format!(
                "`{flag}` does not take the secret itself: others could read it in the list of \
                 processes"
            ))
            .hint(format!("use {flag}-env VAR, {flag}-file PATH or {flag}-stdin")));
        }
    }
    Ok(())
}

/// Where one secret comes from.
#[derive(Clone, Copy)]
pub(crate) struct Source<'a> {
    pub(crate) flag: &'static str,
    pub(crate) env: Option<&'a str>,
    pub(crate) file: Option<&'a PathBuf>,
    pub(crate) stdin: bool,
}

impl Source<'_> {
    /// The secret; `None` if none of its flags was given.
    ///
    /// What was given as VAR or PATH is not repeated in an error: it may be the secret itself.
    pub(crate) fn read(self) -> Result<Option<Zeroizing<String>>, Failure> {
        let flag = self.flag;
        let secret = if let Some(variable) = self.env {
            #[expect(clippy::disallowed_methods, reason = "the user says which variable to read")]
            let value = std::env::var(variable);
            Zeroizing::new(value.map_err(|_absent_or_not_text| {
                Failure::usage(format!("the variable that `--{flag}-env` names is not set"))
                    .hint("the flag takes the variable's name, and the variable holds the secret")
            })?)
        } else if let Some(path) = self.file {
            let file = File::open(path).map_err(|error| self.unreadable("file", &error))?;
            self.read_all(file, "file")?
        } else if self.stdin && io::stdin().is_terminal() {
            let typed = rpassword::prompt_password(format!("{flag}: "));
            Zeroizing::new(typed.map_err(|error| self.unreadable("stdin", &error))?)
        } else if self.stdin {
            self.read_all(io::stdin().lock(), "stdin")?
        } else {
            return Ok(None);
        };
        let trimmed = secret.trim_end_matches(['\r', '\n']);
        if trimmed.is_empty() {
            return Err(Failure::usage(format!("the secret that `--{flag}-…` names is empty")));
        }
        Ok(Some(Zeroizing::new(trimmed.to_owned())))
    }

    fn read_all(self, from: impl Read, kind: &str) -> Result<Zeroizing<String>, Failure> {
        let mut text = Zeroizing::new(String::new());
        from.take(LIMIT)
            .read_to_string(&mut text)
            .map_err(|error| self.unreadable(kind, &error))?;
        Ok(text)
    }

    fn unreadable(self, kind: &str, error: &io::Error) -> Failure {
        let flag = self.flag;
        Failure::usage(format!("cannot read the secret that `--{flag}-{kind}` names: {error}"))
    }
}

/// The key that the file of `--spool-key-file` holds.
pub(crate) fn spool_key(path: &PathBuf) -> Result<SpoolKey, Failure> {
    let source = Source { flag: SPOOL_KEY, env: None, file: Some(path), stdin: false };
    let key = required(source, source.read()?)?;
    SpoolKey::parse(&key).map_err(|error| {
        Failure::usage(format!("`--{SPOOL_KEY}-file` cannot be used: {error}"))
            .hint(error.hint().unwrap_or_default())
    })
}

/// Defines the three flags of one secret.
macro_rules! secret_flags {
    ($name:ident, $flag:literal, $env:ident, $file:ident, $stdin:ident, $what:literal) => {
        #[derive(clap::Args)]
        #[group(multiple = false)]
        pub(crate) struct $name {
            #[arg(long = concat!($flag, "-env"), value_name = "VAR")]
            #[arg(help = concat!($what, ", from this environment variable"))]
            $env: Option<String>,
            #[arg(long = concat!($flag, "-file"), value_name = "PATH")]
            #[arg(help = concat!($what, ", from this file"))]
            $file: Option<PathBuf>,
            #[arg(long = concat!($flag, "-stdin"))]
            #[arg(help = concat!($what, ", from stdin"))]
            $stdin: bool,
        }

        impl $name {
            pub(crate) fn source(&self) -> Source<'_> {
                Source {
                    flag: $flag,
                    env: self.$env.as_deref(),
                    file: self.$file.as_ref(),
                    stdin: self.$stdin,
                }
            }
        }
    };
}

secret_flags!(
    ClientSecretFlags,
    "client-secret",
    client_secret_env,
    client_secret_file,
    client_secret_stdin,
    "The client's secret"
);
secret_flags!(
    RefreshTokenFlags,
    "refresh-token",
    refresh_token_env,
    refresh_token_file,
    refresh_token_stdin,
    "The refresh token"
);
secret_flags!(
    GrantTokenFlags,
    "grant-token",
    grant_token_env,
    grant_token_file,
    grant_token_stdin,
    "The grant token (the code)"
);
secret_flags!(
    AccessTokenFlags,
    "access-token",
    access_token_env,
    access_token_file,
    access_token_stdin,
    "The access token"
);

/// Refuses two secrets from one stdin.
pub(crate) fn one_stdin(sources: &[Source<'_>]) -> Result<(), Failure> {
    let from_stdin: Vec<_> = sources.iter().filter(|source| source.stdin).collect();
    match from_stdin[..] {
        [first, second, ..] => Err(Failure::usage(format!(
            "`--{}-stdin` and `--{}-stdin` cannot both read stdin",
            first.flag, second.flag
        ))
        .hint("pass one of them with -env or -file")),
        _ => Ok(()),
    }
}

/// That a secret was given.
pub(crate) fn required(
    source: Source<'_>,
    secret: Option<Zeroizing<String>>,
) -> Result<Zeroizing<String>, Failure> {
    let flag = source.flag;
    secret.ok_or_else(|| {
        Failure::usage(format!("`--{flag}-…` is missing"))
            .hint(format!("use --{flag}-env VAR, --{flag}-file PATH or --{flag}-stdin"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(arguments: &[&str]) -> Option<Failure> {
        let arguments: Vec<OsString> = arguments.iter().map(OsString::from).collect();
        refuse_plain(&arguments).err()
    }

    #[test]
    fn a_plain_secret_is_refused_without_repeating_it() {
        for arguments in [
            &["tokenkeep", "add", "--client-secret", "test-plain"][..],
            &["tokenkeep", "find", "--access-token=test-plain"],
        ] {
            let failure = refused(arguments).expect("refused");
            assert_eq!(failure.code, crate::exit::USAGE);
            assert!(!failure.report().contains("test-plain"));
            assert!(failure.report().contains("-env VAR"), "{}", failure.report());
        }
        assert!(refused(&["tokenkeep", "list", "--spool-key", "test-plain"]).is_some());
        assert!(refused(&["tokenkeep", "list", "--spool-key-file", "X"]).is_none());
        assert!(refused(&["tokenkeep", "add", "--client-secret-env", "X"]).is_none());
        assert!(refused(&["tokenkeep", "show", "--", "--access-token"]).is_none());
    }

    #[test]
    fn a_secret_given_as_a_name_is_not_repeated() {
        let env = Source { flag: "grant-token", env: Some("test-a b"), file: None, stdin: false };
        let path = PathBuf::from("/nowhere/test-secret");
        let file = Source { env: None, file: Some(&path), ..env };
        for source in [env, file] {
            let failure = source.read().unwrap_err();
            assert!(!failure.report().contains("test-"), "{}", failure.report());
        }
    }

    #[test]
    fn a_file_loses_its_last_line_break_and_nothing_else() {
        let file = tempfile::NamedTempFile::new().unwrap();
        io::Write::write_all(&mut file.as_file(), b" test secret \r\n").unwrap();
        let path = file.path().to_owned();
        let source = Source { flag: "client-secret", env: None, file: Some(&path), stdin: false };
        assert_eq!(source.read().unwrap().unwrap().as_str(), " test secret ");
    }
}
