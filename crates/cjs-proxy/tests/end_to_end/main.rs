//! Scenarios against the real binary, with a real Redis and backends that are told what to do byte for byte.
//! They run in parallel, each on ports of its own, and wait for events, never for time to pass.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "../support/mod.rs"]
mod support;

mod access_log;
mod addresses;
mod admin;
mod api_versions;
mod bad_backends;
mod balancing;
mod body_rate;
mod checkers;
mod connection_limits;
mod connections;
mod cores;
mod dashboards;
mod dead_backends;
mod deaths;
mod debug_headers;
mod error_log;
mod exchanges;
mod executables;
mod fields;
mod framing;
mod health_checks;
mod hostile;
mod http2;
mod http2_attacks;
mod http2_clients;
mod http2_tunnels;
mod https;
mod https_backends;
mod https_certificates;
mod https_clients;
mod https_hostile;
mod json_log;
mod lifecycle;
mod marks_of_others;
mod names;
mod nghttp2_clients;
mod proxy_protocol;
mod python_clients;
mod rate_limits;
mod redis_certificates;
mod redis_outages;
mod redis_over_tls;
mod reload;
mod retries;
mod route_stores;
mod routes_command;
mod routes_deployments;
mod routes_import;
mod routes_table_file;
mod routing;
mod smuggling;
mod start_check;
mod status_page;
mod surveys;
mod timeouts;
mod tls_scan;
mod upgrades;
