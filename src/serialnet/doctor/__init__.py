"""What is wrong with a port, and what to do about it: ``findings = await doctor.examine(url)``."""

from ._examine import examine
from ._finding import Finding, Verdict

__all__ = ["Finding", "Verdict", "examine"]
