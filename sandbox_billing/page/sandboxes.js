// My sandboxes: what runs, and what it costs while one looks at it.

import { ApiError, call, inTurn, isUnknown, now, onceKey, segment } from "./api.js";
import { alertUser, announce, ask, byId, field, h, say, setAmount, shown } from "./dom.js";
import { costOf, duration, exactly, exactMoment, in0G } from "./money.js";

const CAN_START = new Set(["stopped", "archived", "error"]);
const CAN_STOP = new Set(["started"]);
const BUSY = new Set(["creating", "starting", "stopping", "restoring", "destroying", "archiving",
  "resizing", "pending_build", "building_snapshot", "pulling_snapshot", "resuming"]);
/** Refusals that ask to come again, with the same key. */
const LATER = new Set([409, 425, 429]);
const GONE = new Set(["destroyed"]);

function sized(box) {
  const parts = [`${box.cpu ?? "?"} CPU`, `${box.memory ?? "?"} GiB memory`, `${box.disk ?? "?"} GiB disk`];
  return parts.join(" · ");
}

/** A card of one sandbox; kept while its facts change, so that focus stays where it is. */
class Card {
  constructor(view, box) {
    this.view = view;
    this.name = h("h3", { class: "name" });
    this.state = h("span", { class: "state" });
    this.facts = h("p", { class: "muted" });
    this.labels = h("p", { class: "labels" });
    this.rate = h("dd");
    this.time = h("dd");
    this.cost = h("dd", { class: "cost" });
    this.trouble = h("p", { class: "error", hidden: true });
    const button = (text, act, kind = "") =>
      h("button", { type: "button", class: kind, on: { click: () => act.call(view, this.box) } }, text);
    this.start = button("Start", view.start);
    this.stop = button("Stop", view.stop);
    this.remove = button("Delete", view.delete, "quiet danger-text");
    this.more = h("details", { class: "runs" }, h("summary", {}, "Runs"), h("div"));
    this.more.addEventListener("toggle", () => this.renderRuns());
    this.element = h("li", { class: "box" },
      h("div", { class: "box-head" }, this.name, this.state), this.facts, this.labels,
      h("dl", { class: "meter" },
        h("div", {}, h("dt", {}, "Rate"), this.rate),
        h("div", {}, h("dt", {}, "This run"), this.time),
        h("div", {}, h("dt", {}, "Cost so far"), this.cost)),
      this.trouble, h("div", { class: "actions" }, this.start, this.stop, this.remove), this.more);
    this.update(box);
  }

  update(box) {
    this.box = box;
    say(this.name, box.name || box.id);
    this.name.title = box.id;
    say(this.state, String(box.state ?? "started").replace(/_/g, " "));
    this.state.dataset.state = BUSY.has(box.state) ? "busy" : String(box.state ?? "started");
    say(this.facts, [box.snapshot, sized(box)].filter(Boolean).join(" · "));
    const labels = Object.entries(box.labels ?? {}).filter(([name]) => !/^daytona-|^billing/.test(name));
    this.labels.replaceChildren(...labels.map(([name, value]) => h("span", { class: "tag" }, `${name}: ${value}`)));
    shown(this.labels, labels.length > 0);
    say(this.trouble, box.errorReason ?? "");
    shown(this.trouble, Boolean(box.errorReason));
    shown(this.start, CAN_START.has(box.state));
    shown(this.stop, CAN_STOP.has(box.state));
    this.remove.disabled = box.state === "destroying";
    const called = box.name || box.id;
    this.start.setAttribute("aria-label", `Start ${called}`);
    this.stop.setAttribute("aria-label", `Stop ${called}`);
    this.remove.setAttribute("aria-label", `Delete ${called}`);
    this.tick();
  }

  measure(usage) {
    this.usage = usage;
    this.open = usage.runs.find((run) => run.open) ?? null;
    this.earlier = usage.runs.reduce((sum, run) => (run.open ? sum : sum + BigInt(run.cost)), 0n)
      + BigInt(usage.totals.create_fees ?? "0");
    this.tick();
    this.renderRuns();
  }

