"""What questions cost against a video's length: ``ways.py`` is arithmetic on measured times, ``report.py`` shows it."""
