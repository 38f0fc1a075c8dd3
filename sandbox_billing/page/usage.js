// What was used, drawn by hand: bars, and the same as a table for whoever does not see them.

import { ApiError, call, inTurn, now, send } from "./api.js";
import { alertUser, byId, h, svg } from "./dom.js";
import { duration, exactly, in0G } from "./money.js";

const NARROWEST = 280;
const LABEL_WIDTH = 74;
const HEIGHT = 200;
const LEFT = 58;
const PADDING = 24;
const BOTTOM = 24;
const DAY = 86400;
const PARTS = ["settled", "owed", "pending"];
const NAMES = { settled: "Settled on-chain", owed: "Owed", pending: "Not final yet" };
const DATE = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short", timeZone: "UTC" });

function sizes(row) {
  return PARTS.map((part) => BigInt(row[part] ?? "0"));
}

function dayLabel(key) {
  const date = new Date(`${key}T00:00:00Z`);
  return Number.isNaN(date.getTime()) ? key : DATE.format(date);
}

/** The next round number: 1, 2 or 5 times a power of ten. */
function roundUp(size) {
  let step = 1n;
  while (step * 10n <= size) step *= 10n;
  for (const times of [1n, 2n, 5n, 10n]) if (step * times >= size) return step * times;
  return step * 10n;
}

function chart(rows, isDay, width) {
  const totals = rows.map((row) => sizes(row).reduce((sum, size) => sum + size, 0n));
  const highest = totals.reduce((most, size) => (size > most ? size : most), 0n);
  const top = roundUp(highest || 1n);
  const height = HEIGHT - BOTTOM - 8;
  const y = (size) => HEIGHT - BOTTOM - Number((size * 100000n) / top) / 100000 * height;
  const step = (width - LEFT) / Math.max(rows.length, 1);
  const wide = Math.min(46, Math.max(3, step * 0.62));
  const drawn = svg("svg", { viewBox: `0 0 ${width} ${HEIGHT}`, class: "chart", role: "img", "aria-labelledby": "chart-title" },
    svg("title", { id: "chart-title" }, "What was charged, in 0G; the table below has the same."));
  for (const [of, line] of [[0n, "0"], [top / 2n, in0G(top / 2n, 4)], [top, in0G(top, 4)]]) {
    drawn.append(svg("line", { x1: LEFT, x2: width, y1: y(of), y2: y(of), class: "grid" }),
      svg("text", { x: LEFT - 8, y: y(of) + 4, "text-anchor": "end", class: "axis" }, line));
  }
  const every = Math.ceil(rows.length / Math.max(1, Math.floor((width - LEFT) / LABEL_WIDTH)));
  rows.forEach((row, at) => {
    const x = LEFT + step * at + (step - wide) / 2;
    const label = isDay ? dayLabel(row.key) : row.key;
    const bar = svg("g", {}, svg("title", {}, `${label}: ${in0G(totals[at], 6)} 0G, ${duration(row.seconds)}`));
    let below = 0n;
    sizes(row).forEach((size, part) => {
      if (size > 0n) {
        bar.append(svg("rect", {
          x, width: wide, y: y(below + size), height: Math.max(1, y(below) - y(below + size)),
          class: `bar ${PARTS[part]}`, rx: 1.5,
        }));
      }
      below += size;
    });
    drawn.append(bar);
    if ((rows.length - 1 - at) % every === 0) {
      drawn.append(svg("text", { x: x + wide / 2, y: HEIGHT - 6, "text-anchor": "middle", class: "axis" },
        isDay ? label : `${label.slice(0, 8)}`));
    }
  });
  return drawn;
}

