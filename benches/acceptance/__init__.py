"""Acceptance checks: several proxies and one Redis, while parts of them fail under load."""
