// The official facilitator classes behind the protocol's three routes.
import { once } from "node:events";
import { createServer } from "node:http";
import { text } from "node:stream/consumers";
import { x402Facilitator } from "@x402/core/facilitator";
import { toFacilitatorEvmSigner } from "@x402/evm";
import { ExactEvmScheme } from "@x402/evm/exact/facilitator";
import { ExactEvmSchemeV1 } from "@x402/evm/exact/v1/facilitator";
import { FACILITATOR_KEY, connect } from "./chain.mjs";

/** Starts a facilitator for V2 `eip155:84532` and V1 `base-sepolia`, on this port or any. */
export async function startFacilitator(rpc, { mempool, key = FACILITATOR_KEY, wait, port = 0 } = {}) {
  const client = connect(rpc, key);
  const { writeContract } = client;
  if (mempool) client.writeContract = (args) => mempool.write(writeContract, args);
  const options = wait ? { confirmationTimeoutMs: wait } : {};
  const signer = toFacilitatorEvmSigner({ ...client, address: client.account.address }, options);
  const facilitator = new x402Facilitator()
    .register("eip155:84532", new ExactEvmScheme(signer))
    .registerV1("base-sepolia", new ExactEvmSchemeV1(signer));

  const routes = {
    "GET /supported": () => facilitator.getSupported(),
    "POST /verify": (asked) => facilitator.verify(asked.paymentPayload, asked.paymentRequirements),
    "POST /settle": (asked) => facilitator.settle(asked.paymentPayload, asked.paymentRequirements),
  };
  const server = createServer(async (request, response) => {
    const answer = (status, body) =>
      response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(body));
    try {
      const body = await text(request);
      const route = routes[`${request.method} ${request.url}`];
      if (!route) return answer(404, { error: "no such route" });
      answer(200, await route(body && JSON.parse(body)));
    } catch (error) {
      answer(500, { error: error.message });
    }
  });
  server.listen(port, "127.0.0.1");
  await once(server, "listening");
  return {
    url: `http://127.0.0.1:${server.address().port}`,
    /** Ends it as a crash does: whoever waits for an answer gets none. */
    async stop() {
      server.close();
      server.closeAllConnections();
      await once(server, "close");
    },
  };
}
