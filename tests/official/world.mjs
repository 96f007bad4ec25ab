// A world for end-to-end tests: a local chain, the official facilitator and the official buyers.
//
// It prints one JSON line when it is ready:
//   {"rpc":"http://127.0.0.1:…","facilitator":"http://127.0.0.1:…","token":"0x…","chain_id":84532}
// Then it reads one JSON request per line on stdin and prints one JSON answer per line on stdout:
//   {"id":7,"op":"balance","address":"0x…"}  →  {"id":7,"result":{"balance":"1000000"}}
//                                          or   {"id":7,"error":"…"}
// `id` is anything and optional. Requests run at once, so answers may come in another order.
// Everything ends when stdin closes. Amounts are strings of atomic units (1 USDC is "1000000").
//
//   mint      {address, amount}                            → {balance}
//   balance   {address}                                    → {balance}
//   cancel    {privateKey, nonce}                          → {transaction}
//             The payer cancels an authorization on the chain.
//   advance   {seconds}                                    → {time}, in Unix seconds
//             Moves the clock of the chain, the facilitator and the buyers; it never goes back.
//   drain     {address}                                    → {drained}
//             The owner of a wallet takes everything out of it.
//   plan      {nonce, what: "hold"|"revert"}               → {}
//             What becomes of the transactions that settle this authorization: they wait in the
//             pool, or the wallet is drained before the first one and it reverts.
//   sent      {nonce}                                      → {transaction}, when one was sent
//   release   {nonce}                                      → {}, when those that waited are mined
//   open      {wait?}                                      → {facilitator}
//             Another facilitator with a signer of its own, which waits so many milliseconds for a
//             receipt.
//   restart   {facilitator}                                → {}
//             Ends one that was opened as a crash does, and starts another in its place.
//   buy       {version: 1|2, url, privateKey, method?, headers?, body?, maxValue?, paymentId?,
//              deliver?}                                   → {status, headers, body, requests}
//             A whole purchase. Without `maxValue` the client keeps its stock cap. `paymentId` is
//             for V2. With `deliver: false` the paid request is made but not sent (status 204).
//             `requests` lists {method, url, headers, body, response: {status, headers, body}}, the
//             last one with the payment header; an error of the client carries `requests` too.
//   request   {method, url, headers?, body?}               → {status, headers, body}
//             A plain request; an entry of `requests` given back to it is a replay.
//   sign_siwx {challenge, privateKey, url?}                → {header, message, address}
//             `challenge` holds the fields of a sign-in-with-x `info`, and `chainId` if it is not
//             "eip155:84532"; `url` is where it came from, by default the challenge's `uri`.
//   validate_402     {header} or {body}                    → {valid, errors, decoded}
//   validate_openapi {document}                            → {valid, errors}
//
// `body` is a string in every direction. Header names come in lower case.
import "./platform.mjs";
import { createInterface } from "node:readline";
import { Validator } from "@seriousme/openapi-schema-validator";
import { decodePaymentRequiredHeader } from "@x402/core/http";
import { parsePaymentRequired } from "@x402/core/schemas";
import { validateDiscoveryExtension, validateDiscoveryExtensionSpec } from "@x402/extensions/bazaar";
import {
  createSIWxMessage,
  createSIWxPayload,
  encodeSIWxHeader,
} from "@x402/extensions/sign-in-with-x";
import { generatePrivateKey, privateKeyToAccount } from "viem/accounts";
import { buy, request } from "./buyers.mjs";
import { TOKEN, startChain } from "./chain.mjs";
import { startFacilitator } from "./facilitator.mjs";
import { drain, openMempool } from "./mempool.mjs";

const chain = await startChain();
const { url: facilitator } = await startFacilitator(chain.rpc);
const mempool = openMempool(chain);
const opened = new Map();

const clock = Date.now;
const operations = {
  mint: async ({ address, amount }) => ({ balance: `${await chain.mint(address, amount)}` }),
  balance: async ({ address }) => ({ balance: `${await chain.balanceOf(address)}` }),
  cancel: async ({ privateKey, nonce }) => ({ transaction: await chain.cancel(privateKey, nonce) }),
  drain: async ({ address }) => ({ drained: `${await drain(chain, TOKEN, address)}` }),
  plan: async ({ nonce, what }) => mempool.plan(nonce, what) ?? {},
  sent: async ({ nonce }) => ({ transaction: await mempool.sent(nonce) }),
  release: async ({ nonce }) => (await mempool.release(nonce)) ?? {},
  open: openFacilitator,
  restart: restartFacilitator,
  advance,
  buy,
  request,
  sign_siwx: signIn,
  validate_402: validateChallenge,
  validate_openapi: async ({ document }) => {
    const { valid, errors = [] } = await new Validator().validate(document);
    return { valid, errors };
  },
};

async function openFacilitator({ wait }) {
  const settings = { mempool, wait, key: generatePrivateKey() };
  const { address } = privateKeyToAccount(settings.key);
  await chain.client.setBalance({ address, value: 10n ** 20n });
  const { url, stop } = await startFacilitator(chain.rpc, settings);
  opened.set(url, { stop, settings });
  return { facilitator: url };
}

async function restartFacilitator({ facilitator }) {
  const { stop, settings } = opened.get(facilitator);
  await stop();
  const { port } = new URL(facilitator);
  const { url, stop: stopAgain } = await startFacilitator(chain.rpc, { ...settings, port: Number(port) });
  opened.set(url, { stop: stopAgain, settings });
  return {};
}

/** Official parts ask `Date.now` for the time, so the process moves along with the chain. */
async function advance({ seconds }) {
  const time = await chain.advance(seconds);
  const ahead = time * 1000 - clock();
  Date.now = () => clock() + Math.max(ahead, 0);
  return { time };
}

async function signIn({ challenge, privateKey, url }) {
  const info = { version: "1", chainId: "eip155:84532", type: "eip191", ...challenge };
  const account = privateKeyToAccount(privateKey);
  const payload = await createSIWxPayload(info, account, url ?? info.uri);
  return {
    header: encodeSIWxHeader(payload),
    message: createSIWxMessage(info, account.address),
    address: account.address,
  };
}

function validateChallenge({ header, body }) {
  const decoded = header ? decodePaymentRequiredHeader(header) : JSON.parse(body);
  const parsed = parsePaymentRequired(decoded);
  const issues = parsed.success ? [] : parsed.error.issues;
  const errors = issues.map(({ path, message }) => `${path.join(".")}: ${message}`);
  const bazaar = decoded.extensions?.bazaar;
  if (bazaar) {
    const checks = [validateDiscoveryExtension(bazaar), validateDiscoveryExtensionSpec(bazaar)];
    errors.push(...checks.flatMap((check) => check.errors ?? []));
  }
  return { valid: errors.length === 0, errors, decoded };
}

async function answer(line) {
  let id;
  try {
    const { op, ...asked } = JSON.parse(line);
    id = asked.id;
    if (!Object.hasOwn(operations, op)) throw new Error(`no such op: ${op}`);
    return { id, result: await operations[op](asked) };
  } catch (error) {
    return { id, error: error.message, requests: error.requests };
  }
}

// Standard output belongs to the protocol.
console.log = console.error;
const say = (message) => process.stdout.write(`${JSON.stringify(message)}\n`);
say({ rpc: chain.rpc, facilitator, token: TOKEN, chain_id: 84532 });
createInterface({ input: process.stdin })
  .on("line", async (line) => say(await answer(line)))
  .on("close", () => process.exit());
