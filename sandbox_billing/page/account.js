// Balance, exposure and time left; what moves money on-chain.

import { ApiError, call, now } from "./api.js";
import { encoded, words } from "./abi.js";
import { alertUser, announce, ask, byId, field, forget, h, say, setAmount, shown } from "./dom.js";
import { costOf, duration, exactly, exactMoment, in0G, moment, neuronOf } from "./money.js";
import { SentError, WalletError } from "./wallet.js";

const SETTLES_SECONDS = 40;

const EXPLAINED = {
  insufficient_balance: "Your balance ran dry: what ran is being stopped. Deposit to go on.",
  not_acknowledged: "You have not acknowledged the provider's signer: acknowledge it to go on.",
  debt: "You have a debt: it is collected first after the next deposit.",
};

/** What the provider asks for, as terms and descriptions. */
export function priceRows(info) {
  const rows = [["1 CPU", BigInt(info.price_per_cpu_per_min)], ["1 GiB of memory", BigInt(info.price_per_mem_gb_per_min)]];
  const flat = 60n * BigInt(info.compute_price_per_sec);
  const priced = rows.some(([, size]) => size > 0n) ? rows : [["A sandbox", flat]];
  const fee = BigInt(info.create_fee);
  return [...priced.map(([label, size]) => [label, size, "0G/min"]), ["To create", fee, "0G"]]
    .map(([label, size, unit]) => h("div", {}, h("dt", {}, label), h("dd", { title: exactly(size) }, `${in0G(size, 5)} ${unit}`)));
}

export class AccountView {
  constructor(context) {
    this.context = context;
    this.account = null;
    this.toldMinute = null;
    byId("deposit").addEventListener("click", () => this.deposit());
    byId("acknowledge").addEventListener("click", () => this.acknowledge());
    byId("refund").addEventListener("click", () => this.refund());
    byId("withdraw").addEventListener("click", () => this.withdraw());
    byId("resume").addEventListener("click", () => this.resume());
  }

  clear() {
    Object.assign(this, { account: null, moved: null, warned: null, toldMinute: null });
    for (const id of ["left", "available", "burn"]) setAmount(byId(id), "–", "");
    for (const id of ["left-note", "available-note", "burn-note", "refund-note"]) say(byId(id), "");
    for (const id of ["split", "legend"]) byId(id).replaceChildren();
    for (const id of ["withdraw", "resume"]) shown(byId(id), false);
  }

  async refresh() {
    const { session } = this.context;
    try {
      const account = await call("GET", "api/account");
      await this.context.pricesOf(account.signer_version);
      // Somebody else has signed in meanwhile.
      if (session !== this.context.session) return null;
      this.account = account;
      this.syncedAt = now();
      forget("account");
      const moved = [this.account.balance, this.account.exposure.charges, this.account.running].join();
      if (moved !== this.moved) this.context.booksMoved();
      this.moved = moved;
      this.render();
    } catch (problem) {
      if (problem instanceof ApiError && problem.status !== 401 && session === this.context.session) {
        const text = problem.isMissing
          ? "This provider does not tell balances yet; your sandboxes work all the same."
          : `Your balance cannot be read right now: ${problem.message}`;
        alertUser(text, { kind: "bad", id: "account" });
      }
    }
    return this.account;
  }

  /** neuron left at this moment: what runs is counted on between two readings. */
  available() {
    const burnt = costOf(BigInt(this.account.burn_rate_per_minute), now() - this.syncedAt);
    const left = BigInt(this.account.available) - burnt;
    return left > 0n ? left : 0n;
  }

  /** neuron that can be asked back: what the provider advances was never deposited. */
  refundable() {
    const burnt = costOf(BigInt(this.account.burn_rate_per_minute), now() - this.syncedAt);
    const own = BigInt(this.account.balance) - BigInt(this.account.exposure.total) - burnt;
    const available = this.available();
    const least = own < available ? own : available;
    return least > 0n ? least : 0n;
  }

  render() {
    const account = this.account;
    const rate = BigInt(account.burn_rate_per_minute);
    setAmount(byId("burn"), in0G(rate, 4), exactly(rate));
    say(byId("burn-note"), rate === 0n ? "Nothing runs"
      : `${in0G(rate * 60n, 3)} 0G an hour · ${account.running} running`);
    byId("burn").closest(".figure").classList.toggle("is-live", rate > 0n);
    this.renderSplit(account);
    this.renderActions(account);
    this.renderWarnings(account);
    this.context.views.settings.tellSpent();
    this.tick();
  }

