// Injected wallets: found as EIP-6963 says, asked as EIP-1193 says. No other way to the chain.

import { checksummed, hex, utf8 } from "./keccak.js";

const POLL_MILLISECONDS = 1000;
const PATIENCE_MILLISECONDS = 180000;
const NO_SUCH_CHAIN = 4902;
const REFUSED_BY_USER = 4001;

const found = new Map();

export class WalletError extends Error {}

/** What was sent may have moved money, or may still: whoever asks again may pay twice. */
export class SentError extends WalletError {
  constructor(text, hash) {
    super(`${text} Look at transaction ${hash} before you send it again.`);
    this.sent = true;
  }
}

function told(problem) {
  if (problem?.code === REFUSED_BY_USER) return "You declined this in your wallet.";
  return problem?.message ? `Your wallet says: ${problem.message}` : "Your wallet did not answer.";
}

export class Wallet {
  constructor(provider, info) {
    this.provider = provider;
    this.info = info;
    this.account = null;
  }

  async request(method, params = []) {
    try {
      return await this.provider.request({ method, params });
    } catch (problem) {
      const error = new WalletError(told(problem));
      error.code = problem?.code;
      throw error;
    }
  }

  /** Ask for an account; quietly takes only one that was given before. */
  async connect({ quietly = false } = {}) {
    const accounts = await this.request(quietly ? "eth_accounts" : "eth_requestAccounts");
    if (!Array.isArray(accounts) || !/^0x[0-9a-fA-F]{40}$/.test(accounts[0] ?? "")) {
      throw new WalletError("Your wallet gave no account.");
    }
    this.account = checksummed(accounts[0]);
    return this.account;
  }

  async isOn(chainId) {
    return BigInt(await this.request("eth_chainId")) === BigInt(chainId);
  }

  /** Be on the provider's chain, or say why not. */
  async useChain(info) {
    const wanted = `0x${info.chain_id.toString(16)}`;
    if (await this.isOn(info.chain_id)) return;
    try {
      await this.request("wallet_switchEthereumChain", [{ chainId: wanted }]);
    } catch (problem) {
      if (problem.code !== NO_SUCH_CHAIN || !info.rpc_url) throw problem;
      await this.request("wallet_addEthereumChain", [{
        chainId: wanted, chainName: `0G (${info.chain_id})`, rpcUrls: [info.rpc_url],
        nativeCurrency: { name: "0G", symbol: "0G", decimals: 18 },
      }]);
    }
    if (!(await this.isOn(info.chain_id))) {
      throw new WalletError(`Your wallet is on another chain than ${info.chain_id}.`);
    }
  }

  sign(text) {
    return this.request("personal_sign", [hex(utf8(text)), this.account]);
  }

  /**
   * Send a call, and wait until it is mined: [its hash, its receipt].
   * Throws a SentError for whatever goes wrong once the wallet has sent it.
   */
  async transact({ to, data, value = 0n }, progress = () => {}, patience = PATIENCE_MILLISECONDS) {
    progress("Confirm in your wallet…");
    const hash = await this.request("eth_sendTransaction", [
      { from: this.account, to, data, value: `0x${value.toString(16)}` },
    ]).catch((problem) => {
      // A node that did not answer the wallet may have heard it all the same.
      if (problem.code !== REFUSED_BY_USER) problem.message += " Look at its list of transactions before you try again.";
      throw problem;
    });
    progress("Waiting for a block…");
    const deadline = Date.now() + patience;
    for (;;) {
      const receipt = await this.receiptOf(hash);
      if (receipt) {
        if (BigInt(receipt.status) === 1n) return [hash, receipt];
        throw new SentError("The contract refused it, and nothing moved.", hash);
      }
      if (Date.now() > deadline) throw new SentError("It is not mined yet, and may still be.", hash);
      await new Promise((resume) => { setTimeout(resume, POLL_MILLISECONDS); });
    }
  }

  /** Null without one, and also when the node gives no sound answer: what was sent is sent. */
  async receiptOf(hash) {
    try {
      const receipt = await this.request("eth_getTransactionReceipt", [hash]);
      if (!receipt) return null;
      BigInt(receipt.status);
      BigInt(receipt.blockNumber);
      return receipt;
    } catch {
      return null;
    }
  }

  read(to, data, block = "latest") {
    return this.request("eth_call", [{ to, data }, block]);
  }
}

function isPicture(icon) {
  return typeof icon === "string" && /^data:image\//.test(icon);
}

/** Listen for wallets, and ask them to show themselves; `changed` is told of each new one. */
export function discover(changed) {
  window.addEventListener("eip6963:announceProvider", (event) => {
    const { info, provider } = event.detail ?? {};
    if (typeof provider?.request !== "function" || typeof info?.uuid !== "string") return;
    if (found.has(info.uuid)) return;
    found.set(info.uuid, new Wallet(provider, {
      name: String(info.name ?? "Wallet").slice(0, 60),
      rdns: String(info.rdns ?? ""),
      icon: isPicture(info.icon) ? info.icon : null,
      note: typeof info.note === "string" ? info.note.slice(0, 120) : "",
    }));
    changed([...found.values()]);
  });
  window.dispatchEvent(new Event("eip6963:requestProvider"));
  setTimeout(() => {
    if (found.size === 0 && typeof window.ethereum?.request === "function") {
      // An older wallet, which only puts itself there.
      found.set("injected", new Wallet(window.ethereum,
        { name: "Browser wallet", rdns: "injected", icon: null, note: "" }));
    }
    changed([...found.values()]);
  }, 400);
}

export function walletCalled(rdns) {
  return [...found.values()].find((wallet) => wallet.info.rdns === rdns) ?? null;
}
