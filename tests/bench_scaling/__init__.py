"""Simulation of scaling: our decision and the published formulas of others, over the same loads. Deterministic."""
