"""The two scripts by which Redis counts: one run for each owner does all that is asked of it in one turn.

All windows of an owner are fields of one hash, ``<prefix>limit:{<owner>}``, so that they lie on one node of a cluster.
The arithmetic is that of ``windows``, in whole milliseconds by Redis' own clock.
"""

from __future__ import annotations

import hashlib
from typing import Final

# What both begin with. ARGV: now (ms; 0: the server's clock), number of windows, then for each its field, amount and
# period (ms). The first letter of a field says its algorithm.
_BEGIN: Final = """
local now = tonumber(ARGV[1])
if now == 0 then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end
local n = tonumber(ARGV[2])
local names, kind, amount, period, at, count, before = {}, {}, {}, {}, {}, {}, {}
local longest = 0
for w = 1, n do
  local i = 3 * w
  names[w] = ARGV[i]
  kind[w] = string.sub(ARGV[i], 1, 1)
  amount[w], period[w] = tonumber(ARGV[i + 1]), tonumber(ARGV[i + 2])
  if period[w] > longest then longest = period[w] end
end
local held = redis.call('HMGET', KEYS[1], unpack(names))
for w = 1, n do
  local a, c, b = 0, 0, 0
  if held[w] then
    local x, y, z = string.match(held[w], '^(%d+) (%d+) (%d+)$')
    a, c, b = tonumber(x), tonumber(y), tonumber(z)
  end
  if kind[w] == 'b' then
    if now > a then
      c = math.max(0, c - (now - a) * amount[w])
      a = now
    end
  else
    local p = math.floor(now / period[w])
    if a < p then
      b = (a == p - 1) and c or 0
      a, c = p, 0
    end
  end
  at[w], count[w], before[w] = a, c, b
end
local function write()
  local values = {}
  for w = 1, n do
    values[2 * w - 1] = names[w]
    values[2 * w] = string.format('%.0f %.0f %.0f', at[w], count[w], before[w])
  end
  redis.call('HSET', KEYS[1], unpack(values))
  redis.call('PEXPIRE', KEYS[1], 2 * longest)
end
"""

# Then for each request the number of its takes and, for each, the window, the cost, and whether a part will do (1).
# Granted is all or nothing, but for the takes of which a part will do. Answers now, then for each request what was
# granted (-1: nothing) and the state of each of its windows.
TAKE: Final = (
    _BEGIN
    + """
local function room(w)
  if kind[w] == 'b' then return amount[w] - math.ceil(count[w] / period[w]) end
  if kind[w] == 'f' then return amount[w] - count[w] end
  local weighted = before[w] * (period[w] - now % period[w])
  return amount[w] - count[w] - (weighted + (-weighted) % period[w]) / period[w]
end
local answers, written = {now}, false
local i = 3 * n + 3
while i <= #ARGV do
  local takes = tonumber(ARGV[i])
  local granted, fits = 0, true
  for t = 0, takes - 1 do
    local w, cost = tonumber(ARGV[i + 3 * t + 1]), tonumber(ARGV[i + 3 * t + 2])
    local free = room(w)
    if ARGV[i + 3 * t + 3] == '1' then
      granted = math.min(cost, free, granted > 0 and granted or cost)
      if granted < 1 then fits = false end
    elseif free < cost then
      fits = false
    end
  end
  answers[#answers + 1] = fits and granted or -1
  for t = 0, takes - 1 do
    local w, cost = tonumber(ARGV[i + 3 * t + 1]), tonumber(ARGV[i + 3 * t + 2])
    if fits then
      if ARGV[i + 3 * t + 3] == '1' then cost = granted end
      count[w] = count[w] + cost * (kind[w] == 'b' and period[w] or 1)
      written = true
    end
    answers[#answers + 1] = at[w]
    answers[#answers + 1] = count[w]
    answers[#answers + 1] = before[w]
  end
  i = i + 3 * takes + 1
end
if written then write() end
return answers
"""
)

# Then for each window, in their order: when (the number of a period; ms of a bucket), what was last seen counted there
# (in a bucket's own unit), and what has to be added to it (may be negative).
MEND: Final = (
    _BEGIN
    + """
local i = 3 * n + 3
for w = 1, n do
  local a, seen, more = tonumber(ARGV[i]), tonumber(ARGV[i + 1]), tonumber(ARGV[i + 2])
  if kind[w] == 'b' then
    seen = math.max(0, seen - math.max(0, now - a) * amount[w])
    count[w] = math.max(0, math.max(count[w], seen) + more * period[w])
  elseif a == at[w] then
    count[w] = math.max(0, math.max(count[w], seen) + more)
  elseif a == at[w] - 1 then
    before[w] = math.max(0, math.max(before[w], seen) + more)
  end
  i = i + 3
end
write()
return now
"""
)

# KEYS: a set of gateways by when they last said that they live. ARGV: this one, how long that holds (ms). Answers how
# many there are.
PRESENCE: Final = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZADD', KEYS[1], now, ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return redis.call('ZCARD', KEYS[1])
"""


def digest(script: str) -> str:
    """Return the name by which Redis knows a script."""
    return hashlib.sha1(script.encode(), usedforsecurity=False).hexdigest()
