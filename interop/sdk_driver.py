"""The official Zoho CRM SDK for Python, driven line by line.

Reads one JSON object a line and answers each with one: `{"ok": ...}` or
`{"error": {"type": ..., "message": ...}}`. A token is an object of the ten columns' names; what is
absent is left out or null.

    {"do": "open", "kind": "file" | "sqlite", "path": PATH}
    {"do": "open", "kind": "mysql", "host", "port", "database", "user", "password"}
    {"do": "save" | "find", "token": TOKEN}         the token as it is then; a find may answer null
    {"do": "find_by_id" | "delete", "id": ID}
    {"do": "get_tokens" | "delete_tokens"}
    {"do": "get_token", "token": TOKEN, "url": URL} has the SDK refresh at the accounts server URL
                                                    what needs it; the access token it would use

Ends when its input does. A command that takes longer than a minute ends it too.
"""

import functools
import json
import signal
import sys
import tempfile

import mysql.connector
from article_sqlite_store import ArticleStore
from zohocrmsdk.src.com.zoho.api.authenticator import OAuthToken
from zohocrmsdk.src.com.zoho.api.authenticator.store import DBStore, FileStore
from zohocrmsdk.src.com.zoho.crm.api import Initializer
from zohocrmsdk.src.com.zoho.crm.api.dc import DataCenter
from zohocrmsdk.src.com.zoho.crm.api.user_signature import UserSignature

LONGEST_SECONDS = 60


def token_of(fields):
    """The SDK's token with these fields."""
    user = fields.get("user_name")
    token = OAuthToken(
        client_id=fields.get("client_id"),
        client_secret=fields.get("client_secret"),
        grant_token=fields.get("grant_token"),
        refresh_token=fields.get("refresh_token"),
        redirect_url=fields.get("redirect_url"),
        id=fields.get("id"),
        access_token=fields.get("access_token"),
        user_signature=None if user is None else UserSignature(user),
        api_domain=fields.get("api_domain"),
        find_user=False,
    )
    token.set_expires_in(fields.get("expiry_time"))
    return token


def fields_of(token):
    """The ten fields of the SDK's token."""
    user = token.get_user_signature()
    return {
        "id": token.get_id(),
        "user_name": None if user is None else user.get_name(),
        "client_id": token.get_client_id(),
        "client_secret": token.get_client_secret(),
        "refresh_token": token.get_refresh_token(),
        "access_token": token.get_access_token(),
        "grant_token": token.get_grant_token(),
        "expiry_time": token.get_expires_in(),
        "redirect_url": token.get_redirect_url(),
        "api_domain": token.get_api_domain(),
    }


def file_store(path):
    return FileStore(path)


def article_store(path):
    return ArticleStore(path)


def db_store(host, port, database, user, password):
    return DBStore(
        host=host,
        port_number=port,
        database_name=database,
        user_name=user,
        password=password,
    )


class Driver:
    """One open store."""

    def __init__(self, directory):
        self.directory = directory
        self.store = None

    def open(self, kind, **where):
        make = {"file": file_store, "sqlite": article_store, "mysql": db_store}[kind]
        self.store = make(**where)

    def save(self, token):
        token = token_of(token)
        self.store.save_token(token)
        return fields_of(token)

    def find(self, token):
        found = self.store.find_token(token_of(token))
        return None if found is None else fields_of(found)

    def find_by_id(self, id):
        return fields_of(self.store.find_token_by_id(id))

    def get_tokens(self):
        return [fields_of(token) for token in self.store.get_tokens()]

    def delete(self, id):
        self.store.delete_token(id)

    def delete_tokens(self):
        self.store.delete_tokens()

    def get_token(self, token, url):
        token = token_of(token)
        Initializer.initialize(
            environment=DataCenter.Environment(url, url + "/oauth/v2/token", url),
            token=token,
            store=self.store,
            resource_path=self.directory,
        )
        return token.get_token()


def main():
    # The SDK connects anew for each operation, and the connector reads all certificates of the
    # machine each time: fifty milliseconds, for a connection that does not leave the machine.
    mysql.connector.connect = functools.partial(mysql.connector.connect, ssl_disabled=True)
    with tempfile.TemporaryDirectory(prefix="tokenkeep-sdk-") as directory:
        driver = Driver(directory)
        for line in sys.stdin:
            command = json.loads(line)
            signal.alarm(LONGEST_SECONDS)
            try:
                answer = {"ok": getattr(driver, command.pop("do"))(**command)}
            except Exception as error:  # whatever it is, the test decides what it means
                answer = {"error": {"type": type(error).__name__, "message": str(error)}}
            signal.alarm(0)
            print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
