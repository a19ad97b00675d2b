"""Generates a seeded day of players and sends it to the intake.

:mod:`event_generator.day` builds the events, :mod:`event_generator.play` sends them, :mod:`event_generator.expected`
computes the expected answers and :mod:`event_generator.manifest` stores them; :mod:`event_generator.command` is
``daybook generate``.
"""