  tick() {
    const { open, usage } = this;
    this.element.classList.toggle("is-live", Boolean(open?.started_at));
    if (!usage) {
      say(this.rate, "–");
      say(this.time, "–");
      say(this.cost, "–");
      return;
    }
    const last = open ?? usage.runs.at(-1);
    const rate = last ? BigInt(last.rate_per_minute) : 0n;
    setAmount(this.rate, last ? `${in0G(rate, 5)} 0G/min` : "–", exactly(rate));
    const seconds = open?.started_at ? Math.max(0, now() - open.started_at) : 0;
    say(this.time, open ? (open.started_at ? duration(seconds) : "not yet") : "–");
    const cost = this.earlier + (open ? costOf(rate, seconds) : 0n);
    setAmount(this.cost, `${in0G(cost, 6, 6)} 0G`, exactly(cost));
  }

  renderRuns() {
    if (!this.more.open || !this.usage) return;
    const rows = [...this.usage.runs].reverse().map((run) => h("tr", {},
      h("td", {}, run.started_at ? exactMoment(run.started_at) : "not started"),
      h("td", {}, run.open ? "runs" : duration(run.seconds)),
      h("td", { class: "number", title: exactly(BigInt(run.cost)) }, run.open ? "…" : in0G(BigInt(run.cost), 6))));
    this.more.querySelector("div").replaceChildren(rows.length === 0 ? h("p", { class: "muted" }, "It has not run yet.")
      : h("div", { class: "scroll" }, h("table", {}, h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Started"), h("th", { scope: "col" }, "Ran for"), h("th", { scope: "col", class: "number" }, "0G"))), h("tbody", {}, rows))));
  }
}

export class SandboxesView {
  constructor(context) {
    this.context = context;
    this.cards = new Map();
    this.keys = new Map();
    this.tellsUsage = true;
    byId("create").addEventListener("click", () => this.create());
  }

  clear() {
    this.cards.clear();
    this.keys.clear();
    byId("box-list").replaceChildren();
    this.tellsUsage = true;
  }

  async refresh() {
    const { session } = this.context;
    let listed;
    try {
      listed = await call("GET", "api/sandbox");
    } catch (problem) {
      if (problem instanceof ApiError && problem.status !== 401 && session === this.context.session) {
        say(byId("no-boxes"), `Your sandboxes cannot be read right now: ${problem.message}`);
        shown(byId("no-boxes"), true);
      }
      return;
    }
    // Somebody else has signed in meanwhile.
    if (session !== this.context.session) return;
    const boxes = (Array.isArray(listed) ? listed : listed.items ?? []).filter((box) => !GONE.has(box.state));
    const list = byId("box-list");
    const ids = new Set(boxes.map((box) => box.id));
    for (const [id, card] of this.cards) {
      if (!ids.has(id)) {
        card.element.remove();
        this.cards.delete(id);
      }
    }
    for (const box of boxes) {
      const card = this.cards.get(box.id);
      if (card) {
        if (card.box.state !== box.state) announce(`${box.name || box.id} is ${String(box.state).replace(/_/g, " ")}`);
        card.update(box);
      } else {
        const made = new Card(this, box);
        this.cards.set(box.id, made);
        list.prepend(made.element);
      }
    }
    say(byId("no-boxes"), "You have no sandbox. A new one is there in a second or two.");
    shown(byId("no-boxes"), boxes.length === 0);
    await this.measure();
    this.busy = boxes.some((box) => BUSY.has(box.state)
      || (box.state === "started" && this.tellsUsage && !this.cards.get(box.id)?.open?.started_at));
  }

  /** What each costs: of what does not run that changes no more, and is asked for once. */
  async measure() {
    if (!this.tellsUsage) return;
    const due = [...this.cards.values()].filter((card) => {
      const key = `${card.box.state} ${card.box.updatedAt ?? ""}`;
      const stale = card.measured !== key || card.open || card.box.state === "started";
      card.measured = key;
      return !card.usage || stale;
    });
    await Promise.all(due.map(async (card) => {
      try {
        card.measure(await inTurn(() => call("GET", `api/sandbox/${segment(card.box.id)}/usage`)));
      } catch (problem) {
        // A sandbox of a moment ago has no books yet; a route that is not there is told once.
        if (problem.status === 405 || problem.message === "no such route") this.tellsUsage = false;
      }
    }));
  }

  tick() {
    for (const card of this.cards.values()) card.tick();
  }

  // -- changes ---------------------------------------------------------------------------

  /** A click after one that nobody answered is the same request again. */
  async change(box, verb, done) {
    const path = `api/sandbox/${segment(box.id)}/${verb}`;
    const asked = [path, box.state, box.updatedAt].join(" ");
    const key = this.keys.get(asked) ?? onceKey();
    this.keys.set(asked, key);
    try {
      await call("POST", path, { headers: { "Idempotency-Key": key } });
      this.keys.delete(asked);
      announce(done);
    } catch (problem) {
      if (!isUnknown(problem)) this.keys.delete(asked);
      alertUser(this.explained(problem), { kind: "bad" });
    }
    this.context.refreshSoon();
  }

  explained(problem) {
    const told = problem.document ?? {};
    if (told.code === "not_acknowledged") return "Acknowledge the provider's signer first.";
    if (told.code === "debt") return "You have a debt: deposit, and it is collected first.";
    if (told.code === "insufficient_balance" && told.required !== undefined) {
      const short = BigInt(told.required) - BigInt(told.balance ?? "0") + BigInt(told.exposure ?? "0");
      return `Your balance does not cover this: deposit at least ${in0G(short > 0n ? short : 1n, 18)} 0G more.`;
    }
    return problem.message;
  }

  start(box) {
    return this.change(box, "start", `${box.name || box.id} is starting`);
  }

  stop(box) {
    return this.change(box, "stop", `${box.name || box.id} is stopping`);
  }

  async delete(box) {
    const called = box.name || box.id;
    await ask({
      title: "Delete this sandbox?", confirm: "Delete", danger: true,
      fields: [h("p", {}, h("strong", {}, called)),
        h("p", { class: "muted" }, "Its disk is gone for good. What it has cost stays in your receipts.")],
      act: async () => {
        await call("DELETE", `api/sandbox/${segment(box.id)}`);
        announce(`${called} is being deleted`);
        this.context.refreshSoon();
      },
    });
  }

  async create() {
    const { info } = this.context;
    const snapshots = await this.context.snapshots();
    const select = h("select", {}, h("option", { value: "" }, "The provider's default"),
      snapshots.map((one) => h("option", { value: one.name },
        `${one.name} — ${one.cpu} CPU, ${one.mem} GiB, ${one.disk} GiB disk`)));
    const first = snapshots.find((one) => one.cpu === 1 && one.mem === 1) ?? snapshots[0];
    if (first) select.value = first.name;
    const name = h("input", { type: "text", maxlength: "128", autocomplete: "off", spellcheck: "false" });
    const price = h("dl", { class: "prices" });
    const tell = () => {
      const chosen = snapshots.find((one) => one.name === select.value);
      const rate = this.context.rate(chosen?.cpu ?? 1, chosen?.mem ?? 1);
      const row = (label, size, unit) => h("div", {}, h("dt", {}, label), h("dd", { title: exactly(size) }, `${in0G(size, 5)} ${unit}`));
      price.replaceChildren(row("While it runs", rate, "0G/min"), row("An hour", rate * 60n, "0G"),
        row("To create", BigInt(info.create_fee), "0G, once"));
    };
    select.addEventListener("change", tell);
    tell();
    let key = onceKey();
    await ask({
      title: "New sandbox", confirm: "Create",
      fields: [field("Start from", select), field("Name", name, "Optional; yours alone."), price],
      act: async (form, progress) => {
        progress("Creating…");
        const body = {};
        if (select.value) body.snapshot = select.value;
        if (name.value.trim()) body.name = name.value.trim();
        try {
          const made = await call("POST", "api/sandbox", { body, headers: { "Idempotency-Key": key } });
          announce(`${made.name || made.id} was created`);
        } catch (problem) {
          if (isUnknown(problem)) {
            // It may be there: from now on this dialog asks for that very one.
            select.disabled = true;
            name.disabled = true;
            throw new Error(`${this.explained(problem)}. It may have been created; “Create” asks for the same one again, and never makes two.`);
          }
          if (!LATER.has(problem.status)) key = onceKey();
          throw new Error(this.explained(problem));
        }
        this.context.refreshSoon();
      },
    });
  }
}
