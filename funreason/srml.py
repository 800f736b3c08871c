"""The two-part loss (SRML) by its own name: `SrmlLoss` for trainers, `srml_loss` for one batch.

Both are also names of `funreason` itself, and live in `funreason.objectives`. Importing this module loads torch.
"""

from __future__ import annotations

from funreason.errors import naming_extras

with naming_extras():
    from funreason.objectives.srml import srml_loss
    from funreason.objectives.trainer_loss import SrmlLoss

__all__ = ["SrmlLoss", "srml_loss"]
