-- Asks Redis for the host's route with each request, over a pooled connection. All routes lead to one backend, so what is found is
-- not even passed on: as cheap as such a look-up can be.
local REDIS = @REDIS@
local POOLED, IDLE_MS, PATIENCE_MS = 512, 60000, 1000

local redis = ngx.socket.tcp()
redis:settimeouts(PATIENCE_MS, PATIENCE_MS, PATIENCE_MS)
if not redis:connect("127.0.0.1", REDIS) then return ngx.exit(503) end

local key = "frontend:" .. ngx.var.host
local sent = redis:send({ "*4\r\n$6\r\nLRANGE\r\n$", #key, "\r\n", key, "\r\n$1\r\n0\r\n$2\r\n-1\r\n" })
local head = sent and redis:receive()
if not head then return ngx.exit(503) end

local found = {}
for _ = 1, tonumber(head:match("^%*(%d+)$")) do
   local length = tonumber(redis:receive():match("^%$(%d+)$"))
   found[#found + 1] = redis:receive(length)
   redis:receive(2)
end
redis:setkeepalive(IDLE_MS, POOLED)

if #found == 0 then return ngx.exit(404) end
