// Whether a receipt is true, without trusting whoever sent it: hashes are computed here, and the
// chain is asked through the user's own wallet. Nothing in here touches the page.

import { addressIn, encoded, topic, word, words } from "./abi.js";
import { bytesOf, hex, joined, keccak256, utf8 } from "./keccak.js";

const VOUCHER = "SandboxVoucher(address user,address provider,bytes32 usageHash,uint256 nonce,uint256 totalFee)";
const BATCH = `SandboxVoucherBatch(address provider,SandboxVoucher[] vouchers)${VOUCHER}`;
const DOMAIN = "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)";
const SETTLED = "VoucherSettled(address,address,uint256,bytes32,uint256,uint8)";
const SHORTFALL = "VoucherShortfall(address,address,uint256,uint256,uint256)";
const ECRECOVER = `0x${"1".padStart(40, "0")}`;
const SERVICE_UPDATED = "ServiceUpdated(address,string,address,uint256)";
const SUCCESS = 0n;
const INSUFFICIENT = 1n;
const KINDS = new Set(["create", "compute", "debt", "imported"]);
/** Of the sizes that a rate is tried for: those of the command line. */
const MOST_CORES = 1024n;
const MOST_GIB = 4096n;

const hashed = (text) => keccak256(utf8(text));
const same = (one, other) => String(one).toLowerCase() === String(other).toLowerCase();

function int64(value) {
  const bytes = new DataView(new ArrayBuffer(8));
  bytes.setBigInt64(0, BigInt(value), false);
  return new Uint8Array(bytes.buffer);
}

/** keccak256(utf8(sandbox) || int64be(start) || int64be(end) || int64be(units)) */
export function usageHash(sandbox, start, end, units) {
  return hex(keccak256(joined(utf8(sandbox), int64(start), int64(end), int64(units))));
}

export function domainSeparator(chainId, contract) {
  return keccak256(joined(hashed(DOMAIN), hashed("0G Sandbox Serving"), hashed("1"),
    word(BigInt(chainId)), word(contract)));
}

/** What one voucher is, for EIP-712. */
export function structHash(receipt) {
  return keccak256(joined(hashed(VOUCHER), word(receipt.user), word(receipt.provider),
    word(receipt.usage_hash), word(BigInt(receipt.nonce)), word(BigInt(receipt.fee))));
}

/** The 32 bytes that the provider's enclave has signed: a voucher's, or its batch's. */
export function digest(receipt) {
  let inner = structHash(receipt);
  if (receipt.batch) {
    const lines = joined(...receipt.batch.lines.map((line) => bytesOf(line)));
    inner = keccak256(joined(hashed(BATCH), word(receipt.provider), keccak256(lines)));
  }
  const separator = domainSeparator(receipt.chain_id, receipt.contract);
  return keccak256(joined(Uint8Array.of(0x19, 0x01), separator, inner));
}

const proven = (what, why) => ({ what, verdict: "proven", why });
const open = (what, why) => ({ what, verdict: "not proven", why });
const refuted = (what, why) => ({ what, verdict: "refuted", why });

const isImported = (receipt) => String(receipt.id).includes(":imported:");

/** Not known is no excuse for what could be: it must be what its name says. */
function checkImported(receipt, what) {
  const named = /^([^:]+):imported:([0-9a-f]{16}):[0-9]+(:(debt|rest):[0-9]+)*$/.exec(receipt.id);
  if (named === null || named[1] !== receipt.sandbox
    || !String(receipt.usage_hash).toLowerCase().startsWith(`0x${named[2]}`)) {
    return refuted(what, "it is called carried over, and by another sandbox or usage hash");
  }
  if (receipt.kind !== "imported" && receipt.kind !== "debt") {
    return refuted(what, `a ${receipt.kind} receipt is not carried over`);
  }
  if (receipt.period_start !== receipt.period_end) {
    return refuted(what, "what was carried over without its time names one");
  }
  return open(what, "carried over from an earlier system: what its usage hash is made of is not known");
}

