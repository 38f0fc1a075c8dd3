// Wallets of WELL-KNOWN DEVELOPMENT KEYS, for the devnet alone: its node signs for them. Served
// only where the daemon runs beside such a node; money sent to these addresses on a public chain
// is gone at once.

const NAMES = [null, null, null, "Alice", "Bob", "Mallory", "Dave", "Erin", "Frank", "Grace"];
const OURS = {
  eth_requestAccounts: (address) => [address],
  eth_accounts: (address) => [address],
};
const SPELT = { personal_sign: "devnet_personalSign", eth_sendTransaction: "devnet_sendTransaction" };

let asked = 0;

async function ask(url, method, params) {
  asked += 1;
  const response = await fetch(url, {
    method: "POST", headers: { "Content-Type": "application/json" }, credentials: "omit",
    body: JSON.stringify({ jsonrpc: "2.0", id: asked, method: SPELT[method] ?? method, params }),
  });
  const reply = await response.json();
  if (reply.error) throw Object.assign(new Error(reply.error.message), { code: reply.error.code });
  return reply.result;
}

function icon(letter, hue) {
  const picture = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 40 40"><rect width="40" height="40" rx="20" fill="hsl(${hue} 45% 34%)"/><text x="20" y="27" font-family="sans-serif" font-size="20" text-anchor="middle" fill="#fff">${letter}</text></svg>`;
  return `data:image/svg+xml,${encodeURIComponent(picture)}`;
}

/** Announce a wallet for each development account that has a name: by default, that is a user's. */
export async function announce(url, names = NAMES) {
  const addresses = await ask(url, "devnet_accounts", []);
  const details = addresses.flatMap((address, at) => {
    const name = names[at];
    if (!name) return [];
    const provider = {
      request: async ({ method, params = [] }) =>
        OURS[method] ? OURS[method](address) : ask(url, method, params),
      on: () => {},
      removeListener: () => {},
    };
    const info = {
      uuid: `devnet-${at + 1}`, rdns: `devnet.key${at + 1}`, name, icon: icon(name[0], 40 * at),
      note: `Well-known development key ${at + 1}`,
    };
    return [Object.freeze({ info: Object.freeze(info), provider })];
  });
  const tell = () => {
    for (const detail of details) {
      window.dispatchEvent(new CustomEvent("eip6963:announceProvider", { detail }));
    }
  };
  window.addEventListener("eip6963:requestProvider", tell);
  tell();
}
