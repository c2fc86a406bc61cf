//! moto, which stands in for AWS: DynamoDB, Secrets Manager, STS.

use std::{ffi::OsString, process::Command};

use crate::{
    Address, Kind, Missing, Server,
    node::{Node, Plan, prepare},
    place::Place,
    port::Port,
    program::{self, Program},
    ready,
};

pub(crate) const NEEDS: &[(&str, &str)] = &[("moto_server", "moto[server] of PyPI")];

/// The version that is fetched.
const VERSION: &str = "moto[server]>=5.2,<6";

/// It takes one request at a time, because its transactions are not isolated from each other,
/// copies a table once a transaction rather than once for each of its items, finds a secret by its
/// name without looking at all of them, knows as AWS does which version of a secret is current after
/// it was moved, and does not look at each request which services its directory has.
const PROGRAM: &str = "\
import copy, functools, logging, sys, threading, types
import moto.backends as backends
import moto.core.responses as responses
import moto.dynamodb.models as dynamodb
import moto.secretsmanager.models as secrets
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import run_simple
copies = {}
def deepcopy(value):
    if not isinstance(value, dynamodb.Table):
        return copy.deepcopy(value)
    if id(value) not in copies:
        copies[id(value)] = copy.deepcopy(value)
    return copies[id(value)]
dynamodb.copy = types.SimpleNamespace(copy=copy.copy, deepcopy=deepcopy)
def by_name(method):
    slow, quick = getattr(secrets.SecretsStore, method), getattr(dict, method)
    def found(self, key):
        return quick(self, key) if dict.__contains__(self, key) else slow(self, key)
    setattr(secrets.SecretsStore, method, found)
for method in ('__getitem__', '__contains__', 'get'):
    by_name(method)
move = secrets.SecretsManagerBackend.update_secret_version_stage
def moved(self, secret_id, version_stage, remove_from_version_id, move_to_version_id):
    answer = move(self, secret_id, version_stage, remove_from_version_id, move_to_version_id)
    if version_stage == 'AWSCURRENT' and move_to_version_id:
        self.secrets[secret_id].set_default_version_id(move_to_version_id)
    return answer
secrets.SecretsManagerBackend.update_secret_version_stage = moved
services = frozenset(backends.list_of_moto_modules())
backends.list_of_moto_modules = lambda: services
responses.method_names_from_class = functools.cache(responses.method_names_from_class)
logging.getLogger('werkzeug').disabled = True
moto, turn = DomainDispatcherApplication(create_backend_app), threading.Lock()
def one_at_a_time(environ, start_response):
    with turn:
        copies.clear()
        return list(moto(environ, start_response))
run_simple('127.0.0.1', int(sys.argv[1]), one_at_a_time, threaded=True)
";

pub(crate) fn start(extra: &[&str]) -> Result<Server, Missing> {
    let [_moto] = program::all::<1>(NEEDS)?;
    let python = Program::find("python3", "python3")?;
    let place = Place::new()?;
    let directory = place.make("moto")?;
    let claim = Port::claim()?;
    let port = claim.number;
    let mut arguments: Vec<OsString> =
        ["-c", PROGRAM, &port.to_string()].map(OsString::from).into();
    arguments.extend(extra.iter().map(OsString::from));
    let node = Node::new(Plan {
        address: Address::local(Kind::Moto, port).without_password(),
        program: python,
        arguments,
        directory,
        ports: vec![claim],
        ready: Box::new(move || ready::http(port)),
    });
    Server::start(Kind::Moto, place, vec![node])
}

/// Installs it in a virtual environment under `target/servers/venv`, unless it is there.
pub(crate) fn fetch() -> Result<Option<&'static str>, Missing> {
    let Some(missing) = crate::missing(Kind::Moto) else { return Ok(None) };
    let venv = program::below_target("venv");
    // What keeps it from being installed is that this machine does not have it.
    let absent = |error: Missing| Missing::absent(format!("{missing}: {error}"));
    prepare(Command::new("python3").args(["-m", "venv"]).arg(&venv)).map_err(absent)?;
    let mut install = Command::new(venv.join("bin/pip"));
    prepare(install.args(["install", "--quiet", "--disable-pip-version-check", VERSION]))
        .map_err(absent)?;
    Ok(Some(VERSION))
}
