"""The cluster of the tests itself."""

from cluster.control_plane import ControlPlane


def test_starts_within_ten_seconds(control_plane: ControlPlane) -> None:
    assert control_plane.start_seconds < 10
