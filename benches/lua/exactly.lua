-- Each thread, of one connection, stops once it has been answered COUNT times. Argument: COUNT.
dofile("summary.lua")

local left = 0

function init(args)
   left = tonumber(args[1])
end

function response()
   left = left - 1
   if left == 0 then wrk.thread:stop() end
end
