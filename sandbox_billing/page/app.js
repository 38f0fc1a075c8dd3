// The page: a door for whoever is not signed in, and behind it what is his.

import { AccountView, priceRows } from "./account.js";
import { ApiError, call, currentSession, endSession, keepSessionsAs, onSessionEnd, restoreSession, send } from "./api.js";
import { alertUser, byId, h, say, shown } from "./dom.js";
import { signIn } from "./login.js";
import { short } from "./money.js";
import { NoticesView } from "./notices.js";
import { ReceiptsView } from "./receipts.js";
import { SandboxesView } from "./sandboxes.js";
import { SettingsView } from "./settings.js";
import { UsageView } from "./usage.js";
import { discover, walletCalled, WalletError } from "./wallet.js";

const TICK_MILLISECONDS = 1000;
const REFRESH_SECONDS = 10;
const BUSY_SECONDS = 2;
const SLOW_SECONDS = 60;
const MOVED_SECONDS = 3;
const RETRY_MILLISECONDS = 5000;

/** What the parts of the page know of one another. */
class Context {
  constructor() {
    this.info = null;
    this.version = undefined;
    this.session = null;
    this.connected = null;
    this.kept = null;
  }

  get account() {
    return this.views.account.account;
  }

  /** The wallet that signed in; asked to show itself again after a reload. */
  async wallet({ quietly = false } = {}) {
    const found = this.connected ?? walletCalled(this.session.rdns);
    if (found === null) throw new WalletError("The wallet that you signed in with is not in this browser.");
    // Its user may have switched to another account meanwhile.
    await found.connect({ quietly });
    this.connected = found;
    if (this.connected.account.toLowerCase() !== this.session.wallet.toLowerCase()) {
      const other = this.connected.account;
      this.connected = null;
      throw new WalletError(`Your wallet shows ${short(other)}: switch it to ${short(this.session.wallet)}.`);
    }
    return this.connected;
  }

  /** neuron a minute. */
  rate(cpu, memory) {
    const info = this.info;
    const perCpu = BigInt(info.price_per_cpu_per_min);
    const perMemory = BigInt(info.price_per_mem_gb_per_min);
    if (perCpu === 0n && perMemory === 0n) return 60n * BigInt(info.compute_price_per_sec);
    const scaled = (size) => BigInt(Math.round(size * 1000));
    return (perCpu * scaled(cpu) + perMemory * scaled(memory)) / 1000n;
  }

  /** Prices belong to a version: those that were read with another one are read anew. */
  async pricesOf(version) {
    if (version === this.version) return;
    try {
      this.info = await call("GET", "info", { auth: false });
    } catch {
      // With the next reading of the account.
      return;
    }
    this.version = version;
    showPrices(this.info);
  }

  smallestRate() {
    return this.info === null ? 0n : this.rate(1, 1);
  }

  async snapshots() {
    if (this.kept === null) {
      try {
        this.kept = (await call("GET", "api/snapshots", { auth: false })).items ?? [];
      } catch {
        return [];
      }
    }
    return this.kept;
  }

  nameOf(id) {
    const box = this.views.boxes.cards.get(id)?.box;
    return box?.name || id.slice(0, 8);
  }

  /** Usage and receipts are others than those that are shown. */
  booksMoved() {
    this.slowDue = Math.min(this.slowDue ?? 0, Date.now() / 1000 + MOVED_SECONDS);
  }

  refreshSoon() {
    this.due = 0;
    this.booksMoved();
  }
}

const context = new Context();
context.views = {
  account: new AccountView(context),
  boxes: new SandboxesView(context),
  usage: new UsageView(context),
  receipts: new ReceiptsView(context),
  notices: new NoticesView(context),
  settings: new SettingsView(context),
};

// -- the door -----------------------------------------------------------------------------

function showPrices(info) {
  byId("prices").replaceChildren(...priceRows(info));
  say(byId("where"), `Chain ${info.chain_id} · contract ${info.contract_address} · provider ${info.provider_address}`);
}

function showWallets(wallets) {
  const list = byId("wallets");
  const known = new Set([...list.children].map((one) => one.dataset.rdns));
  for (const wallet of wallets) {
    if (known.has(wallet.info.rdns)) continue;
    const picture = wallet.info.icon === null ? h("span", { class: "picture", "aria-hidden": "true" })
      : h("img", { class: "picture", src: wallet.info.icon, alt: "", width: 32, height: 32 });
    list.append(h("li", { "data-rdns": wallet.info.rdns },
      h("button", { type: "button", class: "wallet", on: { click: () => enter(wallet) } }, picture,
        h("span", {}, h("strong", {}, wallet.info.name),
          wallet.info.note ? h("small", {}, wallet.info.note) : null))));
  }
  say(byId("no-wallet"), "No wallet was found in this browser. Install one that speaks EIP-6963, and load this page again.");
  shown(byId("no-wallet"), wallets.length === 0);
}

