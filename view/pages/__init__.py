"""One module for each page: a router, and a function that collects what its template shows."""
