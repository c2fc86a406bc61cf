//! The official SDK in a process of its own, driven through `sdk_driver.py` or `sdk_driver.mjs`.

use std::{
    fmt,
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdin, ChildStdout, Stdio},
};

use serde_json::{Value, json};
use tokenkeep_core::{Field, TokenId};

use crate::{language::Language, token::Columns};

/// The SDK with one open store.
pub(crate) struct Sdk {
    pub(crate) language: Language,
    process: Child,
    commands: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

/// What the SDK raised.
#[derive(Debug)]
pub(crate) struct Raised {
    /// The exception's class.
    pub(crate) class: String,
    pub(crate) message: String,
}

impl fmt::Display for Raised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.class, self.message)
    }
}

impl Sdk {
    pub(crate) fn start(language: Language) -> Self {
        let mut process =
            language.driver().stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let commands = process.stdin.take();
        let answers = BufReader::new(process.stdout.take().unwrap());
        Self { language, process, commands, answers }
    }

    /// Opens the store that is at `place`, as a program that has just been started does.
    pub(crate) fn open(&mut self, place: &Value) -> Result<(), Raised> {
        let mut command = place.clone();
        command["do"] = "open".into();
        self.ask(command).map(drop)
    }

    pub(crate) fn try_save(&mut self, token: &Columns) -> Result<Columns, Raised> {
        let saved = self.ask(json!({ "do": "save", "token": token.to_json() }))?;
        Ok(Columns::from_json(&saved))
    }

    pub(crate) fn save(&mut self, token: &Columns) -> Columns {
        self.try_save(token).unwrap()
    }

    /// The first token that has all that `token` has of what the SDK looks at.
    pub(crate) fn find(&mut self, token: &Columns) -> Option<Columns> {
        let found = self.ask(json!({ "do": "find", "token": token.to_json() })).unwrap();
        (!found.is_null()).then(|| Columns::from_json(&found))
    }

    pub(crate) fn find_user(&mut self, user: &str) -> Option<Columns> {
        self.find(&Columns::default().with(Field::UserName, user))
    }

    pub(crate) fn find_by_id(&mut self, id: &TokenId) -> Result<Columns, Raised> {
        let found = self.ask(json!({ "do": "find_by_id", "id": id.as_str() }))?;
        Ok(Columns::from_json(&found))
    }

    pub(crate) fn tokens(&mut self) -> Vec<Columns> {
        let tokens = self.ask(json!({ "do": "get_tokens" })).unwrap();
        tokens.as_array().unwrap().iter().map(Columns::from_json).collect()
    }

    pub(crate) fn delete(&mut self, id: &TokenId) {
        self.ask(json!({ "do": "delete", "id": id.as_str() })).unwrap();
    }

    pub(crate) fn delete_all(&mut self) {
        self.ask(json!({ "do": "delete_tokens" })).unwrap();
    }

    /// The access token that the SDK would make a call with, refreshed at `url` if it has to be.
    pub(crate) fn access_token(&mut self, token: &Columns, url: &str) -> String {
        let command = json!({ "do": "get_token", "token": token.to_json(), "url": url });
        self.ask(command).unwrap().as_str().unwrap().to_owned()
    }

    fn ask(&mut self, command: Value) -> Result<Value, Raised> {
        let mut answer = self.exchange(&command);
        match answer.get("error") {
            None => Ok(answer["ok"].take()),
            Some(error) => Err(Raised {
                class: error["type"].as_str().unwrap_or_default().to_owned(),
                message: error["message"].as_str().unwrap_or_default().to_owned(),
            }),
        }
    }

    fn exchange(&mut self, command: &Value) -> Value {
        writeln!(self.commands.as_mut().unwrap(), "{command}").unwrap();
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        serde_json::from_str(&line).expect("the driver answers until it is told to end")
    }
}

impl Drop for Sdk {
    fn drop(&mut self) {
        // The driver ends with its input, and a command that hangs does not for long.
        self.commands = None;
        drop(self.process.wait());
    }
}
