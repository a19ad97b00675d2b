"""The intake: takes events over HTTP and answers once Kafka has acknowledged them.

:mod:`game_api.app` puts it together; ``README.md`` beside it is the contract page for game developers.
"""