async function enter(wallet) {
  const error = byId("door-error");
  const buttons = [...byId("wallets").querySelectorAll("button")];
  shown(error, false);
  for (const one of buttons) one.disabled = true;
  try {
    await wallet.connect();
    await wallet.useChain(context.info);
    context.session = await signIn(wallet, context.info, context.settings);
    context.connected = wallet;
    goInside();
  } catch (problem) {
    error.textContent = problem.message;
    shown(error, true);
  } finally {
    for (const one of buttons) one.disabled = false;
  }
}

// -- inside -------------------------------------------------------------------------------

function goInside({ focus = true } = {}) {
  const { session, views } = context;
  shown(byId("door"), false);
  for (const id of ["inside", "nav", "who"]) shown(byId(id), true);
  document.body.classList.add("inside-is-open");
  say(byId("address"), short(session.wallet));
  byId("address").title = session.wallet;
  if (focus) byId("main").focus({ preventScroll: true });
  context.due = 0;
  context.slowDue = 0;
  views.notices.listen();
  turn();
}

function goOutside(text = null) {
  context.session = null;
  context.connected = null;
  for (const view of Object.values(context.views)) view.clear?.();
  byId("alerts").replaceChildren();
  shown(byId("door"), true);
  for (const id of ["inside", "nav", "who"]) shown(byId(id), false);
  document.body.classList.remove("inside-is-open");
  byId("dialog").close();
  if (text !== null) alertUser(text);
}

async function leave() {
  try {
    await send("DELETE", `api/auth/session/${currentSession()?.id}`);
  } catch {
    // It ends by itself; what matters is that this page forgets it.
  }
  endSession();
  goOutside("You are signed out.");
}

let turning = false;

/** Every second: what ticks; and when due, what has to be asked for. */
async function turn() {
  if (context.session === null || document.hidden) return;
  const { account, boxes, usage, receipts, settings } = context.views;
  account.tick();
  boxes.tick();
  if (turning) return;
  turning = true;
  try {
    const at = Date.now() / 1000;
    if (at >= (context.due ?? 0)) {
      context.due = at + REFRESH_SECONDS;
      await Promise.all([account.refresh(), boxes.refresh()]);
      if (boxes.busy) context.due = Math.min(context.due, at + BUSY_SECONDS);
    }
    if (context.session !== null && at >= (context.slowDue ?? 0)) {
      const first = context.slowDue === 0;
      context.slowDue = at + SLOW_SECONDS;
      await Promise.all([usage.refresh(), receipts.refresh(), first ? settings.refresh() : null]);
      if (receipts.isUnsettled) context.slowDue = Math.min(context.slowDue, at + REFRESH_SECONDS);
    }
  } catch (problem) {
    // A fault of this page must be seen, and must not end its turns.
    console.error(problem);
  } finally {
    turning = false;
  }
}

// -- the start ----------------------------------------------------------------------------

async function begin() {
  try {
    context.settings = await call("GET", "page/settings.json", { auth: false });
    context.info = await call("GET", "info", { auth: false });
  } catch (problem) {
    alertUser(problem instanceof ApiError && problem.status === 503
      ? "The provider is starting: this page tries again by itself." : `The provider cannot be reached: ${problem.message}`,
    { kind: "bad", id: "begin" });
    setTimeout(begin, RETRY_MILLISECONDS);
    return;
  }
  document.querySelector('[data-id="begin"]')?.remove();
  showPrices(context.info);
  keepSessionsAs("sandbox-billing-session", context.info.provider_address);
  onSessionEnd(goOutside);
  byId("leave").addEventListener("click", leave);
  discover(showWallets);
  if (context.settings.development_rpc_url) {
    const { announce } = await import("./devnet.js");
    await announce(context.settings.development_rpc_url);
  }
  context.session = restoreSession();
  if (context.session !== null) goInside({ focus: false });
  setInterval(turn, TICK_MILLISECONDS);
  document.addEventListener("visibilitychange", () => { context.due = 0; turn(); });
}

begin();
