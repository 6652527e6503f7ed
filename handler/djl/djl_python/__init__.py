"""What a model.py written for LMI imports: `from djl_python import Input, Output`. `handler.djl.import_hook` registers it
by that name. All names are LMI's. Importing one that is not available here raises an ImportError with the reason."""

from .inputs import Input
from .outputs import Output
from .pair_list import PairList
from .session_manager import Session, SessionManager

__all__ = ["Input", "Output", "PairList", "Session", "SessionManager"]
