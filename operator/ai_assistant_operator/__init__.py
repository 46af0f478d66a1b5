"""The operator: `Assistant` objects become provisioned models, workers and bots, with as many replicas as there is work for."""
