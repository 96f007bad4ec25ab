// Whole purchases with the official, unmodified clients, and a record of what they sent.
import { registerExactEvmScheme } from "@x402/evm/exact/client";
import { appendPaymentIdentifierToExtensions } from "@x402/extensions/payment-identifier";
import { wrapFetchWithPayment, x402Client } from "@x402/fetch";
import { formatUnits } from "viem";
import { privateKeyToAccount } from "viem/accounts";
import { createSigner, wrapFetchWithPayment as wrapFetchWithPaymentV1 } from "x402-fetch";

const PAYMENT_HEADERS = ["payment-signature", "x-payment"];

/** One paid request. Rejects with the client's own error, the record attached as `requests`. */
export async function buy(order) {
  const requests = [];
  const pay = await buyer(order, recorder(requests, order.deliver ?? true));
  try {
    const response = await pay(order.url, {
      method: order.method ?? "POST",
      headers: order.headers ?? {},
      body: order.body,
    });
    return { ...(await facts(response)), requests };
  } catch (error) {
    throw Object.assign(error, { requests });
  }
}

/** A plain request, without any client around it. */
export async function request({ method = "GET", url, headers, body }) {
  return facts(await fetch(url, { method, headers, body, redirect: "manual" }));
}

async function buyer({ version, privateKey, maxValue, paymentId }, record) {
  if (version === 1) {
    const signer = await createSigner("base-sepolia", privateKey);
    return wrapFetchWithPaymentV1(record, signer, maxValue && BigInt(maxValue));
  }
  if (version !== 2) throw new Error(`version is 1 or 2, not ${version}`);
  const client = new x402Client();
  registerExactEvmScheme(client, { signer: privateKeyToAccount(privateKey) });
  if (maxValue) {
    client.setSpendControls({ maxAmountPerPayment: `$${formatUnits(BigInt(maxValue), 6)}` });
  }
  if (paymentId) {
    client.onBeforePaymentCreation(async ({ paymentRequired }) => {
      appendPaymentIdentifierToExtensions(paymentRequired.extensions ?? {}, paymentId);
    });
  }
  return wrapFetchWithPayment(record, client);
}

/** A `fetch` that notes each request; without `deliver` it keeps the paid one back. */
function recorder(requests, deliver) {
  return async (input, init) => {
    const sent = new Request(input, init);
    const entry = {
      method: sent.method,
      url: sent.url,
      headers: Object.fromEntries(sent.headers),
      body: (await sent.clone().text()) || null,
      response: null,
    };
    requests.push(entry);
    if (!deliver && PAYMENT_HEADERS.some((name) => sent.headers.has(name))) {
      return new Response(null, { status: 204 });
    }
    const response = await fetch(sent);
    entry.response = await facts(response.clone());
    return response;
  };
}

async function facts(response) {
  const headers = Object.fromEntries(response.headers);
  return { status: response.status, headers, body: await response.text() };
}
