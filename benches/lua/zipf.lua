-- Asks for COUNT names in Zipf order: the n-th most wanted is asked for 1/n as often as the first. The order is drawn
-- beforehand from a fixed seed, so that every run asks the same. Arguments: a format of the name, COUNT.
dofile("summary.lua")

local DRAWS, SEED = 2 ^ 20, 1
local requests, order, at = {}, {}, 0

local function shuffled(count)
   local places = {}
   for place = 1, count do places[place] = place end
   for place = count, 2, -1 do
      local other = math.random(place)
      places[place], places[other] = places[other], places[place]
   end
   return places
end

-- The first rank whose share of all requests, with those before it, reaches the mark.
local function rank_at(sums, mark)
   local low, high = 1, #sums
   while low < high do
      local middle = math.floor((low + high) / 2)
      if sums[middle] < mark then low = middle + 1 else high = middle end
   end
   return low
end

function init(args)
   local format, count = args[1], tonumber(args[2])
   math.randomseed(SEED)
   -- Neighbours in rank are no neighbours in the store.
   local places, sums, sum = shuffled(count), {}, 0
   for rank = 1, count do
      requests[rank] = wrk.format(nil, nil, { Host = string.format(format, places[rank] - 1) })
      sum = sum + 1 / rank
      sums[rank] = sum
   end
   for draw = 1, DRAWS do order[draw] = rank_at(sums, math.random() * sum) end
end

function request()
   at = at % DRAWS + 1
   return requests[order[at]]
end
