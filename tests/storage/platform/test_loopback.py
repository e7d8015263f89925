from __future__ import annotations

import pytest

from storage.platform.loopback import is_loopback


@pytest.mark.parametrize("host", ["localhost", "a.localhost", "127.0.0.1", "127.9.9.9", "::1"])
def test_names_and_numbers_of_this_machine(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host", ["", "example.org", "localhost.example.org", "mylocalhost", "10.0.0.1", "::2", "0.0.0.0"]
)
def test_other_machines(host: str) -> None:
    assert not is_loopback(host)
