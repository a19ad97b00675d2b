"""What an operator or analyst asks of the whole: plan, verify, trace, export, back up, restore."""
