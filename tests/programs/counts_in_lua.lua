-- Counts in coroutines, closures and tables, with garbage for the collector, and checks all of it on every round.
--
-- Takes the go file. Prints "ready", then "count N" every round; when the go file exists, "ok" or what differs.

local go_file = arg[1]
local ENTRIES = 20000
local COROUTINES = 50

local function told_to_go()
  local file = io.open(go_file)
  if file then file:close() end
  return file ~= nil
end

local function make_counter()
  local count = 0
  return function() count = count + 1; return count end
end

local function make_coroutine(step)
  return coroutine.wrap(function()
    local sum = 0
    while true do
      sum = sum + step
      coroutine.yield(sum)
    end
  end)
end

local function checksum(entries)
  local sum = 0
  for i = 1, #entries do
    local entry = entries[i]
    sum = (sum * 31 + entry.value + #entry.name) % 4294967291
  end
  return sum
end

-- Busy for a while, so that a round takes some milliseconds: Lua alone cannot sleep.
local function spend_time()
  local finish = os.clock() + 0.005
  local garbage = {}
  while os.clock() < finish do
    garbage[#garbage % 1000 + 1] = string.rep("x", #garbage % 100)
  end
end

local entries = {}
for i = 1, ENTRIES do entries[i] = {name = "entry " .. i, value = i * 3.0} end
local expected = checksum(entries)
local counter = make_counter()
local coroutines = {}
for step = 1, COROUTINES do coroutines[step] = make_coroutine(step) end

local function check_round(round)
  local counted = counter()
  if counted ~= round then return string.format("closure counted %d in round %d", counted, round) end
  for step = 1, COROUTINES do
    local sum = coroutines[step]()
    if sum ~= step * round then
      return string.format("coroutine %d summed to %d in round %d", step, sum, round)
    end
  end
  if round % 10 == 0 and checksum(entries) ~= expected then return "the table changed" end
end

io.write("ready\n")
io.flush()
local round = 0
while not told_to_go() do
  round = round + 1
  local difference = check_round(round)
  if difference then
    print(difference)
    os.exit(1)
  end
  io.write("count ", round, "\n")
  io.flush()
  spend_time()
end
if checksum(entries) ~= expected then
  print("the table changed")
  os.exit(1)
end
print("ok")
