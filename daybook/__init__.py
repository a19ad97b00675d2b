"""Daybook: the daily record of what players do in a game.

What every part shares lives here: the event contract, the day rule, provider names, the lake's names and readers, the
settings and the ``daybook`` command. The intake, the generator, the Spark jobs and the Airflow parts live in their own
packages and import from here, never the other way round.
"""
