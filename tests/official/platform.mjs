// Node 18, which Debian 12 has, does not yet have Web Crypto as a global; the buyers sign with it.
import { webcrypto } from "node:crypto";

globalThis.crypto ??= webcrypto;
