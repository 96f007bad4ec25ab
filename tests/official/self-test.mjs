// Proves the parts against each other: a small seller, settled by the official facilitator, is paid
// on the chain by both official buyers. Run with `npm test`.
import "./platform.mjs";
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:http";
import { createInterface } from "node:readline";
import { text } from "node:stream/consumers";
import { generatePrivateKey, privateKeyToAddress } from "viem/accounts";

const started = performance.now();
const world = spawn(process.execPath, ["world.mjs"], {
  cwd: new URL(".", import.meta.url),
  stdio: ["pipe", "pipe", "inherit"],
});
const lines = createInterface({ input: world.stdout })[Symbol.asyncIterator]();
const ready = JSON.parse((await lines.next()).value);
console.log(`world ready in ${Math.round(performance.now() - started)} ms`, ready);

/** Asks the world one thing at a time. */
async function answer(op, asked) {
  world.stdin.write(`${JSON.stringify({ op, ...asked })}\n`);
  return JSON.parse((await lines.next()).value);
}

async function ask(op, asked) {
  const { result, error } = await answer(op, asked);
  assert.equal(error, undefined, `${op}: ${error}`);
  return result;
}

const payTo = privateKeyToAddress(generatePrivateKey());
const encode = (value) => Buffer.from(JSON.stringify(value)).toString("base64");
const decode = (value) => JSON.parse(Buffer.from(value, "base64"));

/** The smallest seller of both versions: one price, settled and answered with the receipt. */
async function sell(request, response, url) {
  const body = await text(request);
  const terms = {
    scheme: "exact",
    asset: ready.token,
    payTo,
    maxTimeoutSeconds: 300,
    extra: { name: "USDC", version: "2" },
  };
  const resource = { url, description: "Test goods", mimeType: "application/json" };
  const v2 = { ...terms, network: "eip155:84532", amount: "1500000" };
  const v1 = {
    ...terms,
    network: "base-sepolia",
    maxAmountRequired: "1500000",
    resource: url,
    description: resource.description,
    mimeType: resource.mimeType,
  };
  const header = request.headers["payment-signature"] ?? request.headers["x-payment"];
  if (!header) {
    const challenge = encode({
      x402Version: 2,
      error: "Payment required",
      resource,
      accepts: [v2],
      extensions: { "payment-identifier": { info: { required: false }, schema: {} } },
    });
    response.writeHead(402, { "content-type": "application/json", "payment-required": challenge });
    const body = { x402Version: 1, error: "Payment required", accepts: [v1] };
    return response.end(JSON.stringify(body));
  }
  const paymentPayload = decode(header);
  const { x402Version } = paymentPayload;
  const settled = await fetch(`${ready.facilitator}/settle`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({
      x402Version,
      paymentPayload,
      paymentRequirements: x402Version === 2 ? v2 : v1,
    }),
  });
  const receipt = await settled.json();
  const name = x402Version === 2 ? "payment-response" : "x-payment-response";
  response.writeHead(receipt.success ? 200 : 402, { [name]: encode(receipt) });
  response.end(JSON.stringify({ body, receipt }));
}

const seller = createServer((request, response) => {
  const url = `http://${request.headers.host}${request.url}`;
  sell(request, response, url).catch((error) => response.writeHead(500).end(error.stack));
});
await once(seller.listen(0, "127.0.0.1"), "listening");
const url = `http://127.0.0.1:${seller.address().port}/goods`;

async function check(name, test) {
  const begun = performance.now();
  await test();
  console.log(`ok ${name} (${Math.round(performance.now() - begun)} ms)`);
}

// The official V1 facilitator hands on the client library's whole text when a broadcast fails.
const POOR = { 2: /^invalid_exact_evm_insufficient_balance$/, 1: /exceeds balance/ };
const CAPPED = { 2: /spendControls\.maxAmountPerPayment/, 1: /exceeds maximum allowed/ };
const balance = async (address) => BigInt((await ask("balance", { address })).balance);

for (const version of [2, 1]) {
  const privateKey = generatePrivateKey();
  const buyer = privateKeyToAddress(privateKey);
  const order = {
    version,
    url,
    privateKey,
    headers: { "content-type": "application/json" },
    body: '{"amount":"1.50"}',
    maxValue: "5000000",
  };
  let paid;

  await check(`V${version}: a buyer pays and the money moves`, async () => {
    assert.equal((await ask("mint", { address: buyer, amount: "4000000" })).balance, "4000000");
    const before = await balance(payTo);
    const { status, body, requests } = await ask("buy", order);
    assert.equal(status, 200, body);
    assert.deepEqual(requests.map(({ response }) => response.status), [402, 200]);
    assert.equal(JSON.parse(body).body, order.body);
    assert.equal(await balance(buyer), 2500000n);
    assert.equal((await balance(payTo)) - before, 1500000n);
    paid = requests[1];
  });
  await check(`V${version}: the same payment again moves nothing`, async () => {
    const { status, body } = await ask("request", paid);
    assert.equal(status, 402);
    assert.equal(JSON.parse(body).receipt.success, false);
    assert.equal(await balance(buyer), 2500000n);
  });
  await check(`V${version}: without a raised cap the client refuses to pay`, async () => {
    const { error, requests } = await answer("buy", { ...order, maxValue: undefined });
    assert.match(error, CAPPED[version]);
    assert.equal(requests.length, 1);
  });
  await check(`V${version}: a payment can be kept back, tampered with and delivered`, async () => {
    const { status, requests } = await ask("buy", { ...order, deliver: false });
    assert.equal(status, 204);
    const [, kept] = requests;
    const [name] = ["payment-signature", "x-payment"].filter((name) => kept.headers[name]);
    const payload = decode(kept.headers[name]);
    payload.payload.authorization.nonce = `0x${"22".repeat(32)}`;
    const tampered = { ...kept, headers: { ...kept.headers, [name]: encode(payload) } };
    assert.equal((await ask("request", tampered)).status, 402);
    assert.equal(await balance(buyer), 2500000n);
    assert.equal((await ask("request", kept)).status, 200);
    assert.equal(await balance(buyer), 1000000n);
  });
  await check(`V${version}: a buyer without the money moves nothing`, async () => {
    const { status, body } = await ask("buy", order);
    assert.equal(status, 402);
    assert.match(JSON.parse(body).receipt.errorReason, POOR[version]);
    assert.equal(await balance(buyer), 1000000n);
  });
}

