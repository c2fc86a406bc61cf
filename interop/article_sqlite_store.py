"""The SQLite store of the article on custom token stores, for programs on the official SDK.

The article's sample is not in the SDK's package. This is a re-creation of its statements and of
what they get wrong, as far as another program on the same database can tell:

- a connection an operation; rows are read by position; values stand in the text of a statement, so
  a name with an apostrophe is an SQL error;
- a save updates by one criterion and inserts where that changed nothing; the new id is one more
  than the largest id *as text*, so the save after id 10 fails;
- a token is looked up by user name alone where there is one, else by access token where there is no
  client, else by grant token, else by refresh token; where there is nothing, the first row is it;
- a table without a row passes for none: the second start on an empty table fails.

Two things differ: `delete_tokens` works (the sample's fails before it reaches the database), and an
update has no `limit 1`, which many builds of SQLite do not take.
"""

import sqlite3

from zohocrmsdk.src.com.zoho.api.authenticator import OAuthToken
from zohocrmsdk.src.com.zoho.api.authenticator.store import TokenStore
from zohocrmsdk.src.com.zoho.crm.api.exception import SDKException
from zohocrmsdk.src.com.zoho.crm.api.user_signature import UserSignature

CREATE = """create table oauthtoken (id varchar(10) NOT NULL, user_name varchar(255),
client_id varchar(255), client_secret varchar(255), refresh_token varchar(255),
access_token varchar(255), grant_token varchar(255), expiry_time varchar(20),
redirect_url varchar(255), api_domain varchar(255), primary key (id))"""


class ArticleStore(TokenStore):
    """Tokens in the table `oauthtoken` of a SQLite database."""

    def __init__(self, path):
        self.path = path
        try:
            is_there = bool(self._rows("select id from oauthtoken limit 1"))
        except sqlite3.OperationalError:
            is_there = False
        if not is_there:
            self._change(CREATE)

    def _rows(self, statement):
        connection = sqlite3.connect(self.path)
        try:
            return connection.cursor().execute(statement).fetchall()
        finally:
            connection.close()

    def _change(self, statement):
        connection = sqlite3.connect(self.path)
        try:
            connection.cursor().execute(statement)
            connection.commit()
        finally:
            connection.close()

    @staticmethod
    def _token(row):
        token = OAuthToken(
            id=row[0],
            user_signature=None if row[1] is None else UserSignature(row[1]),
            client_id=row[2],
            client_secret=row[3],
            refresh_token=row[4],
            access_token=row[5],
            grant_token=row[6],
            redirect_url=row[8],
            api_domain=row[9],
        )
        token.set_expires_in(row[7])
        return token

    @staticmethod
    def _condition(token, needs_client):
        user = token.get_user_signature()
        has_client = token.get_client_id() is not None and token.get_client_secret() is not None
        no_client = token.get_client_id() is None and token.get_client_secret() is None
        if user is not None:
            return f"user_name='{user.get_name()}'"
        if token.get_access_token() and no_client:
            return f"access_token='{token.get_access_token()}'"
        if token.get_grant_token() and has_client:
            return f"grant_token='{token.get_grant_token()}'"
        if token.get_refresh_token() and (has_client or not needs_client):
            return f"refresh_token='{token.get_refresh_token()}'"
        return None

    def find_token(self, token):
        condition = self._condition(token, needs_client=False)
        where = f" where {condition}" if condition else ""
        found = self._rows(f"select * from oauthtoken{where}")
        return self._token(found[0]) if found else None

    def find_token_by_id(self, id):
        found = self._rows(f"select * from oauthtoken where id='{id}'")
        if not found:
            raise SDKException("TOKEN_STORE", "no token has this id")
        return self._token(found[0])

    def save_token(self, token):
        connection = sqlite3.connect(self.path)
        try:
            cursor = connection.cursor()
            user = token.get_user_signature()
            name = None if user is None else user.get_name()
            fields = {
                "client_id": token.get_client_id(),
                "client_secret": token.get_client_secret(),
                "refresh_token": token.get_refresh_token(),
                "access_token": token.get_access_token(),
                "grant_token": token.get_grant_token(),
                "expiry_time": token.get_expires_in(),
                "redirect_url": token.get_redirect_url(),
                "api_domain": token.get_api_domain(),
            }
            sets = ",".join(f"{field}='{value}'" for field, value in fields.items() if value)
            condition = self._condition(token, needs_client=True)
            cursor.execute(f"update oauthtoken set {sets} where {condition or ''}")
            if cursor.rowcount == 0:
                if token.get_id() is None:
                    cursor.execute("select max(id) from oauthtoken")
                    last = cursor.fetchone()[0]
                    token.set_id(str(int(last) + 1) if last else "1")
                cursor.execute(
                    "insert into oauthtoken values (?,?,?,?,?,?,?,?,?,?)",
                    (token.get_id(), name, *fields.values()),
                )
            connection.commit()
        finally:
            connection.close()

    def get_tokens(self):
        return [self._token(row) for row in self._rows("select * from oauthtoken")]

    def delete_token(self, id):
        self._change(f"delete from oauthtoken where id={id}")

    def delete_tokens(self):
        self._change("delete from oauthtoken")
