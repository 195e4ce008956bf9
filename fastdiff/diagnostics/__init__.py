"""The papers' own figures: functions that compute a table, and functions that draw it."""
