// A local chain that looks like Base Sepolia to x402: anvil, with a token at the canonical address
// of USDC and Multicall3 at its own.
import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { createInterface } from "node:readline";
import solc from "solc";
import { createTestClient, http, publicActions, walletActions } from "viem";
import { privateKeyToAccount } from "viem/accounts";
import { baseSepolia } from "viem/chains";

export const TOKEN = "0x036CbD53842c5426634e7929541eC2318f3dCF7e";
const MULTICALL = "0xcA11bde05977b3631167028862bE2a173976CA11";

// Anvil's published development keys; they hold nothing on any other chain.
const MINTER_KEY = "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";
export const FACILITATOR_KEY = "0x59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d";

/** Starts a chain. It ends with this process. */
export async function startChain() {
  const starting = startAnvil();
  const contracts = compile(["token.sol", "multicall.sol"]);
  const rpc = await starting;
  const client = connect(rpc, MINTER_KEY);
  await client.setCode({ address: TOKEN, bytecode: contracts.Token.code });
  await client.setCode({ address: MULTICALL, bytecode: contracts.Multicall.code });

  const token = { address: TOKEN, abi: contracts.Token.abi };
  const balanceOf = (address) =>
    client.readContract({ ...token, functionName: "balanceOf", args: [address] });

  const send = async (functionName, args) => {
    const hash = await client.writeContract({ ...token, functionName, args });
    const { status } = await client.waitForTransactionReceipt({ hash });
    if (status !== "success") throw new Error(`${functionName} failed in ${hash}`);
    return hash;
  };

  return {
    rpc,
    client,
    balanceOf,
    /** Creates `amount` atomic units and answers the balance that results. */
    async mint(address, amount) {
      await send("mint", [address, BigInt(amount)]);
      return balanceOf(address);
    },
    /** Cancels an authorization of the wallet with this key and answers the transaction. */
    async cancel(privateKey, nonce) {
      const account = privateKeyToAccount(privateKey);
      const signature = await account.signTypedData({
        domain: { name: "USDC", version: "2", chainId: baseSepolia.id, verifyingContract: TOKEN },
        types: {
          CancelAuthorization: [
            { name: "authorizer", type: "address" },
            { name: "nonce", type: "bytes32" },
          ],
        },
        primaryType: "CancelAuthorization",
        message: { authorizer: account.address, nonce },
      });
      return send("cancelAuthorization", [account.address, nonce, signature]);
    },
    /** Moves the chain's clock and answers the time of its newest block, in seconds. */
    async advance(seconds) {
      if (seconds > 0) await client.increaseTime({ seconds });
      await client.mine({ blocks: 1 });
      return Number((await client.getBlock()).timestamp);
    },
  };
}

/** A viem client that signs with `key` and sends one transaction at a time. */
export function connect(rpc, key) {
  const client = createTestClient({
    mode: "anvil",
    chain: baseSepolia,
    transport: http(rpc),
    account: privateKeyToAccount(key),
    pollingInterval: 10,
  })
    .extend(publicActions)
    .extend(walletActions);
  // Two transactions prepared at once would take the same account nonce.
  let turn = Promise.resolve();
  const inTurn = (send) => (args) => (turn = turn.catch(() => {}).then(() => send(args)));
  return {
    ...client,
    writeContract: inTurn(client.writeContract),
    sendTransaction: inTurn(client.sendTransaction),
  };
}

// However this process ends, the shell's input closes with it, and the shell then ends anvil.
const GUARD = '"$0" "$@" & exec >/dev/null; cat; kill -9 $!';

async function startAnvil() {
  const options = ["--host", "127.0.0.1", "--port", "0", "--chain-id", `${baseSepolia.id}`];
  const anvil = spawn("/bin/sh", ["-c", GUARD, anvilPath(), ...options], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  for await (const line of createInterface({ input: anvil.stdout })) {
    const port = line.match(/Listening on 127\.0\.0\.1:(\d+)/)?.[1];
    if (port) {
      anvil.stdout.resume().once("end", () => {
        throw new Error("anvil ended");
      });
      return `http://127.0.0.1:${port}`;
    }
  }
  throw new Error("anvil did not say where it listens");
}

/** The binary itself, without the script that npm puts before it. */
function anvilPath() {
  const here = createRequire(import.meta.url);
  const require = createRequire(here.resolve("@foundry-rs/anvil/bin.mjs"));
  const arch = { x64: "amd64" }[process.arch] ?? process.arch;
  return require.resolve(`@foundry-rs/anvil-${process.platform}-${arch}/bin/anvil`);
}

function compile(files) {
  const read = (file) => readFileSync(new URL(file, import.meta.url), "utf8");
  const input = {
    language: "Solidity",
    sources: Object.fromEntries(files.map((file) => [file, { content: read(file) }])),
    settings: {
      evmVersion: "cancun",
      optimizer: { enabled: true, runs: 200 },
      outputSelection: { "*": { "*": ["abi", "evm.deployedBytecode.object"] } },
    },
  };
  const output = JSON.parse(solc.compile(JSON.stringify(input)));
  if (output.errors?.length) {
    throw new Error(output.errors.map((error) => error.formattedMessage).join("\n"));
  }
  const contracts = Object.assign({}, ...Object.values(output.contracts));
  return Object.fromEntries(
    Object.entries(contracts).map(([name, { abi, evm }]) => [
      name,
      { abi, code: `0x${evm.deployedBytecode.object}` },
    ]),
  );
}
