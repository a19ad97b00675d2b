"""The rules of a day: what balances, what is due, where the next landing starts, what is lost, rejected or erased."""
