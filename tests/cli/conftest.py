from __future__ import annotations

# Lightning's log handler keeps the stderr that it finds when it is imported: it must not be that of one test.
import lightning  # noqa: F401
