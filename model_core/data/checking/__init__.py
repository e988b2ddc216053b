"""What is wrong with a data set, all of it, and how its content is distributed."""

from model_core.data.checking.check import check_data
from model_core.data.checking.facts import CheckedSet, MaskFacts, SliceFacts
from model_core.data.checking.summary import summarise_set

__all__ = ["CheckedSet", "MaskFacts", "SliceFacts", "check_data", "summarise_set"]