function checkHash(receipt) {
  const what = "What was charged for";
  if (isImported(receipt)) return checkImported(receipt, what);
  const told = usageHash(receipt.sandbox, receipt.period_start, receipt.period_end, receipt.units);
  return same(told, receipt.usage_hash)
    ? proven(what, "sandbox, period and seconds give the usage hash of the voucher")
    : refuted(what, "sandbox, period and seconds give another usage hash than the voucher's");
}

/** What so many seconds cost at most: where in its run a period lies is not told. */
function mostFor(rate, seconds) {
  return (BigInt(rate) * BigInt(seconds) + 59n) / 60n;
}

function checkParts(receipt) {
  const what = "What it is made of";
  const parts = [...receipt.collects ?? []]
    .sort((a, b) => a.period_start - b.period_start || a.period_end - b.period_end);
  if (parts.length === 0) return null;
  if (parts.some((part, at) => at > 0 && part.period_start < parts[at - 1].period_end)) {
    return refuted(what, "two of its periods overlap: a second was charged twice");
  }
  if (parts.some((part) => part.period_start < receipt.period_start || part.period_end > receipt.period_end)) {
    return refuted(what, "its charges are for a time outside its own");
  }
  if (parts.some((part) => BigInt(part.rate_per_minute) !== BigInt(receipt.rate_per_minute)
    || Number(part.units) !== part.period_end - part.period_start
    || BigInt(part.amount) > mostFor(part.rate_per_minute, part.units))) {
    return refuted(what, "one of its charges is dearer than the rate");
  }
  const total = parts.reduce((sum, part) => sum + BigInt(part.amount), 0n);
  const units = parts.reduce((sum, part) => sum + Number(part.units), 0);
  // Of what was collected some may have been paid before: then less is left to sign.
  return units === Number(receipt.units) && total >= BigInt(receipt.fee)
    ? proven(what, `${parts.length} charges whose times and amounts add up`)
    : refuted(what, "its charges do not add up to what was signed");
}

/** Why a receipt contradicts itself; null when it does not. */
function contradiction(receipt) {
  const seconds = receipt.period_end - receipt.period_start;
  const { units } = receipt;
  if (![receipt.period_start, receipt.period_end, receipt.units].every(Number.isSafeInteger)) {
    return "its times are no whole seconds";
  }
  if (!KINDS.has(receipt.kind)) return "there is no such kind of receipt";
  if (!(seconds >= 0 && units >= 0 && units <= seconds)) return "more seconds are charged than its period has";
  if ((units > 0) !== (receipt.kind === "compute")) return `a ${receipt.kind} receipt does not charge for ${units} seconds`;
  if (receipt.kind === "create" && seconds > 0) return "a create fee is not for a time";
  if (BigInt(receipt.fee) < 0n) return "it charges less than nothing";
  if (receipt.status !== "paid" && receipt.status !== "partial" && BigInt(receipt.paid) !== 0n) {
    return "it says that something was paid, and that it is not settled";
  }
  if (seconds === 0) return null;
  const parts = receipt.collects?.length > 0 ? receipt.collects : [{ units: units || seconds }];
  const most = parts.reduce((sum, part) => sum + mostFor(receipt.rate_per_minute, part.units), 0n);
  return BigInt(receipt.fee) > most ? "the fee is more than the rate times the seconds of its period" : null;
}

/** Cores and GiB of the smallest size with this rate, neuron a minute; null when there is none. */
export function sizeOf(rate, perCpu, perMemory) {
  for (let cores = 1n; cores <= MOST_CORES; cores += 1n) {
    const left = rate - cores * perCpu;
    if (left < 0n) return null;
    if (perMemory === 0n && left === 0n) return [cores, 1n];
    if (perMemory > 0n && left % perMemory === 0n && left >= perMemory && left / perMemory <= MOST_GIB) {
      return [cores, left / perMemory];
    }
  }
  return null;
}

