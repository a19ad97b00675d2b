"""Commands for operators and analysts that cover the whole system: plan, verify, trace, export, back up, restore."""
