"""Programs that stages start where there is no GPU; each stands alone. In pods they are mounted, never embedded."""

from pathlib import Path

PROGRAMS = Path(__file__).parent
"""The folder that a stage's environment names as ILAB_CPU_PROGRAMS."""