/** How the contract names the provider; null where it does not, or not there. */
async function serviceOf(receipt, chain, block = "latest") {
  const told = words(await chain.read(receipt.contract, encoded("services(address)", receipt.provider), block));
  if (told.length < 6) return null;
  return { signer: addressIn(told[1]), perCpu: told[2], createFee: told[3], perMemory: told[5] };
}

/** The prices under which it was settled, or would be today; null where nobody tells. */
async function pricesOf(receipt, chain, block) {
  if (block === null) {
    const [yes] = words(await chain.read(receipt.contract,
      encoded("isTEEAcknowledged(address,address)", receipt.user, receipt.provider)));
    return yes === 1n ? serviceOf(receipt, chain) : null;
  }
  try {
    return await serviceOf(receipt, chain, block);
  } catch {
    // Most nodes forget what was; that nothing has changed since, they still know.
    const changes = await chain.request("eth_getLogs", [{
      address: receipt.contract, fromBlock: block, toBlock: "latest",
      topics: [topic(SERVICE_UPDATED), hex(word(receipt.provider))],
    }]);
    return Array.isArray(changes) && changes.length === 0 ? serviceOf(receipt, chain) : null;
  }
}

/** block: where the payment was proven, in hex; null where it was not. */
async function checkPrice(receipt, chain, block) {
  const what = "The price";
  if (isImported(receipt)) return open(what, "carried over from an earlier system: what time it is for is not known");
  const wrong = contradiction(receipt);
  if (wrong !== null) return refuted(what, wrong);
  if (chain === null) return open(what, "no wallet to ask the chain with");
  const prices = await pricesOf(receipt, chain, block);
  if (prices === null) return open(what, "the prices that you acknowledged for it are not told");
  if (prices.perCpu === 0n && prices.perMemory === 0n) return open(what, "the provider's prices are not on-chain");
  const others = "by the prices of that block: the command line looks at earlier ones, too";
  if (receipt.period_start === receipt.period_end) {
    return BigInt(receipt.fee) <= prices.createFee ? proven(what, "it is the create fee that the contract names")
      : open(what, `it is not the create fee ${others}`);
  }
  // What began with the earlier system goes on at its rate, each part rounded down to the second.
  const bySecond = (price) => price / 60n * 60n;
  const size = sizeOf(BigInt(receipt.rate_per_minute), prices.perCpu, prices.perMemory)
    ?? sizeOf(BigInt(receipt.rate_per_minute), bySecond(prices.perCpu), bySecond(prices.perMemory));
  return size === null ? open(what, `its rate is that of no size ${others}`)
    : proven(what, `the rate of ${size[0]} CPU and ${size[1]} GiB, for one, by the contract's prices, times the seconds`);
}

/** Whether the contract names this signer today; a receipt could name anybody. */
async function isSignerOfToday(receipt, chain) {
  const service = await serviceOf(receipt, chain);
  return service !== null && same(service.signer, receipt.signer);
}

async function checkSignature(receipt, chain, wasAccepted) {
  const what = "The signature";
  if (!receipt.signature || !receipt.nonce) return open(what, "not signed yet");
  if (receipt.batch && !same(receipt.batch.lines[receipt.batch.index] ?? "", hex(structHash(receipt)))) {
    return refuted(what, "the batch was signed over another voucher");
  }
  if (chain === null) return open(what, "no wallet to ask the chain with");
  const signature = bytesOf(receipt.batch?.signature ?? receipt.signature);
  if (signature.length !== 65) return refuted(what, "it is no signature");
  const input = joined(digest(receipt), word(BigInt(signature[64])), signature.slice(0, 64));
  const [found] = words(await chain.read(ECRECOVER, hex(input)));
  if (found === undefined || !same(addressIn(found), receipt.signer)) {
    return refuted(what, "it was not made by the signer that is named");
  }
  const by = `by ${receipt.signer}`;
  if (await isSignerOfToday(receipt, chain)) return proven(what, `${by}, whom the contract names`);
  return wasAccepted ? proven(what, `${by}, whom the contract named when it was paid`)
    : open(what, `${by}, whom the contract does not name now`);
}