  renderSplit(account) {
    const exposure = account.exposure;
    const owed = BigInt(exposure.charges) + BigInt(exposure.debts) + BigInt(exposure.accrued);
    const holds = BigInt(exposure.holds);
    const balance = BigInt(account.balance);
    const free = BigInt(account.available);
    const parts = [
      ["free", "Available", free], ["held", "Held for what runs", holds],
      ["owed", "Used, not settled yet", owed],
    ];
    const whole = parts.reduce((sum, [, , size]) => sum + size, 0n);
    byId("split").replaceChildren(...parts.filter(([, , size]) => size > 0n).map(([kind, , size]) => {
      const part = h("span", { class: `part ${kind}` });
      part.style.flexGrow = String(Number((size * 10000n) / (whole || 1n)) / 100);
      return part;
    }));
    const pending = BigInt(account.pending_refund);
    const rows = [["balance", "Balance on-chain", balance], ...parts.slice(1)];
    if (pending > 0n) rows.push(["refund", "Waiting to be refunded", pending]);
    byId("legend").replaceChildren(...rows.map(([kind, label, size]) => h("div", {},
      h("dt", {}, h("span", { class: `dot ${kind}`, "aria-hidden": "true" }), label),
      h("dd", { title: exactly(size) }, `${in0G(size, 6)} 0G`))));
  }

  renderActions(account) {
    const acknowledge = byId("acknowledge");
    say(acknowledge, account.acknowledged ? "Revoke signer" : "Acknowledge signer");
    acknowledge.className = account.acknowledged ? "" : "primary";
    const pending = BigInt(account.pending_refund);
    const unlocked = pending > 0n && now() >= Number(account.refund_unlock_at);
    shown(byId("withdraw"), unlocked);
    say(byId("refund-note"), pending === 0n ? ""
      : unlocked ? `${in0G(pending, 6)} 0G can be withdrawn.`
        : `${in0G(pending, 6)} 0G can be withdrawn from ${moment(Number(account.refund_unlock_at))} on.`);
    shown(byId("resume"), (account.waiting_to_resume ?? []).length > 0);
  }

  renderWarnings(account) {
    const warn = (id, text, kind = "warn") =>
      (text ? alertUser(text, { kind, id }) : forget(id));
    const key = JSON.stringify([account.acknowledged, account.signer_version, account.running > 0,
      account.blocked, account.provider_leaving_at]);
    if (key === this.warned) return;
    this.warned = key;
    warn("acknowledged", account.acknowledged ? null
      : account.running > 0
        ? `The provider's signer or prices have changed: acknowledge version ${account.signer_version}, or what runs is stopped.`
        : `Acknowledge the provider's signer (version ${account.signer_version}) before your first sandbox.`);
    warn("blocked", account.blocked && account.blocked !== "not_acknowledged"
      ? EXPLAINED[account.blocked] ?? `You are blocked: ${account.blocked}` : null, "bad");
    warn("leaving", account.provider_leaving_at
      ? `This provider leaves at ${exactMoment(account.provider_leaving_at)}: nothing new is started.`
      : null);
  }

  /** Once a second. */
  tick() {
    const account = this.account;
    if (account === null) return;
    const available = this.available();
    setAmount(byId("available"), in0G(available, 5, 5), exactly(available));
    const balance = BigInt(account.balance);
    say(byId("available-note"), available > balance
      ? `${in0G(balance, 4)} on-chain; the provider advances the rest`
      : `of ${in0G(balance, 4)} on-chain`);
    const ends = account.runs_dry_at;
    const left = byId("left");
    const figure = left.closest(".figure");
    if (ends === null) {
      say(left, available > 0n ? "Not running" : "Nothing left");
      const price = this.context.smallestRate();
      say(byId("left-note"), price > 0n && available > 0n
        ? `Enough for ${duration(Number((available * 60n) / price))} of 1 CPU and 1 GiB` : "");
      figure.classList.remove("is-short");
      return;
    }
    const seconds = ends - now();
    say(left, seconds > 0 ? duration(seconds) : "Dry");
    say(byId("left-note"), seconds > 0 ? `until ${moment(ends)}` : "Deposit now: what runs is stopped");
    figure.classList.toggle("is-short", seconds < 600);
    this.tellNow(seconds);
  }

  /** Assistive technology hears of the time left now and then, not each second. */
  tellNow(seconds) {
    const minute = Math.floor(seconds / 60);
    const worth = minute <= 10 || minute % 30 === 0;
    if (worth && minute !== this.toldMinute) {
      if (this.toldMinute !== null) announce(`Time left: ${duration(Math.max(0, seconds))}`);
      this.toldMinute = minute;
    }
  }

  // -- on-chain ---------------------------------------------------------------------------

  async transact(call_, progress) {
    const { info } = this.context;
    const wallet = await this.context.wallet();
    await wallet.useChain(info);
    const [hash, receipt] = await wallet.transact({ to: info.contract_address, ...call_ }, progress);
    progress("Waiting for the provider to see it…");
    try {
      await this.seen(Number(BigInt(receipt.blockNumber)));
    } catch (problem) {
      throw new SentError(`It is mined, but this page failed: ${problem.message}.`, hash);
    }
  }

  /** The daemon reads the chain a few blocks late. */
  async seen(block) {
    const deadline = Date.now() + SETTLES_SECONDS * 1000;
    while (Date.now() < deadline) {
      const account = await this.refresh();
      if (account === null || account.block >= block) return;
      await new Promise((resume) => { setTimeout(resume, 1000); });
    }
  }

