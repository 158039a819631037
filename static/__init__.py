"""Styles, scripts and pictures of the dashboard."""
