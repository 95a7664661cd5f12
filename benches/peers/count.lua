-- A fixed window for each client address: one counter in Redis, asked for each request over a pooled connection.
local LIMIT, WINDOW, REDIS = @REQUESTS@, @WINDOW@, @REDIS@
local POOLED, IDLE_MS, PATIENCE_MS = 512, 60000, 1000

-- The integer that Redis answers. Nothing but what is needed is parsed, as a client library would.
local function ask(redis, command)
   local sent, problem = redis:send(command)
   local line
   if sent then line, problem = redis:receive() end
   if not line then ngx.log(ngx.ERR, "redis: ", problem) return nil end
   return tonumber(line:match("^:(%d+)$"))
end

local redis = ngx.socket.tcp()
redis:settimeouts(PATIENCE_MS, PATIENCE_MS, PATIENCE_MS)
if not redis:connect("127.0.0.1", REDIS) then return ngx.exit(503) end

local now = ngx.now()
local window = math.floor(now / WINDOW)
local key = "count:" .. ngx.var.remote_addr .. ":" .. window
local count = ask(redis, { "*2\r\n$4\r\nINCR\r\n$", #key, "\r\n", key, "\r\n" })
-- Once a window is enough.
if count == 1 then
   ask(redis, { "*3\r\n$6\r\nEXPIRE\r\n$", #key, "\r\n", key, "\r\n$", #tostring(WINDOW), "\r\n", WINDOW, "\r\n" })
end
if not count then return ngx.exit(503) end
redis:setkeepalive(IDLE_MS, POOLED)

if count > LIMIT then
   ngx.header["Retry-After"] = math.ceil((window + 1) * WINDOW - now)
   return ngx.exit(429)
end
