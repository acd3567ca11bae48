"""What a component's source in pipeline.yaml begins with: it brings in the stages' code.

The compiler writes the text of these modules into the file. Nothing imports them.
"""

CODE = "ILAB_CODE"
"""Environment variable with the code: Python source, compressed (bz2) and in base64."""
HASH = "ILAB_CODE_SHA256"
"""Environment variable with the hash of the code that belongs on the run's volume."""
