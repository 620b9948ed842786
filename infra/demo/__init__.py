"""`make demo`: the whole product on this machine, checked against what the sandbox platforms served."""
