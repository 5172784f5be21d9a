"""atalla-compile: a PyTorch model becomes a loadable."""

from __future__ import annotations

import argparse
import sys


def main() -> int:
    parser = argparse.ArgumentParser(prog="atalla-compile")
    parser.add_argument("model")
    parser.add_argument("--stop-after", choices=["import"], required=True)
    options = parser.parse_args()
    from atalla_mlir import zoo
    from atalla_mlir.frontend.capture import capture
    from atalla_mlir.frontend.lower import import_plan
    from atalla_mlir.frontend.partition import partition

    module, inputs = zoo.build(options.model.removeprefix("zoo:"))
    imported = import_plan(partition(capture(module, inputs)))
    print(imported.operation.get_asm(enable_debug_info=True))
    return 0


if __name__ == "__main__":
    sys.exit(main())
