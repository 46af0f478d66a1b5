"""Tests against a real etcd, kube-apiserver and controller-manager; run in the operator's environment."""
