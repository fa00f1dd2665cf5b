-- Four lookups and an order in turn, each kind with its own latencies. wrk reports latencies of all
-- requests together. So each request carries its time of sending in X-Request-Id, which the
-- front-end returns.

local ffi = require("ffi")
ffi.cdef("typedef struct { long sec; long nsec; } bench_time;" ..
  "int clock_gettime(int clock, bench_time *time);")
local MONOTONIC = 1
local time = ffi.new("bench_time")

local function now_us()
  ffi.C.clock_gettime(MONOTONIC, time)
  return tonumber(time.sec) % 1000000 * 1000000 + math.floor(tonumber(time.nsec) / 1000)
end

local threads = {}
function setup(thread)
  table.insert(threads, thread)
end

local n = 0
-- Of each kind: how many answers took so many microseconds. Global, so that done() can read it.
lookups, orders, lost = {}, {}, 0

function request()
  n = n + 1
  local stock = math.random(1, 14)
  local headers = {["X-Request-Id"] = string.format("%s%d", n % 5 == 0 and "o" or "l", now_us())}
  if n % 5 == 0 then
    local side = n % 10 == 0 and "buy" or "sell"
    local body = string.format('{"name":"Stock%d","quantity":1,"type":"%s"}', stock, side)
    return wrk.format("POST", "/orders", headers, body)
  end
  return wrk.format("GET", "/stocks/Stock" .. stock, headers)
end

function response(status, headers)
  local id = headers["X-Request-Id"] or headers["x-request-id"]
  local kind, sent = (id or ""):match("^([lo])(%d+)$")
  if not kind then
    lost = lost + 1
    return
  end
  local took, counts = math.floor(now_us() - tonumber(sent)), kind == "l" and lookups or orders
  counts[took] = (counts[took] or 0) + 1
end

local function figures(name)
  local times, counts, total = {}, {}, 0
  for _, thread in ipairs(threads) do
    for took, count in pairs(thread:get(name)) do
      if not counts[took] then table.insert(times, took) end
      counts[took] = (counts[took] or 0) + count
      total = total + count
    end
  end
  table.sort(times)
  local seen, p50, p99 = 0, 0, 0
  for _, took in ipairs(times) do
    seen = seen + counts[took]
    if p50 == 0 and seen >= total * 0.5 then p50 = took end
    if p99 == 0 and seen >= total * 0.99 then p99 = took end
  end
  local figures = '{"requests":%d,"p50":%d,"p99":%d,"max":%d}'
  return string.format(figures, total, p50, p99, times[#times] or 0)
end

function done(summary)
  local errors, unknown = summary.errors, 0
  for _, thread in ipairs(threads) do unknown = unknown + thread:get("lost") end
  print(string.format(
    '{"requests":%d,"us":%d,"refused":%d,"connect":%d,"read":%d,"write":%d,"timeout":%d,' ..
    '"unknown":%d,"lookups":%s,"orders":%s}',
    summary.requests, summary.duration, errors.status, errors.connect, errors.read, errors.write,
    errors.timeout, unknown,
    figures("lookups"), figures("orders")))
end
