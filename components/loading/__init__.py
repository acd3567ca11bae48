"""What a component's source in pipeline.yaml begins with: it brings in the stages' code.

These modules run when they are imported, so nothing imports them: the compiler writes their text into the file, where
each byte counts in a run's Workflow some fifty times.
"""

CODE = "ILAB_CODE"
"""Environment variable with the code: Python source, compressed (bz2) and in base64."""
HASH = "ILAB_CODE_SHA256"
"""Environment variable with the hash of the code that belongs on the run's volume."""
