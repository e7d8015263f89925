"""A web page about a store: its answers, the images they are about, and the students that learnt them."""
