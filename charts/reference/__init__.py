"""Writes values.schema.json and README.md of the chart from its values.yaml, Role and templates."""