  async deposit() {
    const { info, session } = this.context;
    const input = h("input", { type: "text", inputmode: "decimal", autocomplete: "off", value: "1", required: true });
    const hint = h("p");
    const tell = () => {
      const size = neuronOf(input.value);
      const price = this.context.smallestRate();
      say(hint, size === null || price === 0n ? "An amount of 0G, such as 0.5"
        : `Enough for ${duration(Number((size * 60n) / price))} of 1 CPU and 1 GiB`);
    };
    input.addEventListener("input", tell);
    tell();
    const done = await ask({
      title: "Deposit", confirm: "Deposit",
      fields: [
        h("p", { class: "muted" }, "It goes into the contract, under your name: only vouchers for what ran can take it, and the rest can be refunded."),
        field("Amount in 0G", input, hint),
      ],
      act: async (form, progress) => {
        const size = neuronOf(input.value);
        if (size === null || size === 0n) throw new Error("That is no amount: write it as 0.5 or 12.");
        const data = encoded("deposit(address,address)", session.wallet, info.provider_address);
        await this.transact({ data, value: size }, progress);
      },
    });
    if (done) alertUser("Deposited.", { kind: "good", seconds: 6 });
  }

  /**
   * The call by which this version is agreed to, and no other: between the look and the block
   * the provider may change its signer or its prices.
   */
  async agreement(version) {
    const { contract_address: contract, provider_address: provider } = this.context.info;
    const wallet = await this.context.wallet();
    await wallet.useChain(this.context.info);
    const told = words(await wallet.read(contract, encoded("services(address)", provider)));
    if (told[4] !== BigInt(version)) {
      throw new WalletError("The provider has just changed its signer or its prices: close this, and look again in some seconds.");
    }
    const bound = encoded("acknowledgeTEESignerVersion(address,uint256)", provider, BigInt(version));
    try {
      await wallet.request("eth_call", [{ from: wallet.account, to: contract, data: bound }, "latest"]);
    } catch {
      // The contract that was deployed first has only this one.
      return encoded("acknowledgeTEESigner(address,bool)", provider, true);
    }
    return bound;
  }

  async acknowledge() {
    // Of an account that was not read yet nobody knows what there is to agree to.
    if (this.account === null && (await this.refresh()) === null) return;
    const { info } = this.context;
    const yes = !this.account.acknowledged;
    const version = this.account.signer_version ?? "";
    const done = await ask({
      title: yes ? "Acknowledge the signer" : "Revoke the acknowledgement",
      confirm: yes ? "Acknowledge" : "Revoke", danger: !yes,
      fields: yes ? [
        h("p", { class: "muted" }, `Vouchers signed by this provider's enclave (signer version ${version}) may then be paid from your deposit, at these prices. A new signer or new prices void it.`),
        h("dl", { class: "prices" }, priceRows(info)),
      ] : [h("p", { class: "muted" }, "No voucher is paid any more, and whatever runs is stopped.")],
      act: async (form, progress) => this.transact({
        data: yes ? await this.agreement(version)
          : encoded("acknowledgeTEESigner(address,bool)", info.provider_address, false),
      }, progress),
    });
    if (done) alertUser(yes ? "Acknowledged." : "Revoked.", { kind: "good", seconds: 6 });
  }

  async refund() {
    const { info } = this.context;
    const most = this.account === null ? 0n : this.refundable();
    const input = h("input", { type: "text", inputmode: "decimal", autocomplete: "off", value: in0G(most, 18).replace(/\u202f/g, ""), required: true });
    const done = await ask({
      title: "Request a refund", confirm: "Request refund",
      fields: [
        h("p", { class: "muted" }, "It leaves your balance at once and can be withdrawn after the contract's lock of two hours. A new request replaces an earlier one."),
        field("Amount in 0G", input, `At most ${in0G(most, 6)} 0G`),
      ],
      act: async (form, progress) => {
        const size = neuronOf(input.value);
        if (size === null || size === 0n) throw new Error("That is no amount: write it as 0.5 or 12.");
        const data = encoded("requestRefund(address,uint256)", info.provider_address, size);
        await this.transact({ data }, progress);
      },
    });
    if (done) alertUser("Requested.", { kind: "good", seconds: 6 });
  }

  async withdraw() {
    const { info } = this.context;
    const done = await ask({
      title: "Withdraw the refund", confirm: "Withdraw",
      fields: [h("p", { class: "muted" }, `${in0G(BigInt(this.account.pending_refund), 6)} 0G go to your wallet.`)],
      act: (form, progress) => this.transact({
        data: encoded("withdrawRefund(address)", info.provider_address),
      }, progress),
    });
    if (done) alertUser("Withdrawn.", { kind: "good", seconds: 6 });
  }

  async resume() {
    const waiting = this.account?.waiting_to_resume ?? [];
    await ask({
      title: "Resume", confirm: "Start them",
      fields: [h("p", { class: "muted" }, `${waiting.length} sandbox${waiting.length === 1 ? " was" : "es were"} stopped when money ran out.`)],
      act: async () => {
        const told = await call("POST", "api/account/resume");
        const failed = Object.entries(told.failed ?? {});
        this.context.refreshSoon();
        if (failed.length > 0) throw new Error(failed.map(([id, why]) => `${id}: ${why}`).join("; "));
      },
    });
  }
}
