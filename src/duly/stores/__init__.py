"""Rows: where events, their history and their alarms are kept."""
