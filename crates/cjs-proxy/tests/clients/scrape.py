"""Reads `/metrics` as Prometheus' own library for Python does: `scrape.py ADMIN_PORT REQUESTS`. Fails where it finds fault, or
where not so many requests are told of."""

import sys
import urllib.request

from prometheus_client.parser import text_string_to_metric_families

HISTOGRAMS = {"cjs_proxy_request_duration_seconds", "cjs_proxy_backend_duration_seconds"}

port, requests = sys.argv[1:]
with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=20) as answer:
    families = {family.name: family for family in text_string_to_metric_families(answer.read().decode())}
assert len(families) > 15, sorted(families)
assert {name for name, family in families.items() if family.type == "histogram"} == HISTOGRAMS
faulty = [name for name, family in families.items() if not family.documentation or family.type == "unknown"]
# What is not counted where nothing is limited.
faulty += [name for name, family in families.items() if not family.samples and name != "cjs_proxy_limit_decisions"]
assert not faulty, faulty
counted = sum(sample.value for sample in families["cjs_proxy_requests"].samples)
assert counted == float(requests), counted
