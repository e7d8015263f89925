"""The demo datasets: rendered scenes whose questions have known answers."""
