// What happens between a facilitator's sending and the chain's mining, told by the authorization's
// nonce: a transaction that waits in the pool, or one that is mined and reverts.
import { encodeFunctionData } from "viem";
import { generatePrivateKey } from "viem/accounts";
import { connect } from "./chain.mjs";

/** Gas is given, because a transaction that is going to revert cannot be estimated. */
const GAS = 300_000n;
const NOWHERE = "0x000000000000000000000000000000000000dEaD";
const TRANSFER = [
  {
    type: "function",
    name: "transfer",
    stateMutability: "nonpayable",
    inputs: [
      { name: "to", type: "address" },
      { name: "value", type: "uint256" },
    ],
    outputs: [{ type: "bool" }],
  },
];

/** A pool in front of the chain, and `writeContract` for facilitators that send into it. */
export function openMempool(chain) {
  const plans = new Map();
  const key = (nonce) => nonce.toLowerCase();

  /** An account of its own, one nonce ahead: the chain keeps its transaction until the gap is filled. */
  async function sendAhead(plan, args) {
    const client = connect(chain.rpc, generatePrivateKey());
    await client.setBalance({ address: client.account.address, value: 10n ** 18n });
    const hash = await client.writeContract({ ...args, gas: GAS, nonce: 1 });
    plan.waiting.push({ client, hash });
    plan.tell(hash);
    return hash;
  }

  return {
    /** Sends as planned for this authorization, or as `send` does. */
    async write(send, args) {
      const plan = plans.get(key(args.args[5]));
      if (!plan || plan.over) return send(args);
      if (plan.what === "hold") return sendAhead(plan, args);
      plan.over = true;
      const [from] = args.args;
      await drain(chain, args.address, from);
      const hash = await send({ ...args, gas: GAS });
      plan.tell(hash);
      return hash;
    },
    /** Plans what becomes of an authorization's transactions: `hold` or `revert`. */
    plan(nonce, what) {
      if (!["hold", "revert"].includes(what)) throw new Error(`cannot plan ${what}`);
      const plan = { what, over: false, waiting: [] };
      plan.sent = new Promise((resolve) => (plan.tell = resolve));
      plans.set(key(nonce), plan);
    },
    /** Waits until one was sent, and answers its hash. */
    sent: (nonce) => plans.get(key(nonce)).sent,
    /** Fills the gaps, so that those are mined which wait, and those to come do not. */
    async release(nonce) {
      const plan = plans.get(key(nonce));
      plan.over = true;
      for (const { client, hash } of plan.waiting) {
        const { address } = client.account;
        await client.sendTransaction({ to: address, value: 0n, gas: 21_000n, nonce: 0 });
        await client.waitForTransactionReceipt({ hash });
      }
    },
  };
}

/** Takes all that a wallet has, as its owner might. */
export async function drain(chain, token, address) {
  const { client } = chain;
  const value = await chain.balanceOf(address);
  await client.setBalance({ address, value: 10n ** 18n });
  await client.impersonateAccount({ address });
  const data = encodeFunctionData({ abi: TRANSFER, functionName: "transfer", args: [NOWHERE, value] });
  const params = [{ from: address, to: token, data, gas: `0x${GAS.toString(16)}` }];
  const hash = await client.request({ method: "eth_sendTransaction", params });
  const { status } = await client.waitForTransactionReceipt({ hash });
  await client.stopImpersonatingAccount({ address });
  if (status !== "success") throw new Error(`${address} could not be drained`);
  return value;
}
