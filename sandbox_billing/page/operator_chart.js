// What was settled by the hour: bars for the eye, and the same numbers as a table.

import { h, svg } from "./dom.js";
import { exactly, exactMoment, in0G, moment } from "./money.js";

const HEIGHT = 200;
const LEFT = 62;
const BOTTOM = 24;
const LABEL_WIDTH = 92;
const HOUR = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const DAY = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });

/** The next round number: 1, 2 or 5 times a power of ten. */
function roundUp(size) {
  let step = 1n;
  while (step * 10n <= size) step *= 10n;
  for (const times of [1n, 2n, 5n, 10n]) if (step * times >= size) return step * times;
  return step * 10n;
}

function label(row, isLong) {
  return moment(row.begins, isLong ? DAY : HOUR);
}

export function hourChart(rows, width) {
  const isLong = rows.length > 24;
  const highest = rows.reduce((most, row) => (BigInt(row.amount) > most ? BigInt(row.amount) : most), 0n);
  const top = roundUp(highest || 1n);
  const y = (size) => HEIGHT - BOTTOM - Number((size * 100000n) / top) / 100000 * (HEIGHT - BOTTOM - 8);
  const step = (width - LEFT) / rows.length;
  const wide = Math.max(1.5, step * 0.68);
  const drawn = svg("svg", { viewBox: `0 0 ${width} ${HEIGHT}`, class: "chart", role: "img", "aria-labelledby": "hours-title" },
    svg("title", { id: "hours-title" }, "Settled by the hour, in 0G; the table below has the same."));
  for (const [of, line] of [[0n, "0"], [top / 2n, in0G(top / 2n, 4)], [top, in0G(top, 4)]]) {
    drawn.append(svg("line", { x1: LEFT, x2: width, y1: y(of), y2: y(of), class: "grid" }),
      svg("text", { x: LEFT - 8, y: y(of) + 4, "text-anchor": "end", class: "axis" }, highest > 0n || of === 0n ? line : ""));
  }
  const every = Math.ceil(rows.length / Math.max(1, Math.floor((width - LEFT) / LABEL_WIDTH)));
  rows.forEach((row, at) => {
    const x = LEFT + step * at + (step - wide) / 2;
    const size = BigInt(row.amount);
    if (size > 0n) {
      drawn.append(svg("rect", { x, width: wide, y: y(size), height: Math.max(1, y(0n) - y(size)), class: "bar settled", rx: 1.5 },
        svg("title", {}, `${label(row, isLong)}: ${in0G(size, 6)} 0G, ${row.vouchers} vouchers in ${row.batches} batches`)));
    }
    const fromEnd = rows.length - 1 - at;
    // The last label ends where the chart does.
    if (fromEnd % every === 0 && x + wide / 2 > LEFT + 30) {
      drawn.append(svg("text", { x: fromEnd === 0 ? width : x + wide / 2, y: HEIGHT - 6,
        "text-anchor": fromEnd === 0 ? "end" : "middle", class: "axis" }, label(row, isLong)));
    }
  });
  return drawn;
}

function cells(row) {
  return [
    h("td", { class: "number", title: exactly(BigInt(row.amount)) }, in0G(BigInt(row.amount), 6)),
    h("td", { class: "number" }, String(row.vouchers)), h("td", { class: "number" }, String(row.batches)),
    h("td", { class: "number", title: exactly(BigInt(row.gas)) }, in0G(BigInt(row.gas), 8)),
  ];
}

export function hourTable(rows, together) {
  const head = ["Hour", "Settled, 0G", "Vouchers", "Batches", "Gas, 0G"];
  // The newest first; hours in which nothing was settled say nothing in a table.
  const told = rows.filter((row) => row.batches > 0 || row.vouchers > 0).reverse();
  return h("div", { class: "scroll" }, h("table", {},
    h("thead", {}, h("tr", {}, head.map((text, at) => h("th", { scope: "col", class: at ? "number" : "" }, text)))),
    h("tbody", {}, told.map((row) => h("tr", {},
      h("th", { scope: "row", title: exactMoment(row.begins) }, label(row, true)), cells(row)))),
    h("tfoot", {}, h("tr", {}, h("th", { scope: "row" }, "Together"), cells(together)))));
}
