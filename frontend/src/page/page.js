"use strict";
// The page's script. It watches the feed, shows its events, and sends orders. Everything that was
// received is written as text, never as markup: a stock's name could hold a script.

const $ = (id) => document.getElementById(id);
const whole = new Intl.NumberFormat("en");
const clock = new Intl.DateTimeFormat("en", {
  hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false,
});

/** An element with attributes and children; strings become text. */
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** The same for a drawing: SVG elements have a namespace. */
function drawing(tag, attributes = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** Writes a text only if it differs: a screen reader reads every write aloud. */
function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function say(element, kind, text) {
  element.dataset.kind = kind;
  write(element, text);
}

function time(ms) {
  const at = new Date(ms);
  const attributes = { datetime: at.toISOString(), title: at.toLocaleString("en") };
  return make("time", attributes, clock.format(at));
}

// ---- Stocks -------------------------------------------------------------------------------------

const stocks = new Map();

function applyStocks({ all, stocks: changed }) {
  const rows = $("stock-rows");
  if (all) {
    const names = new Set(changed.map((stock) => stock.name));
    for (const [name, shown] of stocks) {
      if (!names.has(name)) {
        shown.row.remove();
        stocks.delete(name);
      }
    }
  }
  // The row that says that no stock is known yet.
  if (stocks.size === 0) rows.replaceChildren();
  const before = stocks.size;
  changed.forEach(applyStock);
  // Only where a stock came or went: to move rows at each change would take the focus from a
  // button.
  if (stocks.size !== before) {
    const sorted = [...stocks.keys()].sort();
    rows.append(...sorted.map((name) => stocks.get(name).row));
    $("names").replaceChildren(...sorted.map((name) => make("option", { value: name })));
    if ($("stock").value === "" && sorted.length > 0) {
      $("stock").value = sorted[0];
      if (document.activeElement === $("stock")) $("stock").select();
    }
  }
  // Bars are relative to the largest quantity, so all of them are drawn anew. At least 1: a table
  // in which nothing is left must not divide by zero.
  const most = Math.max(1, ...[...stocks.values()].map((shown) => shown.quantity));
  for (const shown of stocks.values()) shown.fill.setAttribute("width", shown.quantity / most);
}

function applyStock({ name, price, quantity }) {
  let shown = stocks.get(name);
  if (!shown) {
    const label = `${name}: choose for trading`;
    const choose = make("button", { type: "button", class: "name", "aria-label": label }, name);
    choose.addEventListener("click", () => {
      $("stock").value = name;
      $("quantity").focus();
      $("quantity").select();
    });
    const cells = {
      price: make("td", { class: "number" }),
      left: make("td", { class: "number left" }),
      change: make("td", { class: "number change" }),
      fill: drawing("rect", { height: "1" }),
    };
    // The number stands beside the bar, which is hidden from screen readers.
    const box = { viewBox: "0 0 1 1", preserveAspectRatio: "none", "aria-hidden": "true" };
    const bar = make("td", { class: "wide" }, drawing("svg", { class: "bar", ...box }, cells.fill));
    const heading = make("td", {}, choose);
    const row = make("tr", { "data-stock": name },
      heading, cells.price, cells.left, bar, cells.change);
    row.addEventListener("animationend", () => row.classList.remove("flash-up", "flash-down"));
    shown = { row, quantity, ...cells };
    stocks.set(name, shown);
  } else if (shown.quantity !== quantity) {
    const change = quantity - shown.quantity;
    const way = change > 0 ? "up" : "down";
    shown.row.classList.remove("flash-up", "flash-down");
    // Reading the width forces a layout. Without it the browser sees no change of the class, and a
    // second flash of the same kind does not begin.
    void shown.row.offsetWidth;
    shown.row.classList.add(`flash-${way}`);
    shown.change.className = `number change ${way}`;
    shown.change.textContent = `${change > 0 ? "▲ +" : "▼ −"}${whole.format(Math.abs(change))}`;
    shown.quantity = quantity;
  }
  write(shown.price, price.toFixed(2));
  write(shown.left, whole.format(quantity));
}

// ---- Cluster ------------------------------------------------------------------------------------

const ROLES = {
  leader: ["Leader", "serving", "good"],
  follower: ["Follower", "in sync", "good"],
  claiming: ["Candidate", "completing its log", "wait"],
  "catching-up": ["Follower", "catching up", "wait"],
  down: ["–", "down", "bad"],
  "wrong-replica": ["–", "another replica answers under its URL", "bad"],
  foreign: ["–", "its file belongs to another bazaar", "bad"],
};
const CATALOG = {
  serving: "serving",
  "start-up-wait": "waiting for leases",
  "awaiting-claim": "waiting for a leader",
  "history-lost": "history lost",
};

// One catalog is shown by its state alone; of several each one is, with the active one's epoch.
function describeCatalogs(text, catalogs = []) {
  if (catalogs.length < 2) return text;
  const role = (catalog) =>
    catalog.role === "active" ? `active, epoch ${whole.format(catalog.epoch)}: ${text}`
      : (catalog.role ?? "no answer");
  return catalogs.map((catalog) => `${catalog.id} ${role(catalog)}`).join("; ");
}

function applyStatus({ ready, reasons, leader, term, replicas, catalog, catalogs, cache }) {
  $("halted").hidden = ready;
  write($("halted"), ready ? "" : `No order can be taken now: ${reasons.join("; ")}.`);
  write($("leader"), leader === null ? "none" : `Replica ${leader}`);
  write($("term"), whole.format(term));
  // A newer front-end may know states that this page does not: they are shown as they are.
  const catalogText =
    catalog.state === null ? "no answer" : (CATALOG[catalog.state] ?? catalog.state);
  const fault = catalog.write_fault === null ? "" : ", cannot write";
  write($("catalog"), describeCatalogs(`${catalogText}${fault}`, catalogs));
  const held = `${whole.format(cache.entries)} held${cache.leased ? "" : ", no lease"}`;
  write($("cache"), cache.enabled ? held : "off");
  const rows = $("replica-rows");
  const ids = replicas.map(({ id }) => String(id)).join();
  // Rows are made once and then written into: a screen reader would read a new table aloud each
  // second.
  if (rows.dataset.ids !== ids) {
    rows.dataset.ids = ids;
    const state = () => make("td", {}, make("span", { class: "badge" }));
    const count = () => make("td", { class: "number" });
    const row = ({ id }) => make("tr", { "data-replica": id },
      make("td", {}, String(id)), make("td"), state(), count(), count());
    rows.replaceChildren(...replicas.map(row));
  }
  const absent = (state) => ["down", "wrong-replica", "foreign"].includes(state);
  // How many orders a replica has: the first order has the number 0, and an empty log none.
  const have = ({ state, last }) => (absent(state) ? null : last === null ? 0 : last + 1);
  const most = Math.max(0, ...replicas.map(have));
  replicas.forEach((replica, i) => {
    const [, role, state, last, lag] = rows.children[i].children;
    const unknown = [replica.state, replica.state, "wait"];
    const [roleText, stateText, kind] = ROLES[replica.state] ?? unknown;
    rows.children[i].className = replica.state === "leader" ? "leads" : "";
    write(role, roleText);
    state.firstChild.dataset.kind = kind;
    write(state.firstChild, stateText);
    const down = absent(replica.state);
    write(last, down ? "–" : replica.last === null ? "none" : String(replica.last));
    write(lag, down ? "–" : whole.format(most - have(replica)));
  });
}

// ---- Timeline -----------------------------------------------------------------------------------

const shown = new Set();

function applyTimeline(entries) {
  // The first entries are history, and do not flash.
  const fresh = shown.size > 0;
  for (const { id, at_ms, kind, text } of entries) {
    // The id alone does not name an entry: a front-end that restarted counts from 0 again.
    const key = `${id} ${at_ms}`;
    if (shown.has(key)) continue;
    shown.add(key);
    const what = make("span", { class: "what" }, text);
    const item = make("li", { "data-kind": kind }, time(at_ms), what);
    if (fresh) item.className = "new";
    $("timeline").prepend(item);
  }
  // Bounded like the worker's board: a page may stay open for days.
  while ($("timeline").children.length > ENTRIES) $("timeline").lastChild.remove();
}

// ---- Load ---------------------------------------------------------------------------------------

const samples = [];
const WIDTH = 240;
const HEIGHT = 60;

const number = (value) => {
  if (value >= 100 || Number.isInteger(value)) return whole.format(Math.round(value));
  return value.toFixed(value >= 10 ? 1 : 2);
};
const rate = (value) => {
  if (value >= 10 || Number.isInteger(value)) return whole.format(Math.round(value));
  return value.toFixed(1);
};
const ms = (value) => `${number(value)} ms`;
const percent = (value) => `${(value * 100).toFixed(value === 1 || value === 0 ? 0 : 1)} %`;

const charts = [
  {
    title: "Requests",
    unit: (v) => `${rate(v)} /s`,
    least: 10,
    series: [["", (s) => s.requests_per_s]],
  },
  { title: "Cache hits", unit: percent, least: 1, most: 1, series: [["", (s) => s.hit_ratio]] },
  {
    title: "Lookups",
    unit: ms,
    least: 1,
    series: [["p50", (s) => s.lookups.p50_ms], ["p99", (s) => s.lookups.p99_ms]],
  },
  {
    title: "Orders",
    unit: ms,
    least: 1,
    series: [["p50", (s) => s.orders.p50_ms], ["p99", (s) => s.orders.p99_ms]],
  },
].map(addChart);

function addChart(chart) {
  const line = (_, i) => drawing("path", { class: i === 0 ? "series" : "series second" });
  const paths = chart.series.map(line);
  const box = { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none" };
  const svg = drawing("svg", { ...box, role: "img" }, ...paths);
  const values = chart.series.map(() => document.createTextNode("–"));
  const caption = make("figcaption", {}, make("span", {}, chart.title));
  const group = make("span", {});
  chart.series.forEach(([name], i) => {
    const key = make("i", { class: i === 0 ? "key" : "key second", "aria-hidden": "true" });
    const label = name === "" ? [] : [i > 0 ? "  " : "", key, `${name} `];
    group.append(...label, make("b", {}, values[i]));
  });
  caption.append(group);
  const top = make("span", {}, "");
  const axis = { class: "axis", "aria-hidden": "true" };
  const foot = make("div", axis, top, make("span", {}, "now"));
  $("charts").append(make("figure", {}, caption, svg, foot));
  return { ...chart, svg, paths, values, top };
}

/** The next of 1, 2, 5, 10, … above a value: a scale that does not jump with every sample. */
function scale(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((step) => step * power).find((step) => step >= value * 0.999);
}

function applyLoad(fresh) {
  for (const sample of fresh) {
    // A snapshot repeats samples that are here already.
    if (samples.length === 0 || sample.at_ms > samples.at(-1).at_ms) samples.push(sample);
  }
  if (samples.length === 0) return;
  const end = samples[samples.length - 1].at_ms;
  while (samples[0].at_ms < end - WINDOW_MS) samples.shift();
  charts.forEach((chart) => draw(chart, end));
}

function draw({ title, unit, least, most, series, svg, paths, values, top }, end) {
  const valuesOf = (sample) => series.map(([, of]) => of(sample));
  const all = samples.flatMap(valuesOf).filter((value) => value !== null);
  const height = most ?? scale(Math.max(least, ...all));
  const spoken = series.map(([name, of], i) => {
    let path = "";
    let before = null;
    for (const sample of samples) {
      const value = of(sample);
      if (value !== null) {
        const x = (WIDTH * (1 - (end - sample.at_ms) / WINDOW_MS)).toFixed(1);
        const y = (HEIGHT - 3 - ((HEIGHT - 6) * Math.min(value, height)) / height).toFixed(1);
        // A line across a gap would show values that nobody measured. A lone sample is a dot.
        const joined = before !== null && sample.at_ms - before < 3000;
        path += joined ? `L${x} ${y}` : `M${x} ${y}h.1`;
        before = sample.at_ms;
      }
    }
    paths[i].setAttribute("d", path);
    const last = of(samples[samples.length - 1]);
    const text = last === null ? "–" : unit(last);
    values[i].data = text;
    return `${name} ${last === null ? "nothing" : text}`.trim();
  });
  top.textContent = `top ${unit(height)}`;
  svg.setAttribute("aria-label", `${title}, the last two minutes; now ${spoken.join(", ")}`);
}

// ---- The feed -----------------------------------------------------------------------------------

const APPLY = {
  status: applyStatus, stocks: applyStocks, timeline: applyTimeline, load: applyLoad,
};
// The page's policy lets no text become a script's address, except through this rule, which knows
// one address only.
const rule = { createScriptURL: () => "/feed.js" };
const scripts = globalThis.trustedTypes?.createPolicy("feed", rule);
// The worker is gone if it was silent while the page sent this many messages; the page then polls
// by itself. Messages are counted, not seconds: after a sleep of the machine, everybody was silent.
const WORKER_SILENCE = 3;

const feed = { heard: 0, unanswered: 0, port: null, own: null };

function setState(state, heard) {
  const texts = {
    live: "Live",
    polling: "Live, by polling",
    lost: "Connection lost",
    connecting: "Connecting …",
  };
  const pill = $("connection");
  pill.dataset.state = state === "polling" ? "live" : state;
  write(pill, texts[state]);
  if (heard > 0) feed.heard = heard;
  const stale = state === "lost" && feed.heard > 0;
  $("stale").hidden = !stale;
  if (!stale) return;
  const at = clock.format(feed.heard);
  write($("stale"), `No connection to the bazaar. The page shows the state at ${at}.`);
}

function receive(message) {
  // Any message shows that the worker lives.
  feed.unanswered = 0;
  if (message.state) setState(message.state, message.heard);
  else APPLY[message.name](message.data);
}

/** Follows the feed while the page is visible, and only then: hidden tabs cost nothing. */
function watch() {
  const visible = document.visibilityState === "visible";
  feed.unanswered = visible ? feed.unanswered + 1 : 0;
  if (feed.port && feed.unanswered > WORKER_SILENCE) return pollHere();
  // Repeated at each interval: the worker drops a tab that was silent for long, as it drops one
  // that crashed.
  feed.port?.postMessage(visible ? "watch" : "leave");
  if (visible) feed.own?.start();
  else feed.own?.stop();
}

function shareWorker() {
  if (typeof SharedWorker === "undefined") return pollHere();
  try {
    // The name changes with the messages between worker and page. So a tab that was open before an
    // upgrade keeps the worker that understands it.
    const url = scripts?.createScriptURL("") ?? "/feed.js";
    const shared = new SharedWorker(url, { name: "feed-1" });
    // The script could not be loaded: nothing would ever come.
    shared.onerror = pollHere;
    shared.port.onmessage = ({ data }) => receive(data);
    feed.port = shared.port;
  } catch {
    pollHere();
  }
}

function pollHere() {
  feed.port?.postMessage("leave");
  feed.port = null;
  // It polls: a stream for each tab would use up the browser's connections to this host.
  feed.own ??= new Feed(receive, false);
  watch();
}

shareWorker();
watch();
setInterval(watch, WATCH_EVERY_MS);
document.addEventListener("visibilitychange", watch);
// Otherwise the worker would follow the feed for a page that is gone until WATCHES_MS is over.
addEventListener("pagehide", () => feed.port?.postMessage("leave"));
addEventListener("pageshow", watch);
addEventListener("offline", () => feed.own?.offline());

// ---- Orders -------------------------------------------------------------------------------------

const KEPT = 50;
const STORE = "bazaar-orders";
const MOST = 1000000;
// An order without an answer is sent again after these pauses, with the same key.
const PAUSES_MS = [0, 500, 1000, 2000, 4000];
/** Orders that this page sent, by key. */
const own = new Map();
/** The list of this page alone, where the browser stores nothing (private mode, say). */
let alone = null;
let orders = load();

/** The list as it is stored, newest first. */
function stored() {
  if (alone) return alone;
  try {
    return JSON.parse(localStorage.getItem(STORE) ?? "[]");
  } catch {
    return [];
  }
}

/** The list for this page: its own orders as they are, those of other tabs as they are stored. */
function load() {
  // An order in flight that is not this page's own: its page was left and the answer lost, or it is
  // another tab's. To ask again with its key is right for both.
  const shown = (order) => (order.state === "sending" ? { ...order, state: "unknown" } : order);
  return stored().map((order) => own.get(order.key) ?? shown(order));
}

/** Stores one of this page's orders. */
function keep(order) {
  own.set(order.key, order);
  // The list is read anew: tabs share it, and one that wrote its own copy whole would undo the
  // others' orders.
  const list = [...stored()];
  const at = list.findIndex(({ key }) => key === order.key);
  list.splice(Math.max(at, 0), at < 0 ? 0 : 1, order);
  // An order without an outcome stays, however long the list: its key is the way to find out.
  const open = ({ state }) => state === "sending" || state === "unknown";
  const kept = list.filter((other, place) => place < KEPT || open(other));
  try {
    localStorage.setItem(STORE, JSON.stringify(kept));
  } catch {
    alone = kept;
  }
  orders = load();
  showOrders();
}

// Another tab stored an order.
addEventListener("storage", () => {
  orders = load();
  showOrders();
});

function newKey() {
  // Not randomUUID: browsers offer it on secure pages only, and this one may be plain http.
  const bytes = [...crypto.getRandomValues(new Uint8Array(16))];
  return bytes.map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

const describe = ({ side, quantity, name }) =>
  `${side === "buy" ? "Buy" : "Sell"} ${whole.format(quantity)} ${name}`;

function showOrders() {
  $("own-none").hidden = orders.length > 0;
  $("own-orders").replaceChildren(...orders.map((order) => {
    const outcome = make("span", { class: "outcome" });
    const texts = {
      done: ["good", `No ${order.number}`],
      refused: ["bad", order.message],
      nothing: ["bad", order.message],
      sending: ["wait", "on its way …"],
      unknown: ["wait", "outcome unknown "],
    };
    const [kind, text] = texts[order.state];
    outcome.dataset.kind = kind;
    outcome.append(text ?? "");
    if (order.state === "unknown") {
      const attributes = { type: "button", class: "again" };
      attributes["aria-label"] = `Ask again: ${describe(order)}`;
      const again = make("button", attributes, "Ask again");
      again.addEventListener("click", () => send(order));
      outcome.append(again);
    }
    const what = make("span", { class: "what" }, describe(order));
    return make("li", {}, time(order.at), what, outcome);
  }));
}

/**
 * Sends an order until it has an answer, or for some seconds. Every attempt has the same key, so
 * that the order trades at most once.
 */
async function send(order) {
  const result = $("order-result");
  // Once an attempt may have traded, no later answer proves the contrary.
  let nothing = order.state === "new";
  // Kept before the first attempt: a page that is closed meanwhile knows the key when it comes
  // back, and can ask what became of the order.
  order.state = "sending";
  keep(order);
  say(result, "wait", `${describe(order)}: on its way …`);
  let message = "";
  for (const [attempt, pause] of PAUSES_MS.entries()) {
    if (pause > 0) await new Promise((resolve) => setTimeout(resolve, pause));
    try {
      const answer = await fetch("/orders", {
        method: "POST",
        headers: { "Content-Type": "application/json", "Idempotency-Key": order.key },
        body: JSON.stringify({ name: order.name, quantity: order.quantity, type: order.side }),
        // Longer than the front-end takes at most (5 s): it answers with what it knows of the
        // outcome, and the page would throw that away.
        signal: AbortSignal.timeout(10000),
      });
      const body = await answer.json();
      if (answer.ok) {
        order.number = body.data.transaction_number;
        const text = `${describe(order)}: done, order number ${order.number}.`;
        return settle(order, "done", "good", text);
      }
      message = body.error.message;
      // Not 408: this attempt did not arrive whole, but an earlier one may have traded.
      if (answer.status < 500 && answer.status !== 408) {
        order.message = message;
        const text = `${describe(order)}: refused. ${sentence(message)}`;
        return settle(order, "refused", "bad", text);
      }
      // The API's promise: these words stand in a 503 only if no attempt of the front-end's can
      // have happened. One attempt without them is enough to make the outcome unknown.
      nothing &&= message.includes("nothing happened");
    } catch {
      // The request may have arrived, and its answer may be lost.
      nothing = false;
      message = "no answer from the bazaar";
    }
    if (attempt + 1 < PAUSES_MS.length) {
      const text = `${describe(order)}: ${message}. Asking again with the same key …`;
      say(result, "wait", text);
    }
  }
  if (nothing) {
    order.message = message;
    const text = `${describe(order)}: nothing happened. ${sentence(message)}`;
    return settle(order, "nothing", "bad", text);
  }
  const unknown = `${describe(order)}: outcome unknown. It may or may not have traded.`;
  const remedy = "“Ask again” in the list below finds out, and never trades twice.";
  settle(order, "unknown", "wait", `${unknown} ${remedy}`);
}

function settle(order, state, kind, text) {
  order.state = state;
  keep(order);
  say($("order-result"), kind, text);
}

function sentence(text) {
  const upper = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?]$/.test(upper) ? upper : `${upper}.`;
}

function invalid(field, text, result) {
  field.setAttribute("aria-invalid", "true");
  field.focus();
  say(result, "bad", text);
}

// The focus selects the name, so that typing replaces it.
let entered = false;
$("stock").addEventListener("focus", () => {
  entered = true;
  $("stock").select();
});
// A click focuses first, and its end puts the cursor there, which undoes the selection.
$("stock").addEventListener("click", () => {
  if (entered) $("stock").select();
  entered = false;
});

$("order-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const [stock, quantity, result] = [$("stock"), $("quantity"), $("order-result")];
  stock.removeAttribute("aria-invalid");
  quantity.removeAttribute("aria-invalid");
  if (stock.value.trim() === "") {
    return invalid(stock, "Name a stock: choose one from the table.", result);
  }
  const count = Number(quantity.value);
  if (!Number.isInteger(count) || count < 1 || count > MOST) {
    const text = `Write a whole number from 1 to ${whole.format(MOST)} as quantity.`;
    return invalid(quantity, text, result);
  }
  const side = event.submitter?.value === "sell" ? "sell" : "buy";
  const name = stock.value.trim();
  const order = { key: newKey(), name, quantity: count, side, at: Date.now(), state: "new" };
  send(order);
});

$("find-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const [field, result] = [$("find"), $("find-result")];
  field.removeAttribute("aria-invalid");
  const wanted = field.value.trim().replace(/^No\s*/i, "");
  if (!/^\d+$/.test(wanted)) {
    return invalid(field, "Write the number of an order, such as 0.", result);
  }
  say(result, "wait", `Looking for order ${wanted} …`);
  try {
    const signal = AbortSignal.timeout(10000);
    // Orders may be kept by caches for a year. A bazaar that was started afresh gives their numbers
    // to other orders.
    const answer = await fetch(`/orders/${wanted}`, { cache: "no-store", signal });
    const body = await answer.json();
    if (!answer.ok) return say(result, "bad", sentence(body.error.message));
    const { number: found, name, type, quantity } = body.data;
    say(result, "good", `Order ${found}: ${describe({ side: type, quantity, name })}.`);
  } catch {
    say(result, "bad", "No answer from the bazaar. Try again.");
  }
});

showOrders();
