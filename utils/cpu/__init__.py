"""Programs that stages start on machines without a GPU. Each is self-contained. Pods mount them, never embed them."""

from pathlib import Path

PROGRAMS = Path(__file__).parent
"""The folder that a stage's environment names as ILAB_CPU_PROGRAMS."""
