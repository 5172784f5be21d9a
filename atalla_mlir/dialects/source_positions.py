"""What locations say about where in a model something comes from, as text."""

from typing import Optional

from atalla_mlir._mlir import file_position, ir, location_names


class Sources:
    """Source positions as text; each location is looked at once."""

    def __init__(self) -> None:
        self._texts: dict[ir.Location, Optional[str]] = {}

    def text(self, location: ir.Location) -> Optional[str]:
        """ "file:line (value, value)", as much of it as the location knows."""
        if location not in self._texts:
            self._texts[location] = self._describe(location)
        return self._texts[location]

    @staticmethod
    def _describe(location: ir.Location) -> Optional[str]:
        position, names = file_position(location), location_names(location)
        listed = ", ".join(names)
        if position is None:
            return listed or None
        place = f"{position[0]}:{position[1]}"
        return f"{place} ({listed})" if listed else place
