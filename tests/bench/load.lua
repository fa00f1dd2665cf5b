-- Requests for wrk, made once and then used in turn, so that the generator takes as little of the
-- processor as it can.
--   wrk … -s load.lua URL -- orders
--   wrk … -s load.lua URL -- queries COUNT      any of the first COUNT orders
--   wrk … -s load.lua URL -- lookups [COUNT]    of the first COUNT stocks, 14 by default
--   wrk … -s load.lua URL -- etcd_v2 | etcd_v3  puts of as many bytes as an order has
-- The last line of the output is JSON; times are in microseconds.

local requests, at = {}, 0
local KEYS = 1000

local function post(path, body, content_type)
  return wrk.format("POST", path, {["Content-Type"] = content_type or "application/json"}, body)
end

local make = {}

-- Each piece that is bought is sold again: nothing runs out.
function make.orders()
  for n = 1, 14 do
    for _, side in ipairs({"buy", "sell"}) do
      local body = string.format('{"name":"Stock%d","quantity":1,"type":"%s"}', n, side)
      table.insert(requests, post("/orders", body))
    end
  end
end

function make.queries(count)
  for _ = 1, 10000 do
    table.insert(requests, wrk.format("GET", "/orders/" .. math.random(0, count - 1)))
  end
end

function make.lookups(count)
  local stocks = count or 14
  for n = 1, math.min(stocks, 10000) do
    local stock = stocks <= 10000 and n or math.random(stocks)
    table.insert(requests, wrk.format("GET", "/stocks/Stock" .. stock))
  end
end

function make.etcd_v2()
  local value = "value=" .. string.rep("x", 46)
  for n = 1, KEYS do
    local path = string.format("/v2/keys/bench/key%06d", n)
    local form = {["Content-Type"] = "application/x-www-form-urlencoded"}
    table.insert(requests, wrk.format("PUT", path, form, value))
  end
end

-- The gateway takes keys and values in base64.
function make.etcd_v3()
  local value = string.rep("eHh4", 15)
  for n = 1, KEYS do
    -- Digits written in base64 by hand: three of them are four characters.
    local digits, text = string.format("%09d", n), ""
    local alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    for i = 1, 9, 3 do
      local a, b, c = digits:byte(i, i + 2)
      local bits = a * 65536 + b * 256 + c
      for _, unit in ipairs({262144, 4096, 64, 1}) do
        local index = math.floor(bits / unit) % 64 + 1
        text = text .. alphabet:sub(index, index)
      end
    end
    local body = string.format('{"key":"%s","value":"%s"}', text, value)
    table.insert(requests, post("/v3/kv/put", body))
  end
end

function init(args)
  make[args[1]](tonumber(args[2]))
end

function request()
  at = at % #requests + 1
  return requests[at]
end

function done(summary, latency)
  local errors = summary.errors
  print(string.format(
    '{"requests":%d,"us":%d,"p50":%.1f,"p99":%.1f,"max":%.1f,' ..
    '"refused":%d,"connect":%d,"read":%d,"write":%d,"timeout":%d}',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99), latency.max,
    errors.status, errors.connect, errors.read, errors.write, errors.timeout))
end
