//! [`Shop`]: who runs the command on one store.

use std::{
    io::Write as _,
    process::{Command, Stdio},
    sync::{Mutex, PoisonError},
};

use tempfile::TempDir;

/// Who runs the command on one store, with nothing in the environment but what it needs for that.
pub(crate) struct Shop {
    pub(crate) store: String,
    environment: Vec<(String, String)>,
    directory: TempDir,
    /// All that was said.
    said: Mutex<Vec<Ran>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Shop {
    pub(crate) fn new(store: &str, environment: &[(&str, &str)]) -> Self {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Self {
            store: store.to_owned(),
            environment: environment.iter().map(owned).collect(),
            directory: tempfile::tempdir().unwrap(),
            said: Mutex::default(),
        }
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        self.run_with(arguments, &self.store, "")
    }

    /// Puts tokens into a store that do not end soon.
    pub(crate) fn import(&self, store: &str, users: &[&str]) -> Ran {
        let line = |user: &&str| {
            format!(
                "{{\"user_name\":\"{user}\",\"client_id\":\"test-client\",\
                 \"client_secret\":\"test-client-secret\",\"refresh_token\":\"test-refresh-{user}\",\
                 \"access_token\":\"test-access-{user}\",\"expiry_time\":\"4102444800000\"}}\n"
            )
        };
        self.run_with(&["import", "-"], store, &users.iter().map(line).collect::<String>())
    }

    fn run_with(&self, arguments: &[&str], store: &str, input: &str) -> Ran {
        let home = self.directory.path();
        let mut child = Command::new(env!("CARGO_BIN_EXE_tokenkeep"))
            .args(arguments)
            .current_dir(home)
            .env_clear()
            .env("HOME", home)
            .env("XDG_RUNTIME_DIR", home)
            .env("TOKENKEEP_STORE", store)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // A command that does not read its input has closed it.
        drop(child.stdin.take().unwrap().write_all(input.as_bytes()));
        let output = child.wait_with_output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        let ran = Ran {
            code: output.status.code().unwrap_or(-1),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
        };
        self.said.lock().unwrap_or_else(PoisonError::into_inner).push(ran.clone());
        ran
    }

    /// That nothing of what was said has a secret in it, but for this.
    #[track_caller]
    pub(crate) fn shows_no_secret_but(&self, served: &Ran) {
        let variables = self.environment.iter().filter(|(name, _)| {
            ["PASSWORD", "TOKEN", "SECRET"].iter().any(|part| name.contains(part))
        });
        let secrets = ["test-refresh", "test-access", "test-client-secret"];
        let secrets: Vec<&str> =
            secrets.into_iter().chain(variables.map(|(_, value)| value.as_str())).collect();
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        for ran in said.iter().filter(|ran| *ran != served) {
            for secret in &secrets {
                let shown = ran.stdout.contains(secret) || ran.stderr.contains(secret);
                assert!(!shown, "{secret} in {ran:?}");
            }
        }
    }
}
