-- Counts aloud, for ever. Nothing in it knows about checkpoints.
local numbers = {}

-- Lua has no sleep of its own; the processor time used stands in for it.
local function work_for(seconds)
  local finish = os.clock() + seconds
  while os.clock() < finish do end
end

while true do
  numbers[#numbers + 1] = #numbers + 1
  local sum = 0
  for _, number in ipairs(numbers) do sum = sum + number end
  assert(sum == #numbers * (#numbers + 1) // 2, "memory came back wrong")
  io.write(numbers[#numbers], "\n")
  io.flush()
  work_for(0.02)
end