function table(document, isDay) {
  const head = [isDay ? "Day" : "Sandbox", "Time", "Compute", "Create fees", "Charged", "Settled", "Owed", "Pending"];
  const cells = (row) => [
    h("td", { class: "number" }, duration(row.seconds)),
    ...["compute", "create_fees", "charged", "settled", "owed", "pending"].map((part) => {
      const size = BigInt(row[part] ?? "0");
      return h("td", { class: "number", title: exactly(size) }, in0G(size, 6));
    }),
  ];
  return h("div", { class: "scroll" }, h("table", {},
    h("thead", {}, h("tr", {}, head.map((text, at) => h("th", { scope: "col", class: at ? "number" : "" }, text)))),
    h("tbody", {}, document.rows.map((row) => h("tr", {}, h("th", { scope: "row" }, isDay ? dayLabel(row.key) : row.key), cells(row)))),
    h("tfoot", {}, h("tr", {}, h("th", { scope: "row" }, "Together"), cells(document.totals)))));
}

export class UsageView {
  constructor(context) {
    this.context = context;
    for (const id of ["usage-span", "usage-group"]) byId(id).addEventListener("change", () => this.refresh());
    // The labels keep their size, whatever the window's.
    new ResizeObserver(() => {
      if (this.last && byId("usage-body").clientWidth !== this.width) this.render(...this.last);
    }).observe(byId("usage-body"));
    byId("usage-csv").addEventListener("click", () => this.download());
  }

  clear() {
    this.last = null;
    byId("usage-body").replaceChildren();
  }

  query() {
    const to = Math.ceil(now());
    const days = Number(byId("usage-span").value);
    const from = (Math.floor(to / DAY) - days + 1) * DAY;
    return { from, to, group: byId("usage-group").value };
  }

  async refresh() {
    const query = this.query();
    const body = byId("usage-body");
    const { session } = this.context;
    let document;
    try {
      document = await inTurn(() => call("GET", "api/usage", { query }));
    } catch (problem) {
      if (!(problem instanceof ApiError) || problem.status === 401 || session !== this.context.session) return;
      body.replaceChildren(h("p", { class: "empty" }, problem.isMissing
        ? "This provider does not tell usage yet." : `Usage cannot be read right now: ${problem.message}`));
      return;
    }
    // Somebody else has signed in meanwhile.
    if (session === this.context.session) this.render(document, query);
  }

  render(document, query) {
    const body = byId("usage-body");
    const isDay = query.group === "day";
    if (document.rows.length === 0) {
      body.replaceChildren(h("p", { class: "empty" }, "Nothing was used in this time."));
      return;
    }
    const wasOpen = body.querySelector("details")?.open ?? false;
    const totals = document.totals;
    const charged = BigInt(totals.charged);
    const sum = h("p", { class: "sum" }, h("strong", { title: exactly(charged) }, `${in0G(charged, 6)} 0G`),
      ` for ${duration(totals.seconds)}`);
    const legend = h("ul", { class: "keys" }, PARTS.filter((part) => BigInt(totals[part] ?? "0") > 0n)
      .map((part) => h("li", { title: exactly(BigInt(totals[part])) }, h("span", { class: `dot ${part}`, "aria-hidden": "true" }),
        `${NAMES[part]} ${in0G(BigInt(totals[part]), 6)}`)));
    const rows = isDay ? this.everyDay(document.rows, query) : document.rows;
    this.last = [document, query];
    this.width = body.clientWidth;
    const width = Math.max(NARROWEST, body.clientWidth - 2 * PADDING);
    body.replaceChildren(h("figure", { class: "card" }, sum, chart(rows, isDay, width), legend,
      h("details", { open: wasOpen }, h("summary", {}, "As a table"), table(document, isDay))));
  }

  /** Days on which nothing ran have their place, too. */
  everyDay(rows, { from, to }) {
    const known = new Map(rows.map((row) => [row.key, row]));
    const days = [];
    for (let at = from; at < to; at += DAY) {
      const key = new Date(at * 1000).toISOString().slice(0, 10);
      days.push(known.get(key) ?? { key, seconds: 0 });
    }
    return days;
  }

  async download() {
    try {
      const response = await inTurn(() => send("GET", "api/usage", { query: { ...this.query(), format: "csv" } }));
      const url = URL.createObjectURL(await response.blob());
      h("a", { href: url, download: "usage.csv" }).click();
      setTimeout(() => URL.revokeObjectURL(url), 10000);
    } catch (problem) {
      alertUser(`No CSV: ${problem.message}`, { kind: "bad" });
    }
  }
}
