-- POST the bodies of the file that BODIES names, one a line, over and over; the figures as a line of JSON at the end.
local bodies = {}
for line in io.lines(os.getenv("BODIES")) do bodies[#bodies + 1] = line end
local at = 0

request = function()
  at = at % #bodies + 1
  return wrk.format("POST", "/classify", { ["Content-Type"] = "application/json" }, bodies[at])
end

done = function(summary, latency, _)
  io.write(string.format(
    '{"requests": %d, "seconds": %.6f, "refused": %d, "failed": %d, "p50_ms": %.4f, "p99_ms": %.4f}\n',
    summary.requests, summary.duration / 1e6, summary.errors.status,
    summary.errors.status + summary.errors.connect + summary.errors.read + summary.errors.timeout,
    latency:percentile(50) / 1e3, latency:percentile(99) / 1e3))
end