await check("40 purchases at once all settle", async () => {
  const keys = Array.from({ length: 40 }, generatePrivateKey);
  for (const key of keys) {
    await ask("mint", { address: privateKeyToAddress(key), amount: "1500000" });
  }
  const before = await balance(payTo);
  keys.forEach((privateKey, id) => {
    const order = { id, op: "buy", version: 1 + (id % 2), url, privateKey, maxValue: "5000000" };
    world.stdin.write(`${JSON.stringify(order)}\n`);
  });
  const seen = new Set();
  for (const _ of keys) {
    const { id, result, error } = JSON.parse((await lines.next()).value);
    assert.equal(result?.status, 200, error ?? result?.body);
    seen.add(id);
  }
  assert.equal(seen.size, 40);
  assert.equal((await balance(payTo)) - before, 60000000n);
});

await check("a cancelled authorization pays nothing", async () => {
  const privateKey = generatePrivateKey();
  const buyer = privateKeyToAddress(privateKey);
  await ask("mint", { address: buyer, amount: "3000000" });
  const order = { version: 2, url, privateKey, maxValue: "5000000", deliver: false };
  const { requests } = await ask("buy", order);
  const { nonce } = decode(requests[1].headers["payment-signature"]).payload.authorization;
  await ask("cancel", { privateKey, nonce });
  assert.equal((await ask("request", requests[1])).status, 402);
  assert.equal(await balance(buyer), 3000000n);
});

await check("a payment identifier travels with a V2 payment", async () => {
  const paymentId = "pay_0123456789abcdef";
  const privateKey = generatePrivateKey();
  const order = { version: 2, url, privateKey, maxValue: "5000000", paymentId, deliver: false };
  const { requests } = await ask("buy", order);
  const { extensions } = decode(requests[1].headers["payment-signature"]);
  assert.equal(extensions["payment-identifier"].info.id, paymentId);
});

await check("sign-in-with-x is signed for the challenge's own origin only", async () => {
  const challenge = {
    domain: "127.0.0.1:8080",
    uri: "http://127.0.0.1:8080/api/v1/wallets/claim",
    nonce: "0123456789abcdef0123456789abcdef",
    issuedAt: new Date().toISOString(),
  };
  const privateKey = generatePrivateKey();
  const { header, message, address } = await ask("sign_siwx", { challenge, privateKey });
  assert.equal(decode(header).address, address);
  assert.match(message, /^127\.0\.0\.1:8080 wants you to sign in with your Ethereum account:\n0x/);
  const elsewhere = { challenge, privateKey, url: "http://127.0.0.1:9090/" };
  assert.match((await answer("sign_siwx", elsewhere)).error, /domain|origin|match/i);
});

await check("documents are validated", async () => {
  const { headers, body } = await ask("request", { method: "POST", url });
  const header = headers["payment-required"];
  assert.deepEqual((await ask("validate_402", { header })).errors, []);
  assert.deepEqual((await ask("validate_402", { body })).errors, []);
  const broken = { ...decode(header), accepts: [] };
  assert.equal((await ask("validate_402", { header: encode(broken) })).valid, false);
  const document = { openapi: "3.1.0", info: { title: "t", version: "1" }, paths: {} };
  assert.deepEqual(await ask("validate_openapi", { document }), { valid: true, errors: [] });
  const { valid } = await ask("validate_openapi", { document: { ...document, info: {} } });
  assert.equal(valid, false);
});

await check("an authorization expires when the clock is moved", async () => {
  const privateKey = generatePrivateKey();
  const buyer = privateKeyToAddress(privateKey);
  await ask("mint", { address: buyer, amount: "3000000" });
  const order = { version: 2, url, privateKey, maxValue: "5000000" };
  const { requests } = await ask("buy", { ...order, deliver: false });
  const { time } = await ask("advance", { seconds: 3600 });
  assert.ok(time >= Date.now() / 1000 + 3500);
  const late = await ask("request", requests[1]);
  assert.equal(late.status, 402);
  const { errorReason } = JSON.parse(late.body).receipt;
  assert.equal(errorReason, "invalid_exact_evm_payload_authorization_valid_before");
  assert.equal((await ask("buy", order)).status, 200);
  assert.equal(await balance(buyer), 1500000n);
});

seller.close();
world.stdin.end();
const [code] = await once(world, "exit");
assert.equal(code, 0);
await assert.rejects(fetch(ready.rpc), "the chain outlives its world");
console.log(`all done in ${Math.round(performance.now() - started)} ms`);
