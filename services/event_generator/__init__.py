"""A seeded day of players, played against the intake.

:mod:`event_generator.day` builds the events, :mod:`event_generator.play` sends them, :mod:`event_generator.expected`
works out what the answers must be and :mod:`event_generator.manifest` keeps it; :mod:`event_generator.command` is
``daybook generate``.
"""
