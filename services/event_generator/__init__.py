"""A seeded day of players, played against the intake.

:mod:`event_generator.day` builds the events, :mod:`event_generator.play` sends them, :mod:`event_generator.manifest`
says what the answers must be; :mod:`event_generator.command` is ``daybook generate``.
"""
