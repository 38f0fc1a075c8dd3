// Receipts, each with a button that proves it or says why it does not.

import { ApiError, call } from "./api.js";
import { announce, byId, h, say, shown } from "./dom.js";
import { exactly, exactMoment, in0G, moment, short } from "./money.js";
import { verify } from "./verify.js";

const PAGE = 10;
const KINDS = { create: "Create fee", compute: "Compute", debt: "Debt", imported: "Carried over" };
const MARKS = { proven: "✓", "not proven": "○", refuted: "✕" };

class Line {
  constructor(view, receipt) {
    this.view = view;
    this.receipt = receipt;
    this.verdict = h("div", { class: "verdict", role: "status" });
    this.button = h("button", {
      type: "button", on: { click: () => this.verify() },
      "aria-label": `Verify the receipt of ${moment(receipt.period_start)}`,
    }, "Verify");
    const paid = BigInt(receipt.paid ?? "0");
    const facts = [`${receipt.units} s`, receipt.nonce ? `voucher ${receipt.nonce}` : "not signed yet",
      receipt.block ? `block ${receipt.block}` : null,
      receipt.collects?.length > 1 ? `${receipt.collects.length} charges` : null];
    this.element = h("li", { class: "receipt" },
      h("div", { class: "receipt-main" },
        h("p", { class: "what" }, h("strong", {}, KINDS[receipt.kind] ?? receipt.kind), " ",
          h("span", { class: "muted", title: receipt.sandbox }, `of ${receipt.sandbox.slice(0, 8)}`), " ",
          h("span", { class: "state", "data-state": receipt.status }, receipt.status)),
        h("p", { class: "muted small" }, h("span", { title: exactMoment(receipt.period_end) },
          moment(receipt.period_start)), ` · ${facts.filter(Boolean).join(" · ")}`),
        receipt.transaction ? h("p", { class: "muted small mono", title: receipt.transaction }, short(receipt.transaction)) : null),
      h("p", { class: "number fee", title: exactly(BigInt(receipt.fee)) }, `${in0G(BigInt(receipt.fee), 6)} 0G`,
        receipt.status === "partial" ? h("span", { class: "muted small" }, ` paid ${in0G(paid, 6)}`) : null),
      this.button, this.verdict);
  }

  async verify() {
    this.button.disabled = true;
    say(this.button, "Verifying…");
    const { info, session } = this.view.context;
    let chain = null;
    try {
      const wallet = await this.view.context.wallet({ quietly: true });
      if (await wallet.isOn(info.chain_id)) chain = wallet;
    } catch {
      // Without a wallet the hash can be proven all the same.
    }
    const place = {
      chain_id: info.chain_id, contract: info.contract_address, provider: info.provider_address, user: session.wallet,
    };
    const found = await verify(this.receipt, chain, place);
    this.element.dataset.verdict = found.verdict;
    const words = found.verdict[0].toUpperCase() + found.verdict.slice(1);
    this.verdict.replaceChildren(
      h("p", { class: "verdict-line" }, h("span", { class: "seal", "aria-hidden": "true" }, MARKS[found.verdict]), ` ${words}`),
      h("ul", {}, found.checks.map((check) => h("li", { "data-verdict": check.verdict },
        h("strong", {}, `${check.what}: ${check.verdict}`), ` — ${check.why}.`))));
    say(this.button, "Verify again");
    this.button.disabled = false;
    return found.verdict;
  }
}

export class ReceiptsView {
  constructor(context) {
    this.context = context;
    this.lines = new Map();
    this.list = h("ol", { class: "receipts" });
    this.more = h("button", { type: "button", hidden: true, on: { click: () => this.load(this.next) } }, "More");
    this.note = h("p", { class: "empty" }, "Reading your receipts…");
    byId("receipts-body").replaceChildren(this.note, this.list, this.more);
    byId("verify-all").addEventListener("click", () => this.verifyAll());
  }

  clear() {
    this.lines.clear();
    this.list.replaceChildren();
    this.next = undefined;
    shown(this.more, false);
    say(this.note, "Reading your receipts…");
    shown(this.note, true);
    say(byId("verify-all"), "Verify all shown");
    shown(byId("verify-all"), false);
  }

  refresh() {
    return this.load(null);
  }

  /** Whether some of what is shown changes by itself, soon. */
  get isUnsettled() {
    return [...this.lines.values()].some(({ receipt }) => receipt.status === "signed" || receipt.status === "open");
  }

  async load(cursor) {
    const { session } = this.context;
    let page;
    try {
      page = await call("GET", "api/receipts", { query: { limit: PAGE, cursor } });
    } catch (problem) {
      if (!(problem instanceof ApiError) || problem.status === 401 || session !== this.context.session) return;
      say(this.note, problem.isMissing ? "This provider does not tell receipts yet."
        : `Receipts cannot be read right now: ${problem.message}`);
      shown(this.note, true);
      return;
    }
    // Somebody else has signed in meanwhile.
    if (session !== this.context.session) return;
    const fresh = [];
    for (const receipt of page.receipts) {
      const known = this.lines.get(receipt.id);
      if (known && known.receipt.status === receipt.status && known.receipt.transaction === receipt.transaction) continue;
      const line = new Line(this, receipt);
      if (known) known.element.replaceWith(line.element);
      else fresh.push(line.element);
      this.lines.set(receipt.id, line);
    }
    if (cursor) this.list.append(...fresh);
    else this.list.prepend(...fresh);
    if (cursor || this.next === undefined) {
      this.next = page.next;
      shown(this.more, Boolean(page.next));
    }
    say(this.note, "Nothing was charged yet.");
    shown(this.note, this.lines.size === 0);
    shown(byId("verify-all"), this.lines.size > 0);
  }

  async verifyAll() {
    const button = byId("verify-all");
    button.disabled = true;
    const { session } = this.context;
    const counts = { proven: 0, "not proven": 0, refuted: 0 };
    for (const line of [...this.lines.values()]) {
      if (session !== this.context.session) break;
      counts[await line.verify()] += 1;
    }
    button.disabled = false;
    if (session !== this.context.session) return;
    const told = Object.entries(counts).filter(([, count]) => count > 0).map(([verdict, count]) => `${count} ${verdict}`);
    announce(`Verified: ${told.join(", ")}`);
    say(button, `${told.join(", ")} · verify again`);
  }
}
