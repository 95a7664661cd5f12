-- Prints what wrk counted as one line of JSON. Alone it sends plain GET requests.
function done(summary, latency)
   local errors = summary.errors
   io.write(string.format(
      'SUMMARY {"requests": %d, "micros": %d, "bytes": %d, "p50": %d, "p99": %d, '
         .. '"connect": %d, "read": %d, "write": %d, "timeout": %d, "status": %d}\n',
      summary.requests, summary.duration, summary.bytes,
      latency:percentile(50), latency:percentile(99),
      errors.connect, errors.read, errors.write, errors.timeout, errors.status))
end
