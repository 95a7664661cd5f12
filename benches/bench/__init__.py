"""Parts of the benchmark: peers and their configs, load, measurement, scenarios, report."""
