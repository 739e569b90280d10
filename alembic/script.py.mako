"""${message}

Revision: ${up_revision}, after ${down_revision | comma,n}, ${create_date}
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
${imports if imports else ""}
revision: str = ${repr(up_revision)}
down_revision: str | None = ${repr(down_revision)}
branch_labels: str | None = ${repr(branch_labels)}
depends_on: str | None = ${repr(depends_on)}


def upgrade() -> None:
    """Expand: what an older release still runs on (R30)."""
    ${upgrades if upgrades else "pass"}


def downgrade() -> None:
    """Undo, keeping every row that the older release knows."""
    ${downgrades if downgrades else "pass"}
