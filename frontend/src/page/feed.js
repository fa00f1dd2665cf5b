"use strict";
// The live feed, once per browser. A browser opens six connections to a host at most, for all its tabs: were one
// of them a feed in each tab, orders of the sixth tab would wait for ever. So this script runs as a shared worker,
// which follows the feed for all tabs, and only while one of them is visible. A browser without shared workers runs
// it in the page, where it polls: a poll gives its connection back.

// The feed says something each second: after this silence it is gone, whatever the connection looks like.
const SILENCE_MS = 5000;
const POLL_MS = 2000;
// Polling goes on for so many rounds before the feed is tried again where it did not stream.
const POLLS = 15;
// What the charts and the timeline show at most.
const WINDOW_MS = 120000;
const ENTRIES = 200;
// A tab that watches says so this often. One that has not for some time is gone: a tab that crashed says nothing.
const WATCH_EVERY_MS = 5000;
const WATCHES_MS = 30000;

/** What the feed has said so far: a tab that begins to watch is told all of it. */
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
      // Each opening repeats the newest entries. A front-end that starts again counts from 0 again.
      const known = new Set(this.timeline.map(({ id, at_ms }) => `${id} ${at_ms}`));
      this.timeline = [...this.timeline, ...data.filter(({ id, at_ms }) => !known.has(`${id} ${at_ms}`))].slice(-ENTRIES);
    }
    if (name === "load") {
      const last = this.load.at(-1)?.at_ms ?? 0;
      const all = [...this.load, ...data.filter(({ at_ms }) => at_ms > last)];
      this.load = all.filter(({ at_ms }) => at_ms >= all.at(-1).at_ms - WINDOW_MS);
    }
  }

  /** Everything, as the events that would tell it. */
  events() {
    const all = [["timeline", this.timeline], ["load", this.load]];
    if (this.status) all.unshift(["status", this.status]);
    if (this.stocks) all.push(["stocks", { all: true, stocks: [...this.stocks.values()] }]);
    return all.map(([name, data]) => ({ name, data }));
  }
}

/** Follows the feed from `start` to `stop`. `tell` gets its events and, as `{ state, heard }`, how the connection is. */
class Feed {
  constructor(tell, streams) {
    this.tell = tell;
    /** Whether it may hold a connection open. */
    this.mayStream = streams;
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

  /** What somebody who comes now has missed. */
  snapshot() {
    return [...this.board.events(), this.last];
  }

  say(state) {
    this.last = { state, heard: this.heard };
    this.tell(this.last);
  }

  hear(name, data) {
    this.heard = Date.now();
    this.board.keep(name, data);
    this.tell({ name, data });
  }

  connect() {
    // A poll that was on its way may come here beside one that is still to begin.
    clearTimeout(this.timer);
    this.source?.close();
    this.opened = Date.now();
    const source = new EventSource("/events");
    this.source = source;
    for (const name of ["status", "stocks", "timeline", "load"]) {
      source.addEventListener(name, (event) => {
        if (this.source !== source) return;
        this.hear(name, JSON.parse(event.data));
        if (this.last.state !== "live") this.say("live");
      });
    }
    source.addEventListener("error", () => {
      if (this.source !== source) return;
      // A feed that ends as soon as it has told everything does not stream here.
      const brief = this.heard >= this.opened && Date.now() - this.opened < 1500;
      this.streams = !brief;
      this.drop(brief, brief ? POLL_MS : 500);
    });
  }

  /** Gives the stream up and goes on by polling, which also finds out when the bazaar is back. */
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
      const answer = await fetch("/events?poll", { cache: "no-store", signal: AbortSignal.timeout(SILENCE_MS) });
      if (!answer.ok) throw new Error(`status ${answer.status}`);
      const text = await answer.text();
      // Stopped, or streaming again, while this was on its way.
      if (!this.running || this.source) return;
      for (const block of text.split("\n\n")) {
        const [, name, data] = /^event: (\w+)\ndata: (.*)$/.exec(block) ?? [];
        if (name) this.hear(name, JSON.parse(data));
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
      // Opened and silent: something between buffers the feed.
      this.streams = this.heard >= this.opened;
      this.drop(false, 500);
    }
  }

  /** The browser says that it has no network. */
  offline() {
    if (this.running) this.drop(false, 500);
  }
}

/** In the shared worker: the feed runs while a tab watches, and tells all that do. */
function serveTabs() {
  const watching = new Map();
  const tellAll = (message) => {
    for (const port of watching.keys()) port.postMessage(message);
  };
  const feed = new Feed(tellAll, true);
  const leave = (port) => {
    watching.delete(port);
    if (watching.size === 0) feed.stop();
  };
  addEventListener("connect", ({ ports: [port] }) => {
    port.onmessage = ({ data }) => {
      if (data === "leave") return leave(port);
      const comes = !watching.has(port);
      watching.set(port, Date.now());
      if (!feed.running) feed.start();
      else if (comes) feed.snapshot().forEach((message) => port.postMessage(message));
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