/** The words of the one event of this user, provider and nonce; undefined without. */
function eventIn(receipt, logs, signature, nonceAt) {
  return logs.filter((log) => same(log.address, receipt.contract)
    && same(log.topics[0], topic(signature))
    && BigInt(log.topics[1]) === BigInt(receipt.user)
    && BigInt(log.topics[2]) === BigInt(receipt.provider))
    .map((log) => words(log.data))
    .find((found) => found[nonceAt] === BigInt(receipt.nonce));
}

async function checkPayment(receipt, chain) {
  const what = "The payment";
  if (receipt.status === "merged") return open(what, "it was paid as a part of another receipt");
  if (!receipt.transaction) return open(what, "not settled on-chain yet");
  if (chain === null) return open(what, "no wallet to ask the chain with");
  const mined = await chain.request("eth_getTransactionReceipt", [receipt.transaction]);
  if (!mined) return open(what, "your wallet's node does not know the transaction");
  const logs = BigInt(mined.status) === 1n ? mined.logs : [];
  const event = eventIn(receipt, logs, SETTLED, 2);
  if (event === undefined) return refuted(what, "the transaction settled no such voucher");
  const [fee, usage, , status] = event;
  if (usage !== BigInt(receipt.usage_hash)) {
    return refuted(what, "the chain settled this nonce for another use");
  }
  if (fee !== BigInt(receipt.fee)) return refuted(what, "the chain settled another amount");
  const paid = BigInt(receipt.paid);
  const block = `in block ${BigInt(mined.blockNumber)}`;
  if (status === SUCCESS) {
    return receipt.status === "paid" && paid === fee ? { ...proven(what, `${block}, in full`), block: mined.blockNumber }
      : refuted(what, "the chain says that it was paid in full");
  }
  if (status !== INSUFFICIENT || receipt.status === "paid") {
    return refuted(what, "the chain says that it was not paid in full");
  }
  const shortfall = eventIn(receipt, logs, SHORTFALL, 0);
  if (shortfall === undefined) return open(what, `${block}, in part: this contract does not say how much`);
  return shortfall[1] === paid ? { ...proven(what, `${block}, in part`), block: mined.blockNumber }
    : refuted(what, "the chain says that another part was paid");
}

function checkPlace(receipt, place) {
  const what = "Whose it is";
  const fits = Number(receipt.chain_id) === Number(place.chain_id) && same(receipt.contract, place.contract)
    && same(receipt.user, place.user) && same(receipt.provider, place.provider);
  return fits ? null : refuted(what, "it speaks of another chain, contract, provider or wallet than yours");
}

/**
 * Every check of one receipt, the verdict first that matters most.
 * chain: {read(to, data), request(method, params)}, or null without one.
 * place: {chain_id, contract, provider, user}, which the user knows himself.
 */
export async function verify(receipt, chain, place) {
  const checks = [];
  const attempt = async (what, check) => {
    try {
      const found = await check();
      if (found !== null) checks.push(found);
    } catch (problem) {
      checks.push(problem instanceof TypeError || problem instanceof RangeError || problem instanceof SyntaxError
        ? refuted(what, "the receipt is malformed")
        : open(what, `your wallet did not answer: ${problem.message}`));
    }
  };
  await attempt("Whose it is", () => checkPlace(receipt, place));
  await attempt("What was charged for", () => checkHash(receipt));
  await attempt("What it is made of", () => checkParts(receipt));
  await attempt("The payment", () => checkPayment(receipt, chain));
  const payment = checks.at(-1);
  const wasAccepted = payment.verdict === "proven";
  await attempt("The price", () => checkPrice(receipt, chain, wasAccepted ? payment.block : null));
  await attempt("The signature", () => checkSignature(receipt, chain, wasAccepted));
  const verdict = ["refuted", "not proven", "proven"].find((one) => checks.some((check) => check.verdict === one));
  return { verdict, checks };
}
