"""The papers' figures as numbers first: computed exactly, described once, drawn for print and for the browser."""
