"""Turns a model source into a verified model package. The only part of the product that needs the build dependencies."""
