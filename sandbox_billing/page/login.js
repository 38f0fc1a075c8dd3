// Sign-In with Ethereum (EIP-4361): the wallet signs what the session may do.

import { ApiError, call, keepSession, now } from "./api.js";
import { checksummed, hex } from "./keccak.js";

const LIFE_SECONDS = 4 * 60 * 60;
const URN = "urn:sandbox-billing:";
const EVERYTHING = {
  statement: "Show my sandboxes and start new ones in my name.", scopes: ["read", "manage"],
};

/** The text that is signed: whatever the session may do stands in it. */
export function message({ address, origin, host, info, nonce, issuedAt, wish = EVERYTHING }) {
  return [
    `${host} wants you to sign in with your Ethereum account:`,
    checksummed(address),
    "",
    wish.statement,
    "",
    `URI: ${origin}`,
    "Version: 1",
    `Chain ID: ${info.chain_id}`,
    `Nonce: ${nonce}`,
    `Issued At: ${new Date(issuedAt * 1000).toISOString().replace(/\.\d+Z$/, "Z")}`,
    "Resources:",
    `- ${URN}provider:${info.provider_address}`,
    ...wish.scopes.map((scope) => `- ${URN}scope:${scope}`),
    `- ${URN}ttl:${LIFE_SECONDS}`,
  ].join("\n");
}

/** Sign in with a wallet that has an account; keeps and returns the session. */
export async function signIn(wallet, info, settings, wish = EVERYTHING) {
  if (!settings.sign_in_url) {
    throw new ApiError(503, "This provider takes no logins yet: its operator has to set PUBLIC_URL.");
  }
  const expected = new URL(settings.sign_in_url).origin;
  if (expected !== window.location.origin) {
    throw new ApiError(401, `Logins are signed for ${expected}: open this page there.`);
  }
  const text = message({
    address: wallet.account, origin: window.location.origin, host: window.location.host, info,
    nonce: hex(crypto.getRandomValues(new Uint8Array(16))).slice(2), issuedAt: Math.floor(now()), wish,
  });
  const signature = await wallet.sign(text);
  const given = await call("POST", "api/auth/session", {
    body: { message: text, signature }, auth: false,
  });
  const session = {
    id: given.id, token: given.token, wallet: given.wallet, expires_at: given.expires_at, rdns: wallet.info.rdns,
  };
  keepSession(session);
  return session;
}
