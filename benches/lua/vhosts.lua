-- Cycles the Host header over COUNT names, so that every request is for another virtual host than the one before.
-- Arguments: a format of the name (host%05d.bench), and COUNT.
dofile("summary.lua")

local requests, last, at = {}, 0, 0

function init(args)
   local format, count = args[1], tonumber(args[2])
   for number = 0, count - 1 do
      requests[number] = wrk.format(nil, nil, { Host = string.format(format, number) })
   end
   last = count
end

function request()
   local answer = requests[at]
   at = (at + 1) % last
   return answer
end
