// Keccak-256 as Ethereum uses it (padding 0x01), over whole messages in memory.
// Tests: tests/page/test_pure.py compares it with the vectors of wire.md and of eth_utils.

const MASK = (1n << 64n) - 1n;
const RATE = 136;

const ROUNDS = (() => {
  // The constants are bits of a linear feedback shift register (FIPS 202, 3.2.5).
  const constants = [];
  let state = 1;
  for (let round = 0; round < 24; round += 1) {
    let constant = 0n;
    for (let bit = 0; bit < 7; bit += 1) {
      if (state & 1) constant |= 1n << ((1n << BigInt(bit)) - 1n);
      state <<= 1;
      if (state & 0x100) state ^= 0x171;
    }
    constants.push(constant);
  }
  return constants;
})();

function rotated(lane, by) {
  return by === 0n ? lane : ((lane << by) | (lane >> (64n - by))) & MASK;
}

function permute(a) {
  for (const constant of ROUNDS) {
    const c = [0, 1, 2, 3, 4].map((x) => a[x] ^ a[x + 5] ^ a[x + 10] ^ a[x + 15] ^ a[x + 20]);
    for (let x = 0; x < 5; x += 1) {
      const d = c[(x + 4) % 5] ^ rotated(c[(x + 1) % 5], 1n);
      for (let y = 0; y < 25; y += 5) a[x + y] ^= d;
    }
    let [x, y, moving] = [1, 0, a[1]];
    for (let step = 0; step < 24; step += 1) {
      [x, y] = [y, (2 * x + 3 * y) % 5];
      const at = x + 5 * y;
      const by = BigInt((((step + 1) * (step + 2)) / 2) % 64);
      [moving, a[at]] = [a[at], rotated(moving, by)];
    }
    for (let row = 0; row < 25; row += 5) {
      const kept = a.slice(row, row + 5);
      for (let at = 0; at < 5; at += 1) {
        a[row + at] = kept[at] ^ (~kept[(at + 1) % 5] & MASK & kept[(at + 2) % 5]);
      }
    }
    a[0] ^= constant;
  }
}

/** 32 bytes, of any number of bytes. */
export function keccak256(bytes) {
  const padded = new Uint8Array((Math.floor(bytes.length / RATE) + 1) * RATE);
  padded.set(bytes);
  padded[bytes.length] |= 0x01;
  padded[padded.length - 1] |= 0x80;
  const view = new DataView(padded.buffer);
  const lanes = new Array(25).fill(0n);
  for (let at = 0; at < padded.length; at += RATE) {
    for (let lane = 0; lane < RATE / 8; lane += 1) {
      lanes[lane] ^= view.getBigUint64(at + 8 * lane, true);
    }
    permute(lanes);
  }
  const hash = new DataView(new ArrayBuffer(32));
  for (let lane = 0; lane < 4; lane += 1) hash.setBigUint64(8 * lane, lanes[lane], true);
  return new Uint8Array(hash.buffer);
}

/** Lower-case hex with 0x. */
export function hex(bytes) {
  return `0x${Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("")}`;
}

/** The bytes of hex with 0x; throws where it is none. */
export function bytesOf(text) {
  if (typeof text !== "string" || !/^0x([0-9a-fA-F]{2})*$/.test(text)) {
    throw new TypeError(`not hex: ${String(text).slice(0, 20)}`);
  }
  return Uint8Array.from(text.slice(2).match(/../g) ?? [], (pair) => parseInt(pair, 16));
}

export function utf8(text) {
  return new TextEncoder().encode(text);
}

export function joined(...parts) {
  const whole = new Uint8Array(parts.reduce((length, part) => length + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

/** An address in EIP-55's spelling. */
export function checksummed(address) {
  const plain = address.slice(2).toLowerCase();
  const hash = hex(keccak256(utf8(plain))).slice(2);
  const spelt = Array.from(plain, (digit, at) =>
    parseInt(hash[at], 16) > 7 ? digit.toUpperCase() : digit);
  return `0x${spelt.join("")}`;
}
