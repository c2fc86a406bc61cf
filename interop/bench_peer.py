"""What the same work costs with the stores that people have today, for `cargo xtask bench`.

    python bench_peer.py [--quick] [--tokens 10,1000,100000] [--mysql USER@HOST:PORT/DATABASE]

Peers:

- the official SDK's `FileStore`, as it is, up to 1,000 tokens (each operation reads the whole file);
- a SQLite store in the way of the article's sample, see `article_sqlite_store`: its statements, one
  connection an operation, the table without indices;
- with `--mysql`, and then only this: the official SDK's `DBStore`, as it is (one connection an operation), on
  the table `oauthtoken` there, which has the tokens already. The password is in TOKENKEEP_BENCH_PASSWORD.

Prints one JSON array of {name, store, tokens, peer, peer_ns}; a median each.
"""

import argparse
import csv
import json
import os
import sqlite3
import statistics
import sys
import tempfile
import time

from article_sqlite_store import CREATE, ArticleStore
from zohocrmsdk.src.com.zoho.api.authenticator import OAuthToken
from zohocrmsdk.src.com.zoho.api.authenticator.store import FileStore
from zohocrmsdk.src.com.zoho.crm.api.user_signature import UserSignature

DB_PEER = "zohocrmsdk8_0 DBStore, mysql-connector"
SDK_PEER = "zohocrmsdk8_0 FileStore"
SQLITE_PEER = "the article's SQLite store (a re-creation of its statements)"
LARGEST_FILE = 1_000

COLUMNS = (
    "id",
    "user_name",
    "client_id",
    "client_secret",
    "refresh_token",
    "access_token",
    "grant_token",
    "expiry_time",
    "redirect_url",
    "api_domain",
)


def user(number):
    """The user whose token has this id."""
    return f"user{number}@example.com"


def row(number, round_=0):
    """The same token that the other side of the benchmark stores."""
    return (
        str(number),
        user(number),
        "1000.TESTCLIENT",
        "test-client-secret",
        f"1000.test-refresh-token-{number:046}",
        f"1000.test-access-token-{round_:08}-{number:038}",
        f"1000.test-grant-token-{number:048}",
        "4102444800000",
        "https://example.com/callback",
        "https://www.zohoapis.com",
    )


def token_of(values):
    """The SDK's token with these ten values."""
    token = OAuthToken(
        client_id=values[2],
        client_secret=values[3],
        refresh_token=values[4],
        access_token=values[5],
        grant_token=values[6],
        redirect_url=values[8],
        user_signature=UserSignature(values[1]),
        api_domain=values[9],
    )
    token.set_expires_in(values[7])
    return token


def make_file(path, count):
    """A token file as the SDK writes it."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows(row(number) for number in range(1, count + 1))


def make_database(path, count):
    """A database with the article's table."""
    connection = sqlite3.connect(path)
    connection.execute(CREATE)
    connection.executemany(
        "insert into oauthtoken values (?,?,?,?,?,?,?,?,?,?)",
        (row(number) for number in range(1, count + 1)),
    )
    connection.commit()
    connection.close()


def database_store(place):
    """The official SDK's store on the table of a database."""
    from zohocrmsdk.src.com.zoho.api.authenticator.store import DBStore

    user_name, place = place.split("@")
    address, database = place.split("/")
    host, port = address.split(":")
    return DBStore(
        host=host,
        database_name=database,
        user_name=user_name,
        password=os.environ["TOKENKEEP_BENCH_PASSWORD"],
        port_number=port,
    )


def median_ns(work, seconds):
    """The median time of one call, over batches that are long enough for the clock."""
    started = time.perf_counter_ns()
    work(0)
    once = max(time.perf_counter_ns() - started, 1)
    batch = max(1, int(2e6 / once))
    samples, calls = [], 1
    until = time.perf_counter() + seconds
    while len(samples) < 5 or (time.perf_counter() < until and len(samples) < 200):
        started = time.perf_counter_ns()
        for _ in range(batch):
            work(calls)
            calls += 1
        samples.append((time.perf_counter_ns() - started) / batch)
    return round(statistics.median(samples), 1)


def measure(store, kind, peer, count, seconds):
    """Each operation of one store at one size."""

    def number(call):
        return call * 7919 % count + 1

    operations = {
        "find_by_user": lambda call: store.find_token(
            OAuthToken(user_signature=UserSignature(user(number(call))))
        ),
        "find_by_id": lambda call: store.find_token_by_id(str(number(call))),
        "save": lambda call: store.save_token(token_of(row(number(call), call + 1))),
    }
    if kind != "mysql":  # nobody lists all of it by the way
        operations["list"] = lambda call: store.get_tokens()
    for name, work in operations.items():
        yield {
            "name": name,
            "store": kind,
            "tokens": count,
            "peer": peer,
            "peer_ns": median_ns(work, seconds),
        }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer samples")
    parser.add_argument("--tokens", default="10,1000,100000", help="sizes, with commas between")
    parser.add_argument("--mysql", help="a database to use instead of files")
    options = parser.parse_args()
    seconds = 0.1 if options.quick else 0.5
    if options.mysql:
        count = int(options.tokens)
        store = database_store(options.mysql)
        json.dump(list(measure(store, "mysql", DB_PEER, count, seconds)), sys.stdout)
        return
    results = []
    with tempfile.TemporaryDirectory() as directory:
        for count in map(int, options.tokens.split(",")):
            if count <= LARGEST_FILE:
                path = os.path.join(directory, f"tokens-{count}.csv")
                make_file(path, count)
                results += measure(FileStore(path), "file", SDK_PEER, count, seconds)
            path = os.path.join(directory, f"tokens-{count}.db")
            make_database(path, count)
            results += measure(ArticleStore(path), "sqlite", SQLITE_PEER, count, seconds)
    json.dump(results, sys.stdout)


if __name__ == "__main__":
    main()
