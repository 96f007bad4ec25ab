"""Purchases with the official, unmodified Python client, and a record of what it sent.

Reads one JSON request per line on stdin and prints one JSON answer per line on stdout:
  {"url": "…", "privateKey": "0x…", "headers": {…}, "body": "…"}
    →  {"status": 200, "headers": {…}, "body": "…", "requests": [{"headers": {…}}, …]}
  or   {"error": "…", "requests": […]}
Timeouts and spending cap are the client's stock ones. Ends when stdin closes.
"""

import asyncio
import json
import sys

import httpx
from eth_account import Account
from x402 import x402Client
from x402.http.clients.httpx import x402AsyncTransport
from x402.mechanisms.evm import EthAccountSigner
from x402.mechanisms.evm.exact import register_exact_evm_client


class Recorder(httpx.AsyncHTTPTransport):
    """A transport that notes the headers of each request before it leaves."""

    def __init__(self):
        super().__init__()
        self.requests = []

    async def handle_async_request(self, request):
        self.requests.append({"headers": dict(request.headers)})
        return await super().handle_async_request(request)


async def buy(order):
    client = x402Client()
    register_exact_evm_client(client, EthAccountSigner(Account.from_key(order["privateKey"])))
    recorder = Recorder()
    async with httpx.AsyncClient(transport=x402AsyncTransport(client, recorder)) as http:
        try:
            response = await http.post(
                order["url"], headers=order.get("headers"), content=order.get("body")
            )
        except Exception as error:
            return {"error": repr(error), "requests": recorder.requests}
        facts = {"status": response.status_code, "headers": dict(response.headers)}
        return {**facts, "body": response.text, "requests": recorder.requests}


for line in sys.stdin:
    print(json.dumps(asyncio.run(buy(json.loads(line)))), flush=True)
