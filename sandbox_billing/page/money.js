// Amounts are BigInts of neuron, 10^-18 0G; what is shown of them is cut off, never rounded up.

const TOKEN = 10n ** 18n;

function grouped(digits) {
  return digits.replace(/\B(?=(\d{3})+$)/g, "\u202f");
}

/** In 0G, with so many decimals at most, and at least as many as asked. */
export function in0G(neuron, most = 4, least = 0) {
  const sign = neuron < 0n ? "\u2212" : "";
  const size = neuron < 0n ? -neuron : neuron;
  const decimals = (size % TOKEN).toString().padStart(18, "0").slice(0, most);
  const kept = decimals.replace(/0+$/, "").padEnd(least, "0");
  const whole = grouped((size / TOKEN).toString());
  if (size > 0n && size / TOKEN === 0n && !/[1-9]/.test(kept)) {
    return most >= 18 ? `${sign}0` : `<\u200a0.${"1".padStart(most, "0")}`;
  }
  return sign + whole + (kept ? `.${kept}` : "");
}

/** All of its digits, for whoever wants them. */
export function exactly(neuron) {
  return `${in0G(neuron, 18)} 0G (${neuron} neuron)`;
}

/** What somebody typed, in neuron; null when it is no amount. */
export function neuronOf(text) {
  const found = /^\s*(\d{1,30})(?:[.,](\d{1,18}))?\s*$/.exec(text);
  if (found === null) return null;
  return BigInt(found[1]) * TOKEN + BigInt((found[2] ?? "").padEnd(18, "0") || "0");
}

/** What a run costs so far: as the ledger rates it, per minute, cut to the neuron. */
export function costOf(ratePerMinute, seconds) {
  if (seconds <= 0) return 0n;
  return (ratePerMinute * BigInt(Math.floor(seconds * 1000))) / 60000n;
}

/** Seconds as people say them; with parts of a minute only where that matters. */
export function duration(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  const [days, hours] = [Math.floor(whole / 86400), Math.floor(whole / 3600) % 24];
  const [minutes, rest] = [Math.floor(whole / 60) % 60, whole % 60];
  if (days > 99) return `${grouped(String(days))} days`;
  if (days > 0) return `${days} d ${hours} h`;
  if (hours > 0) return `${hours} h ${String(minutes).padStart(2, "0")} min`;
  if (minutes > 0) return `${minutes} min ${String(rest).padStart(2, "0")} s`;
  return `${rest} s`;
}

const SHORT = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
const EXACT = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "long" });

export function moment(unixSeconds, format = SHORT) {
  return format.format(new Date(unixSeconds * 1000));
}

export function exactMoment(unixSeconds) {
  return moment(unixSeconds, EXACT);
}

export function short(address) {
  return `${address.slice(0, 6)}\u2026${address.slice(-4)}`;
}
