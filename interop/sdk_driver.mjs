// The official Zoho CRM SDK for Node, driven line by line.
//
// Reads one JSON object a line and answers each with one: `{"ok": ...}` or
// `{"error": {"type": ..., "message": ...}}`. A token is an object of the ten columns' names; what
// is absent is left out or null.
//
//     {"do": "open", "kind": "mysql", "host", "port", "database", "user", "password"}
//     {"do": "save" | "find", "token": TOKEN}    the token as it is then; a find may answer null
//     {"do": "find_by_id" | "delete", "id": ID}
//     {"do": "get_tokens" | "delete_tokens"}
//
// Where TOKENKEEP_SDK_NODE says is the directory with the SDK's `node_modules`. Ends when its input
// does. A command that takes longer than a minute ends it too.

import { join } from "node:path";
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";

const LONGEST_MILLISECONDS = 60_000;

const sdk = join(process.env.TOKENKEEP_SDK_NODE, "node_modules/@zohocrm/nodejs-sdk-8.0/lib");
const part = async (path) => import(pathToFileURL(join(sdk, path)));
// In this order, for its parts import each other in circles.
const { DBBuilder, OAuthBuilder, UserSignature } = await part("index.js");

// The SDK's token with these fields.
function tokenOf(fields) {
  // Its builder does not let a token be without a secret, as one is that is looked for by user.
  const token = new OAuthBuilder().id("0").findUser(false).build();
  const user = fields.user_name ?? null;
  token.setId(fields.id ?? null);
  token.setUserSignature(user === null ? null : new UserSignature(user));
  token.setClientId(fields.client_id ?? null);
  token.setClientSecret(fields.client_secret ?? null);
  token.setRefreshToken(fields.refresh_token ?? null);
  token.setAccessToken(fields.access_token ?? null);
  token.setGrantToken(fields.grant_token ?? null);
  token.setExpiresIn(fields.expiry_time ?? null);
  token.setRedirectURL(fields.redirect_url ?? null);
  token.setAPIDomain(fields.api_domain ?? null);
  return token;
}

// The ten fields of the SDK's token.
function fieldsOf(token) {
  return {
    id: token.getId(),
    user_name: token.getUserSignature()?.getName() ?? null,
    client_id: token.getClientId(),
    client_secret: token.getClientSecret(),
    refresh_token: token.getRefreshToken(),
    access_token: token.getAccessToken(),
    grant_token: token.getGrantToken(),
    expiry_time: token.getExpiresIn(),
    redirect_url: token.getRedirectURL(),
    api_domain: token.getAPIDomain(),
  };
}

let store = null;

const commands = {
  async open({ kind, host, port, database, user, password }) {
    if (kind !== "mysql") throw new Error(`this driver has no ${kind} store`);
    const builder = new DBBuilder().host(host).portNumber(String(port)).databaseName(database);
    store = builder.userName(user).password(password).build();
  },
  async save({ token: fields }) {
    const token = tokenOf(fields);
    await store.saveToken(token);
    return fieldsOf(token);
  },
  async find({ token: fields }) {
    // What is not found is answered with what was given, which has no id.
    const found = await store.findToken(tokenOf(fields));
    return found?.getId() == null ? null : fieldsOf(found);
  },
  async find_by_id({ id }) {
    return fieldsOf(await store.findTokenById(id));
  },
  async get_tokens() {
    return ((await store.getTokens()) ?? []).map(fieldsOf);
  },
  async delete({ id }) {
    await store.deleteToken(id);
  },
  async delete_tokens() {
    await store.deleteTokens();
  },
};

// What the SDK throws where nobody can catch it, in a callback of its driver, leaves its promise
// open for ever. It is the answer to the command that is under way.
let giveUp = () => {};
process.on("unhandledRejection", (error) => giveUp(error));
process.on("uncaughtException", (error) => giveUp(error));

for await (const line of createInterface({ input: process.stdin })) {
  const { do: name, ...rest } = JSON.parse(line);
  const limit = setTimeout(() => process.abort(), LONGEST_MILLISECONDS);
  let answer;
  try {
    const uncaught = new Promise((_resolve, reject) => (giveUp = reject));
    answer = { ok: (await Promise.race([commands[name](rest), uncaught])) ?? null };
  } catch (error) {
    // Whatever it is, the test decides what it means.
    const type = error?.constructor?.name ?? "unknown";
    answer = { error: { type, message: String(error?.message ?? error) } };
  }
  giveUp = () => {};
  clearTimeout(limit);
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
process.exit(0);
