"""The report as one HTML file: works from disk, offline, without JavaScript, and better with it."""

from parity.report.html.page import render, require_templates

__all__ = ["render", "require_templates"]
