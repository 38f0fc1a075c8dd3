// The few calls of the settlement contract that this page makes: static words only.

import { bytesOf, hex, joined, keccak256, utf8 } from "./keccak.js";

/** 32 bytes of an address, a number, a truth value, or of 32 bytes in hex. */
export function word(value) {
  const whole = new Uint8Array(32);
  if (typeof value === "boolean") {
    whole[31] = Number(value);
  } else if (typeof value === "bigint") {
    if (value < 0n || value >= 1n << 256n) throw new RangeError("no uint256");
    whole.set(bytesOf(`0x${value.toString(16).padStart(64, "0")}`));
  } else {
    const bytes = bytesOf(value);
    if (bytes.length !== 20 && bytes.length !== 32) throw new TypeError("no address, no word");
    whole.set(bytes, 32 - bytes.length);
  }
  return whole;
}

/** Call data: a signature such as deposit(address,address), and its arguments. */
export function encoded(signature, ...values) {
  return hex(joined(keccak256(utf8(signature)).slice(0, 4), ...values.map(word)));
}

export function topic(signature) {
  return hex(keccak256(utf8(signature)));
}

/** The words of a reply or of an event's data, as BigInts. */
export function words(data) {
  return (data.slice(2).match(/.{64}/g) ?? []).map((one) => BigInt(`0x${one}`));
}

/** The address in the low 20 bytes of a word. */
export function addressIn(value) {
  return `0x${(value & ((1n << 160n) - 1n)).toString(16).padStart(40, "0")}`;
}
