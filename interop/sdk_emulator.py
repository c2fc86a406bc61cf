"""The official Zoho CRM SDK for Python, against the emulator.

    python sdk_emulator.py http://127.0.0.1:PORT

Logs in with a self-client code, creates and reads a lead, lets the access token expire on both
sides, reads again through a refresh, revokes, and checks what the emulator counted. Prints a line
that begins with `ok` for each step; ends with 1 and the reason at the first that does not hold.
"""

import csv
import json
import os
import sys
import tempfile
import urllib.request

from zohocrmsdk.src.com.zoho.api.authenticator import OAuthToken
from zohocrmsdk.src.com.zoho.api.authenticator.store import FileStore
from zohocrmsdk.src.com.zoho.crm.api import Initializer, ParameterMap
from zohocrmsdk.src.com.zoho.crm.api.dc import DataCenter
from zohocrmsdk.src.com.zoho.crm.api.exception import SDKException
from zohocrmsdk.src.com.zoho.crm.api.record import (
    ActionWrapper,
    BodyWrapper,
    Field,
    GetRecordsParam,
    Record,
    RecordOperations,
    ResponseWrapper,
    SuccessResponse,
)

EMAIL = "ada@example.com"
CLIENT_ID = "1000.TESTCLIENT"
CLIENT_SECRET = "test-client-secret"


class Failed(Exception):
    """A step did not hold."""


def check(holds, step):
    """Says that a step held, or ends the script."""
    if not holds:
        raise Failed(step)
    print("ok", step, flush=True)


class Emulator:
    """What the emulator answers beside Zoho's own paths."""

    def __init__(self, url):
        self.url = url

    def _ask(self, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data=data)
        if data is not None:
            request.add_header("Content-Type", "application/json")
        with urllib.request.urlopen(request, timeout=10) as reply:
            return json.load(reply)

    def add_user(self):
        return self._ask(
            "/emulator/users",
            {"email": EMAIL, "client_id": CLIENT_ID, "client_secret": CLIENT_SECRET},
        )

    def expire(self):
        self._ask("/emulator/expire", {})

    def stats(self):
        return self._ask("/emulator/stats")

    def environment(self):
        return DataCenter.Environment(self.url, self.url + "/oauth/v2/token", self.url)


def rows(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def expire_row(path):
    """Puts the expiry of every stored token into the past."""
    stored = rows(path)
    for row in stored:
        row["expiry_time"] = "1"
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(stored[0]))
        writer.writeheader()
        writer.writerows(stored)


def create_lead(last_name):
    lead = Record()
    lead.add_field_value(Field.Leads.last_name(), last_name)
    lead.add_field_value(Field.Leads.company(), "Analytical Engines")
    lead.add_field_value(Field.Leads.email(), "lead@example.com")
    body = BodyWrapper()
    body.set_data([lead])
    response = RecordOperations("Leads").create_records(body)
    wrapper = response.get_object()
    check(isinstance(wrapper, ActionWrapper), "create answers with results")
    result = wrapper.get_data()[0]
    check(isinstance(result, SuccessResponse), "the lead is created")
    return result.get_details()["id"]


def last_names():
    parameters = ParameterMap()
    parameters.add(GetRecordsParam.fields, "Last_Name,Company,Email,Created_Time,Owner")
    response = RecordOperations("Leads").get_records(parameters)
    wrapper = response.get_object()
    if not isinstance(wrapper, ResponseWrapper):
        raise Failed(f"a list was expected, status {response.get_status_code()}")
    return {
        str(record.get_id()): record.get_key_value("Last_Name") for record in wrapper.get_data()
    }


def last_name_of(lead):
    response = RecordOperations("Leads").get_record(int(lead))
    wrapper = response.get_object()
    if not isinstance(wrapper, ResponseWrapper):
        raise Failed(f"a record was expected, status {response.get_status_code()}")
    return wrapper.get_data()[0].get_key_value("Last_Name")


def run(url, directory):
    emulator = Emulator(url)
    user = emulator.add_user()
    path = os.path.join(directory, "tokens.csv")

    def initialise(token):
        Initializer.initialize(
            environment=emulator.environment(),
            token=token,
            store=FileStore(path),
            resource_path=directory,
        )

    before = emulator.stats()["token_requests"]
    initialise(
        OAuthToken(
            client_id=CLIENT_ID, client_secret=CLIENT_SECRET, grant_token=user["grant_token"]
        )
    )
    stored = rows(path)
    check(len(stored) == 1, "the login stored one token")
    check(stored[0]["user_name"].startswith(EMAIL), "the token has its user's name")
    check(stored[0]["refresh_token"].startswith("1000."), "the token has a refresh token")
    check(stored[0]["api_domain"] == url, "the token has its API domain")

    lead = create_lead("Byron")
    check(last_names().get(str(lead)) == "Byron", "the lead is in the list")
    check(last_name_of(lead) == "Byron", "the lead is read by its id")

    emulator.expire()
    refused = emulator.stats()["api_unauthorized"]
    try:
        names = last_names()
    except (Failed, SDKException):
        names = {}
    check(str(lead) not in names, "an expired access token is refused")
    check(emulator.stats()["api_unauthorized"] == refused + 1, "the emulator counted the refusal")

    expire_row(path)
    initialise(OAuthToken(id=stored[0]["id"]))
    check(last_names().get(str(lead)) == "Byron", "the lead is read after a refresh")
    again = rows(path)
    check(len(again) == 1, "the refresh added no token")
    check(again[0]["refresh_token"] == stored[0]["refresh_token"], "the refresh token stayed")
    check(again[0]["access_token"] != stored[0]["access_token"], "the access token is new")

    counted = emulator.stats()["token_requests"]
    exchanged = counted.get("authorization_code", 0) - before.get("authorization_code", 0)
    refreshed = counted.get("refresh_token", 0) - before.get("refresh_token", 0)
    check(exchanged == 1, "one code was exchanged")
    check(refreshed == 1, "one refresh was made")

    revoked = OAuthToken.revoke_refresh_token(
        again[0]["refresh_token"], url + "/oauth/v2/token/revoke"
    )
    check(revoked, "the refresh token is revoked")
    expire_row(path)
    try:
        initialise(OAuthToken(id=stored[0]["id"]))
        reason = "nothing"
    except SDKException as error:
        reason = str(error)
    check("invalid_code" in reason, "a revoked refresh token is refused")
    check(emulator.stats()["revocations"] >= 1, "the emulator counted the revocation")


def main():
    if len(sys.argv) != 2:
        print("usage: sdk_emulator.py URL", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="tokenkeep-sdk-") as directory:
        try:
            run(sys.argv[1].rstrip("/"), directory)
        except Failed as reason:
            print(f"failed: {reason}", file=sys.stderr)
            return 1
        except SDKException as error:
            print(f"failed: the SDK says: {error}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
