"use strict";
// The live feed, once per browser. A browser opens at most six connections to a host, for all its
// tabs together. With a feed in each tab, the orders of the sixth tab would wait for ever. So this
// script runs as a shared worker: it follows the feed for all tabs, while one of them is visible.
// A browser without shared workers runs it in the page. There it polls, since a poll gives its
// connection back.

// The feed sends an event each second. After this silence the connection is dead, although the
// browser may not have noticed: TCP reports a cut only when something is sent.
const SILENCE_MS = 5000;
const POLL_MS = 2000;
// A proxy that buffers the feed may do so for long: the stream is tried again after so many polls.
const POLLS = 15;
// The charts show this much time, and the timeline this many entries.
const WINDOW_MS = 120000;
const ENTRIES = 200;
// A tab that watches says so this often. The worker drops one that was silent for WATCHES_MS: a tab
// that crashed sends no "leave".
const WATCH_EVERY_MS = 5000;
const WATCHES_MS = 30000;

/** The events of the feed so far, merged: a tab that begins to watch gets them all. */
class Board {
  constructor() {
    this.status = null;
    this.stocks = null;
    this.timeline = [];
    this.load = [];
  }

  keep(name, data) {
    if (name === "status") this.status = data;
    if (name === "stocks") {
      if (data.all || this.stocks === null) this.stocks = new Map();
      for (const stock of data.stocks) this.stocks.set(stock.name, stock);
    }
    if (name === "timeline") {
      // Each snapshot repeats the newest entries. The id alone does not name an entry: a front-end
      // that restarted counts from 0 again.
      const known = new Set(this.timeline.map(({ id, at_ms }) => `${id} ${at_ms}`));
      const fresh = data.filter(({ id, at_ms }) => !known.has(`${id} ${at_ms}`));
      this.timeline = [...this.timeline, ...fresh].slice(-ENTRIES);
    }
    if (name === "load") {
      const last = this.load.at(-1)?.at_ms ?? 0;
      const all = [...this.load, ...data.filter(({ at_ms }) => at_ms > last)];
      this.load = all.filter(({ at_ms }) => at_ms >= all.at(-1).at_ms - WINDOW_MS);
    }
  }

  /** The board as events: whoever applies them has the same board. */
  events() {
    const all = [["timeline", this.timeline], ["load", this.load]];
    if (this.status) all.unshift(["status", this.status]);
    if (this.stocks) all.push(["stocks", { all: true, stocks: [...this.stocks.values()] }]);
    return all.map(([name, data]) => ({ name, data }));
  }
}

/**
 * Follows the feed from `start` to `stop`. `publish` gets its events, and the state of the
 * connection as `{ state, heard }`.
 */
class Feed {
  constructor(publish, streams) {
    this.publish = publish;
    // A page without a shared worker may not hold a connection open.
    this.mayStream = streams;
    // Whether the last stream worked. A proxy may buffer it or cut it short.
    this.streams = streams;
    this.running = false;
    this.heard = 0;
    this.board = new Board();
    this.last = { state: "connecting", heard: 0 };
  }

  start() {
    if (this.running) return;
    this.running = true;
    this.heard = 0;
    this.board = new Board();
    this.last = { state: "connecting", heard: 0 };
    this.watchdog = setInterval(() => this.check(), 1000);
    if (this.mayStream) this.connect();
    else this.drop(true, 0);
  }

  stop() {
    this.running = false;
    this.source?.close();
    this.source = null;
    clearTimeout(this.timer);
    clearInterval(this.watchdog);
  }

  /** The messages that bring a new tab up to date. */
  snapshot() {
    return [...this.board.events(), this.last];
  }

  say(state) {
    this.last = { state, heard: this.heard };
    this.publish(this.last);
  }

  take(name, data) {
    this.heard = Date.now();
    this.board.keep(name, data);
    this.publish({ name, data });
  }

  connect() {
    // A poll in flight may call this while another one is scheduled: only one of them may go on.
    clearTimeout(this.timer);
    this.source?.close();
    this.opened = Date.now();
    const source = new EventSource("/events");
    this.source = source;
    for (const name of ["status", "stocks", "timeline", "load"]) {
      source.addEventListener(name, (event) => {
        // An event of a source that was closed meanwhile is out of date.
        if (this.source !== source) return;
        this.take(name, JSON.parse(event.data));
        if (this.last.state !== "live") this.say("live");
      });
    }
    source.addEventListener("error", () => {
      if (this.source !== source) return;
      // A feed that ends right after its snapshot does not stream here: a proxy or server cut it.
      const brief = this.heard >= this.opened && Date.now() - this.opened < 1500;
      this.streams = !brief;
      this.drop(brief, brief ? POLL_MS : 500);
    });
  }

  /** Closes the stream and polls, which also finds out when the bazaar is back. */
  drop(quietly, delay) {
    this.source?.close();
    this.source = null;
    this.polls = 0;
    if (!quietly) this.say("lost");
    this.later(delay);
  }

  later(delay) {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.poll(), delay);
  }

  async poll() {
    try {
      const signal = AbortSignal.timeout(SILENCE_MS);
      const answer = await fetch("/events?poll", { cache: "no-store", signal });
      if (!answer.ok) throw new Error(`status ${answer.status}`);
      const text = await answer.text();
      // The feed was stopped, or streams again, while this poll was in flight.
      if (!this.running || this.source) return;
      for (const block of text.split("\n\n")) {
        const [, name, data] = /^event: (\w+)\ndata: (.*)$/.exec(block) ?? [];
        if (name) this.take(name, JSON.parse(data));
      }
      this.polls += 1;
      if (this.mayStream && (this.streams || this.polls > POLLS)) return this.connect();
      this.say("polling");
      this.later(POLL_MS);
    } catch {
      if (!this.running || this.source) return;
      this.say("lost");
      this.later(1000);
    }
  }

  check() {
    if (this.source && Date.now() - Math.max(this.heard, this.opened) > SILENCE_MS) {
      // A stream that is open and never said anything is buffered on its way: poll instead.
      this.streams = this.heard >= this.opened;
      this.drop(false, 500);
    }
  }

  /** The browser says that it has no network. */
  offline() {
    if (this.running) this.drop(false, 500);
  }
}

/** The shared worker: the feed runs while a tab watches, and its events go to all that do. */
function serveTabs() {
  const watching = new Map();
  const toAll = (message) => {
    for (const port of watching.keys()) port.postMessage(message);
  };
  const feed = new Feed(toAll, true);
  const leave = (port) => {
    watching.delete(port);
    if (watching.size === 0) feed.stop();
  };
  addEventListener("connect", ({ ports: [port] }) => {
    port.onmessage = ({ data }) => {
      if (data === "leave") return leave(port);
      const isNew = !watching.has(port);
      watching.set(port, Date.now());
      if (!feed.running) feed.start();
      else if (isNew) feed.snapshot().forEach((message) => port.postMessage(message));
    };
  });
  addEventListener("offline", () => feed.offline());
  setInterval(() => {
    for (const [port, spoke] of watching) {
      if (Date.now() - spoke > WATCHES_MS) leave(port);
    }
  }, WATCH_EVERY_MS);
}

if (typeof SharedWorkerGlobalScope !== "undefined") serveTabs();
